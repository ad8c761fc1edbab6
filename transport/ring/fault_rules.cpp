#include "transport/ring/fault_rules.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

namespace twinblock::ring {
namespace {

constexpr std::uint64_t kSector = 512;

struct RoleWord {
  std::string_view word;
  FileRole role;
};
constexpr std::array kRoles{RoleWord{"data", FileRole::kData}, RoleWord{"metadata", FileRole::kMetadata},
                            RoleWord{"nbd", FileRole::kNbd}, RoleWord{"peer", FileRole::kPeer}};

struct OpWord {
  std::string_view word;
  FaultOp op;
};
constexpr std::array kOps{OpWord{"read", FaultOp::kRead}, OpWord{"write", FaultOp::kWrite},
                          OpWord{"flush", FaultOp::kFlush}, OpWord{"zero", FaultOp::kZero}};

struct ErrnoWord {
  std::string_view word;
  int value;
};
constexpr std::array kErrnos{ErrnoWord{"EIO", EIO},
                             ErrnoWord{"ENOSPC", ENOSPC},
                             ErrnoWord{"EROFS", EROFS},
                             ErrnoWord{"EAGAIN", EAGAIN},
                             ErrnoWord{"EINTR", EINTR},
                             ErrnoWord{"ENOMEM", ENOMEM},
                             ErrnoWord{"ENODEV", ENODEV},
                             ErrnoWord{"EINVAL", EINVAL},
                             ErrnoWord{"ECONNRESET", ECONNRESET},
                             ErrnoWord{"ETIMEDOUT", ETIMEDOUT}};

struct ActionWord {
  std::string_view word;
  FaultAction action;
};
constexpr std::array kActions{ActionWord{"fail", FaultAction::kFail},
                              ActionWord{"failafter", FaultAction::kFailAfter},
                              ActionWord{"delay", FaultAction::kDelay},
                              ActionWord{"hang", FaultAction::kHang},
                              ActionWord{"short", FaultAction::kShort},
                              ActionWord{"drop", FaultAction::kDrop},
                              ActionWord{"torn", FaultAction::kTorn},
                              ActionWord{"crash", FaultAction::kCrash},
                              ActionWord{"crashafter", FaultAction::kCrashAfter}};

template <class Table>
const typename Table::value_type* find_word(const Table& table, std::string_view word) {
  const auto found = std::find_if(table.begin(), table.end(), [&](const auto& e) { return e.word == word; });
  return found == table.end() ? nullptr : &*found;
}

bool parse_number(std::string_view text, std::uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return !text.empty() && error == std::errc{} && end == text.data() + text.size();
}

// "A-B" or "A": both ends.
bool parse_pair(std::string_view text, std::uint64_t& first, std::uint64_t& second) {
  const std::size_t dash = text.find('-');
  if (!parse_number(text.substr(0, dash), first)) return false;
  second = first;
  return dash == std::string_view::npos || (parse_number(text.substr(dash + 1), second) && second >= first);
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

// What stands before the next `separator`; the rest stays in `text`.
std::string_view take(std::string_view& text, char separator) {
  const std::size_t at = text.find(separator);
  const std::string_view word = text.substr(0, at);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
  return word;
}

bool is_socket(const FaultRule& rule) {
  return rule.role == FileRole::kNbd || rule.role == FileRole::kPeer;
}

// Each returns a problem, or nothing.
std::string parse_target(std::string_view text, FaultRule& rule) {
  const std::string_view role = take(text, '.');
  if (role != "any") {
    const auto* found = find_word(kRoles, role);
    if (found == nullptr) return "\"" + std::string{role} + "\" is none of data, metadata, nbd, peer, any";
    rule.role = found->role;
  }
  if (text != "any") {
    const auto* found = find_word(kOps, text);
    if (found == nullptr) return "\"" + std::string{text} + "\" is none of read, write, flush, zero, any";
    rule.op = found->op;
  }
  const bool disk_only = rule.op == FaultOp::kFlush || rule.op == FaultOp::kZero;
  if (is_socket(rule) && disk_only) return "a socket has read and write only";
  return {};
}

std::string parse_condition(std::string_view text, FaultRule& rule) {
  const std::string_view word = take(text, ':');
  std::uint64_t number = 0;
  if (word == "offset") {
    if (parse_pair(text, rule.offset_begin, rule.offset_end) && rule.offset_end > rule.offset_begin)
      return {};
    return "offset wants BEGIN-END in bytes";
  }
  if (!parse_number(text, number) || number == 0) {
    return "\"" + std::string{word} + "\" wants a number from 1 on";
  }
  if (word == "nth") {
    rule.first = number;
    rule.hits_max = 1;
  } else if (word == "from") {
    rule.first = number;
  } else if (word == "count") {
    rule.hits_max = number;
  } else if (word == "1in") {
    rule.one_in = number;
  } else {
    return "\"" + std::string{word} + "\" is none of nth, from, count, 1in, offset";
  }
  return {};
}

std::string parse_error(std::string_view text, FaultRule& rule) {
  const auto* found = find_word(kErrnos, text);
  std::uint64_t number = 0;
  if (found != nullptr) {
    rule.error = found->value;
  } else if (parse_number(text, number) && number > 0 && number < 4096) {
    rule.error = static_cast<int>(number);
  } else {
    return "\"" + std::string{text} + "\" is no errno (EIO, ENOSPC, ... or its number)";
  }
  return {};
}

std::string parse_action(std::string_view text, FaultRule& rule) {
  const std::string_view word = take(text, ':');
  const auto* found = find_word(kActions, word);
  if (found == nullptr) return "\"" + std::string{word} + "\" is no action";
  rule.action = found->action;
  switch (rule.action) {
    case FaultAction::kFail:
    case FaultAction::kFailAfter:
      return parse_error(text, rule);
    case FaultAction::kDelay:
      return parse_pair(text, rule.amount, rule.amount_max) ? "" : "delay wants MS or MS-MS";
    case FaultAction::kShort:
    case FaultAction::kTorn:
      if (is_socket(rule) || !rule.role) return "only a disk can do that: data or metadata";
      if (rule.action == FaultAction::kTorn && rule.op != FaultOp::kWrite) return "only a write can be torn";
      if (!parse_number(text, rule.amount) || rule.amount % kSector != 0) return "wants a multiple of 512";
      if (rule.action == FaultAction::kTorn) return {};
      if (rule.op != FaultOp::kRead && rule.op != FaultOp::kWrite)
        return "only reads and writes can be short";
      if (rule.amount == 0) return "short wants at least 512";
      return {};
    case FaultAction::kDrop:
      if (is_socket(rule) || !rule.role) return "only a disk can do that: data or metadata";
      if (!rule.op || rule.op == FaultOp::kRead) return "only writes, flushes and zeroes can be dropped";
      return text.empty() ? "" : "drop has no argument";
    case FaultAction::kHang:
    case FaultAction::kCrash:
    case FaultAction::kCrashAfter:
      return text.empty() ? "" : std::string{word} + " has no argument";
  }
  return {};
}

std::string parse_rule(std::string_view item, FaultRule& rule) {
  rule.text = item;
  const std::size_t equals = item.find('=');
  if (equals == std::string_view::npos) return "wants TARGET.OPERATION[@CONDITION,...]=ACTION";
  std::string_view left = item.substr(0, equals);
  if (auto problem = parse_target(take(left, '@'), rule); !problem.empty()) return problem;
  while (!left.empty()) {
    if (auto problem = parse_condition(take(left, ','), rule); !problem.empty()) return problem;
  }
  return parse_action(item.substr(equals + 1), rule);
}

std::string parse_item(std::string_view item, FaultPlan& plan) {
  if (item.starts_with("seed=")) {
    std::uint64_t seed = 0;
    if (!parse_number(item.substr(5), seed)) return "seed wants a number";
    plan.seed = seed;
    return {};
  }
  if (item.starts_with("file=")) {
    plan.file = item.substr(5);
    return plan.file.starts_with('/') ? "" : "file wants an absolute path";
  }
  if (item.starts_with("id=")) {
    plan.id = item.substr(3);
    return {};
  }
  FaultRule rule;
  std::string problem = parse_rule(item, rule);
  if (problem.empty()) plan.rules.push_back(std::move(rule));
  return problem;
}

}  // namespace

bool FaultRule::matches(FileRole r, FaultOp o, std::uint64_t offset, std::uint64_t length) const {
  if (role && *role != r) return false;
  if (op && *op != o) return false;
  // Flushes and sockets have no place: a rule with one is not about them.
  if (length == 0) return offset_begin == 0 && offset_end == UINT64_MAX;
  return offset < offset_end && offset + length > offset_begin;
}

bool FaultRule::strikes(Random& random) {
  ++seen;
  if (seen < first || hits >= hits_max) return false;
  if (one_in > 1 && !random.one_in(one_in)) return false;
  ++hits;
  return true;
}

FaultPlanParsed parse_fault_plan(std::string_view text) {
  FaultPlan plan;
  while (!text.empty()) {
    std::string_view line = take(text, '\n');
    if (trim(line).starts_with('#')) continue;
    while (!line.empty()) {
      const std::string_view item = trim(take(line, ';'));
      if (item.empty()) continue;
      if (const std::string problem = parse_item(item, plan); !problem.empty()) {
        return {std::nullopt, "\"" + std::string{item} + "\": " + problem};
      }
    }
  }
  return {std::move(plan), {}};
}

std::string_view fault_role_word(FileRole role) {
  for (const RoleWord& entry : kRoles) {
    if (entry.role == role) return entry.word;
  }
  return "other";
}

std::string_view fault_op_word(FaultOp op) {
  for (const OpWord& entry : kOps) {
    if (entry.op == op) return entry.word;
  }
  return "none";
}

}  // namespace twinblock::ring
