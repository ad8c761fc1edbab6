// `twinblock wait`: asks for the status until it is as wished. The daemon's event stream paces the questions,
// so that the answer comes with the change and an idle wait costs a request per second.
#include <poll.h>
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "cli/verbs.hpp"
#include "replicator/control/protocol_text.hpp"

namespace twinblock::cli {

namespace {

using control::LinkState;
using control::MirrorStatus;
using control::ReplicaState;
using Clock = std::chrono::steady_clock;

// A busy event stream must not turn the wait into a spin.
constexpr int kPauseMillisecondsMin = 50;
// A link that is refused for so long is not only meeting a peer whose configuration is being changed.
constexpr std::chrono::seconds kRefusedMax{10};

bool session_up(LinkState link) {
  switch (link) {
    case LinkState::kConnected:
    case LinkState::kResyncPending:
    case LinkState::kResyncing:
    case LinkState::kPaused:
      return true;
    case LinkState::kDown:
    case LinkState::kConnecting:
    case LinkState::kSplitBrain:
    case LinkState::kRefused:
      return false;
  }
  return false;
}

std::string_view word_of(Condition condition) {
  switch (condition) {
    case Condition::kConnected:
      return "connected";
    case Condition::kUptodate:
      return "uptodate";
    case Condition::kSynced:
      return "synced";
    case Condition::kSource:
      return "source";
    case Condition::kTarget:
      return "target";
  }
  return "";
}

// On a terminal, draws the bar of the first running resync, or else what is waited for, over the line before.
class ProgressLine {
 public:
  explicit ProgressLine(const Session& session) : session_{session} {}
  ~ProgressLine() { end(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void draw(const MirrorStatus& mirror) {
    if (!session_.terminal || session_.json) return;
    std::string line = std::string{to_string(mirror.state)};
    if (!mirror.reason.empty()) line += ": " + printable(mirror.reason);
    line.resize(std::min(line.size(), session_.width - std::min<std::size_t>(session_.width, 1)));
    const auto resyncing = std::find_if(mirror.peers.begin(), mirror.peers.end(),
                                        [](const auto& peer) { return peer.resync.has_value(); });
    if (resyncing != mirror.peers.end()) line = render_progress(*resyncing->resync, session_.style());
    const std::string text = "\r\x1b[K" + line;
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
    drawn_ = true;
  }
  void end() {
    if (drawn_) std::fputs("\r\x1b[K", stdout);
    drawn_ = false;
  }

 private:
  const Session& session_;
  bool drawn_{};
};

// Waits for the next event or at most a second. A failure is left to the next status question.
void pace(const Session& session, std::uint64_t& since) {
  Request request;
  request.target = "/v1/events?wait_s=1&since=" + std::to_string(since);
  request.deadline = session.answer_limit + Duration::seconds(1);
  Response response;
  Unreachable problem;
  ::poll(nullptr, 0, kPauseMillisecondsMin);
  if (!session.client.ask(request, response, problem) || response.status != 200) return;
  if (const auto batch = control::from_json<control::EventBatch>(response.body)) since = batch->next;
}

// What is waited for needs the peer, and the two nodes do not fit together: only an operator can change that.
bool is_refused(const MirrorStatus& mirror, Condition condition) {
  const bool needs_peer = condition == Condition::kConnected || condition == Condition::kSynced ||
                          (condition == Condition::kUptodate && mirror.role == control::Role::kTarget);
  return needs_peer && std::any_of(mirror.peers.begin(), mirror.peers.end(), [](const auto& p) {
           return p.link == LinkState::kRefused || p.link == LinkState::kSplitBrain;
         });
}

int wait_is_vain(const Session& session, const WaitOptions& options, const MirrorStatus& mirror) {
  control::CommandResult result;
  result.outcome = control::Outcome::kRefused;
  result.message = "Mirror \"" + options.mirror + "\" will not be " +
                   std::string{word_of(options.condition)} + " by itself: " + mirror.reason;
  result.what_is_safe = "Waiting changes nothing; the daemon goes on.";
  result.next_step = "twinblock explain " + options.mirror + "; with --timeout it is waited for all the same";
  return fail(session, result, 3);
}

int time_is_up(const Session& session, const WaitOptions& options, const MirrorStatus& mirror) {
  control::CommandResult result;
  result.outcome = control::Outcome::kFailed;
  result.message = "After " + control::human_seconds(*options.timeout_s) + " mirror \"" + options.mirror +
                   "\" is not " + std::string{word_of(options.condition)} + " but " +
                   std::string{to_string(mirror.state)} +
                   (mirror.reason.empty() ? std::string{} : " (" + mirror.reason + ")") + ".";
  result.what_is_safe = "Waiting changes nothing; the daemon goes on.";
  result.next_step = "twinblock explain " + options.mirror;
  return fail(session, result, 1);
}

}  // namespace

std::optional<Condition> parse_condition(std::string_view word) {
  for (const auto condition : {Condition::kConnected, Condition::kUptodate, Condition::kSynced,
                               Condition::kSource, Condition::kTarget}) {
    if (word == word_of(condition)) return condition;
  }
  return std::nullopt;
}

bool condition_holds(const MirrorStatus& mirror, Condition condition) {
  const auto& peers = mirror.peers;
  switch (condition) {
    case Condition::kConnected:
      return !peers.empty() &&
             std::all_of(peers.begin(), peers.end(), [](const auto& p) { return session_up(p.link); });
    case Condition::kUptodate:
      return mirror.replica == ReplicaState::kUptodate;
    case Condition::kSynced:
      return mirror.replica == ReplicaState::kUptodate && !peers.empty() &&
             std::all_of(peers.begin(), peers.end(), [](const auto& p) {
               return p.link == LinkState::kConnected && p.replica == ReplicaState::kUptodate &&
                      p.dirty_bytes == 0 && !p.resync;
             });
    case Condition::kSource:
      return mirror.role == control::Role::kSource;
    case Condition::kTarget:
      return mirror.role == control::Role::kTarget;
  }
  return false;
}

int run_wait(const Session& session, const WaitOptions& options) {
  const auto start = Clock::now();
  std::uint64_t since = 0;
  ProgressLine line{session};
  bool told = false;
  auto fits_last = start;
  for (;;) {
    const StatusAnswer answer = ask_status(session, options.mirror);
    if (!answer.status || answer.status->mirrors.empty()) {
      line.end();
      return fail(session, answer.error, answer.status ? 1 : answer.exit_code);
    }
    const MirrorStatus& mirror = answer.status->mirrors.front();
    if (condition_holds(mirror, options.condition)) {
      line.end();
      const std::string text =
          session.json ? to_json(*answer.status)
                       : "mirror " + options.mirror + " is " + std::string{word_of(options.condition)};
      std::puts(text.c_str());
      return 0;
    }
    if (mirror.state == control::MirrorState::kFailed && !told) {
      told = true;  // it does not mend itself
      line.end();
      std::fprintf(stderr, "twinblock: mirror %s is Failed (%s); waiting\n", options.mirror.c_str(),
                   mirror.reason.c_str());
    }
    line.draw(mirror);
    const auto now = Clock::now();
    if (!is_refused(mirror, options.condition)) fits_last = now;
    if (!options.timeout_s && now - fits_last >= kRefusedMax) {
      line.end();
      return wait_is_vain(session, options, mirror);
    }
    const auto waited = now - start;
    if (options.timeout_s && waited >= std::chrono::seconds{*options.timeout_s}) {
      line.end();
      return time_is_up(session, options, mirror);
    }
    pace(session, since);
  }
}

}  // namespace twinblock::cli
