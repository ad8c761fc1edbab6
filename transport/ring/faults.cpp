#include "transport/ring/faults.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "transport/ring/engine.hpp"
#include "transport/ring/error.hpp"

namespace twinblock::ring {
namespace {

constexpr Duration kLookInterval = Duration::milliseconds(20);
constexpr std::uint64_t kSeed = 1;

FaultOp fault_op_of(OpKind kind) {
  switch (kind) {
    case OpKind::kRead:
    case OpKind::kReceive:
      return FaultOp::kRead;
    case OpKind::kWrite:
    case OpKind::kSend:
      return FaultOp::kWrite;
    case OpKind::kFdatasync:
      return FaultOp::kFlush;
    case OpKind::kFallocate:
      return FaultOp::kZero;
    case OpKind::kNone:
    case OpKind::kAccept:
    case OpKind::kConnect:
    case OpKind::kPoll:
    case OpKind::kReadEvent:
    case OpKind::kClose:
    case OpKind::kCall:
    case OpKind::kDefer:
      break;
  }
  return FaultOp::kNone;
}

// As a power failure would have it for this process: no handler, no destructor, no core.
[[noreturn]] void die(const std::string& rule) {
  std::fprintf(stderr, "twinblock: the fault layer ends this process: %s\n", rule.c_str());
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

// Whatever the block size of the disk, a torn write ends at a sector: through the page cache.
void write_prefix(int fd, const std::byte* data, std::uint64_t length, std::uint64_t at) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  const int buffered = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  while (buffered >= 0 && length > 0) {
    const ssize_t n = pwrite(buffered, data, length, static_cast<off_t>(at));
    if (n <= 0) break;
    data += n;
    at += static_cast<std::uint64_t>(n);
    length -= static_cast<std::uint64_t>(n);
  }
  if (buffered < 0 || length > 0 || fdatasync(buffered) != 0) {
    std::fprintf(stderr, "twinblock: the fault layer could not tear a write: error %d\n", errno);
  }
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_ino == b.st_ino && a.st_dev == b.st_dev && a.st_size == b.st_size &&
         a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec;
}

}  // namespace

Result<std::unique_ptr<FaultLayer>> FaultLayer::create(Loop& loop, std::string_view text) {
  FaultPlanParsed parsed = parse_fault_plan(text);
  if (!parsed.plan) {
    std::fprintf(stderr, "twinblock: TWINBLOCKD_FAULTS: %s\n", parsed.problem.c_str());
    return ErrorCode{errc::kBadFaults};
  }
  return std::unique_ptr<FaultLayer>{new FaultLayer{loop, std::move(*parsed.plan)}};
}

FaultLayer::FaultLayer(Loop& loop, FaultPlan plan)
    : loop_{loop},
      fixed_{std::move(plan.rules)},
      file_{std::move(plan.file)},
      random_{plan.seed.value_or(kSeed)},
      next_look_{Instant::never()} {
  if (file_.empty()) return;
  look_at_file();
  next_look_ = loop_.now() + kLookInterval;
  rearm();
}

FaultLayer::~FaultLayer() {
  TB_ASSERT(held_.empty() && watched_.empty());
  loop_.disarm(timer_);
}

std::string FaultLayer::describe() const {
  std::string text;
  for (const auto* rules : {&fixed_, &rules_}) {
    for (const FaultRule& rule : *rules) text += (text.empty() ? "" : "; ") + rule.text;
  }
  if (!file_.empty()) text += (text.empty() ? "" : "; ") + ("file=" + file_);
  return text.empty() ? "none" : text;
}

// --- operations ---

FaultRule* FaultLayer::find_rule(FileRole role, FaultOp verb, const Op& op) {
  const bool placed =
      op.kind_ == OpKind::kRead || op.kind_ == OpKind::kWrite || op.kind_ == OpKind::kFallocate;
  const std::uint64_t length = placed ? op.length_ - op.transferred_ : 0;
  FaultRule* hit = nullptr;
  for (auto* rules : {&fixed_, &rules_}) {
    for (FaultRule& rule : *rules) {
      // Every rule counts what it is about, whichever of them acts.
      if (!rule.matches(role, verb, op.offset_ + op.transferred_, length)) continue;
      if (hit != nullptr) {
        ++rule.seen;
      } else if (rule.strikes(random_)) {
        hit = &rule;
      }
    }
  }
  return hit;
}

bool FaultLayer::intercept(Op& op) {
  const FileRole role = op.file_.role;
  const FaultOp verb = fault_op_of(op.kind_);
  if (role == FileRole::kOther || verb == FaultOp::kNone) return false;
  ++counts_[static_cast<std::size_t>(role)][static_cast<std::size_t>(verb)];
  state_changed_ = true;
  const FaultRule* rule = find_rule(role, verb, op);
  return rule != nullptr && apply(*rule, op);
}

bool FaultLayer::apply(const FaultRule& rule, Op& op) {
  switch (rule.action) {
    case FaultAction::kFail:
      loop_.engine_completed(op, -rule.error, 0);
      return true;
    case FaultAction::kFailAfter:
    case FaultAction::kCrashAfter:
      watch(op, rule);
      return false;
    case FaultAction::kDelay: {
      const std::uint64_t more = random_.below(rule.amount_max - rule.amount + 1);
      hold(op, loop_.now() + Duration::milliseconds(static_cast<std::int64_t>(rule.amount + more)), rule);
      return true;
    }
    case FaultAction::kHang:
      hold(op, Instant::never(), rule);
      return true;
    case FaultAction::kShort:
      op.chunk_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(op.chunk_, rule.amount));
      return false;
    case FaultAction::kDrop:
      loop_.engine_completed(op, op.kind_ == OpKind::kWrite ? static_cast<int>(op.chunk_) : 0, 0);
      return true;
    case FaultAction::kTorn:
      write_prefix(op.file_.fd, op.data_ + op.transferred_, std::min<std::uint64_t>(op.chunk_, rule.amount),
                   op.offset_ + op.transferred_);
      die(rule.text);
    case FaultAction::kCrash:
      die(rule.text);
  }
  return false;
}

void FaultLayer::watch(Op& op, const FaultRule& rule) {
  op.faulted_ = true;
  watched_.push_back({&op, rule.action, rule.error});
}

int FaultLayer::completed(Op& op, int result) {
  op.faulted_ = false;
  const auto found =
      std::find_if(watched_.begin(), watched_.end(), [&op](const Watched& w) { return w.op == &op; });
  TB_ASSERT(found != watched_.end());
  const Watched watched = *found;
  watched_.erase(found);
  if (watched.action == FaultAction::kCrashAfter) die("crashafter");
  return result < 0 ? result : -watched.error;
}

// --- what is held ---

void FaultLayer::hold(Op& op, Instant due, const FaultRule& rule) {
  held_.push_back({&op, due, rule.text});
  rearm();
}

bool FaultLayer::cancel(Op& op) {
  const auto found = std::find_if(held_.begin(), held_.end(), [&op](const Held& h) { return h.op == &op; });
  if (found == held_.end()) return false;
  held_.erase(found);
  loop_.engine_completed(op, -ECANCELED, 0);
  return true;
}

void FaultLayer::release_due() {
  // The engine never runs a handler in submit(): nothing is held anew meanwhile.
  std::erase_if(held_, [this](const Held& h) {
    if (h.due > loop_.now()) return false;
    loop_.engine_->submit(*h.op);
    return true;
  });
}

// What hangs on a rule that is there no more goes its way: this is the late completion.
void FaultLayer::release_hung() {
  std::erase_if(held_, [this](const Held& h) {
    const auto same = [&h](const FaultRule& rule) { return rule.text == h.rule; };
    if (h.due != Instant::never() || std::any_of(rules_.begin(), rules_.end(), same) ||
        std::any_of(fixed_.begin(), fixed_.end(), same)) {
      return false;
    }
    loop_.engine_->submit(*h.op);
    return true;
  });
}

void FaultLayer::rearm() {
  Instant at = next_look_;
  for (const Held& h : held_) at = std::min(at, h.due);
  loop_.arm(timer_, at);
}

void FaultLayer::on_timer() {
  if (loop_.now() >= next_look_) {
    look_at_file();
    next_look_ = loop_.now() + kLookInterval;
  }
  release_due();
  rearm();
}

// --- the rules file and its answer ---

void FaultLayer::look_at_file() {
  struct stat now {};
  if (stat(file_.c_str(), &now) == 0 && !same_file(now, file_seen_)) {
    file_seen_ = now;
    std::ifstream in{file_};
    std::ostringstream text;
    text << in.rdbuf();
    load(text.str());
  }
  if (state_changed_) write_state();
}

void FaultLayer::load(std::string_view text) {
  FaultPlanParsed parsed = parse_fault_plan(text);
  state_changed_ = true;
  problem_ = parsed.problem;
  if (!parsed.plan) return;
  id_ = std::move(parsed.plan->id);
  if (parsed.plan->seed) random_ = Random{*parsed.plan->seed};
  std::vector<FaultRule> before = std::move(rules_);
  rules_ = std::move(parsed.plan->rules);
  // A rule that stays goes on counting.
  for (FaultRule& rule : rules_) {
    const auto old =
        std::find_if(before.begin(), before.end(), [&](const FaultRule& b) { return b.text == rule.text; });
    if (old == before.end()) continue;
    rule.seen = old->seen;
    rule.hits = old->hits;
  }
  release_hung();
}

// Whole or not at all: readers poll it.
void FaultLayer::write_state() {
  const std::string path = file_ + ".state";
  {
    std::ofstream out{path + ".new", std::ios::trunc};
    out << "id " << id_ << "\nheld " << held_.size() << "\n";
    if (!problem_.empty()) out << "problem " << problem_ << "\n";
    for (std::size_t r = 1; r < kFileRoleCount; ++r) {
      for (std::size_t o = 0; o < kFaultOpCount; ++o) {
        if (counts_[r][o] == 0) continue;
        out << fault_role_word(static_cast<FileRole>(r)) << '.' << fault_op_word(static_cast<FaultOp>(o))
            << ' ' << counts_[r][o] << "\n";
      }
    }
    for (const auto* rules : {&fixed_, &rules_}) {
      for (const FaultRule& rule : *rules) out << "rule " << rule.hits << ' ' << rule.text << "\n";
    }
  }
  if (std::rename((path + ".new").c_str(), path.c_str()) == 0) state_changed_ = false;
}

}  // namespace twinblock::ring
