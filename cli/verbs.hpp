// What each verb does once the command line is understood. Exit codes: 0 done · 1 failed · 2 usage ·
// 3 refused by a safety rule · 4 no such mirror · 5 daemon unreachable.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/units.hpp"
#include "cli/client.hpp"
#include "cli/render.hpp"
#include "replicator/control/protocol.hpp"

namespace twinblock::cli {

inline constexpr int kExitUnreachable = 5;

// What `wait` waits for; see condition_holds().
enum class Condition : std::uint8_t { kConnected, kUptodate, kSynced, kSource, kTarget };
[[nodiscard]] std::optional<Condition> parse_condition(std::string_view word);
// connected: a session with every peer. uptodate: the local replica is. synced: connected, all replicas
// uptodate, nothing dirty (writes in flight do not count: under load there always are some). source, target:
// the local role.
[[nodiscard]] bool condition_holds(const control::MirrorStatus& mirror, Condition condition);

struct Session {
  Client client;
  bool json{};
  bool quiet{};     // success of a command is not worth a line
  bool terminal{};  // stdout is one: colours, bars, redrawing
  std::size_t width{80};
  Duration answer_limit{Duration::seconds(10)};  // for questions; commands that wait get kCommandLimit
  Duration command_limit{Duration::seconds(60)};
  [[nodiscard]] Style style() const { return {terminal, width}; }
};

// Each prints its outcome (stdout; errors on stderr, or on stdout as JSON with --json) and returns the exit
// code.
[[nodiscard]] int run_command(const Session& session, const control::Command& command);
[[nodiscard]] int run_status(const Session& session, const std::string& mirror, bool watch,
                             Duration interval);
[[nodiscard]] int run_events(const Session& session, std::uint64_t since, bool follow);
[[nodiscard]] int run_question(const Session& session, const std::string& target);  // explain, metadata dump
struct WaitOptions {
  std::string mirror;
  Condition condition{Condition::kSynced};
  std::optional<std::uint32_t> timeout_s;
};
[[nodiscard]] int run_wait(const Session& session, const WaitOptions& options);

// The status of all mirrors or of one; on failure the result to print and the exit code.
struct StatusAnswer {
  std::optional<control::StatusReply> status;
  control::CommandResult error;
  int exit_code{};
};
[[nodiscard]] StatusAnswer ask_status(const Session& session, const std::string& mirror);

[[nodiscard]] int fail(const Session& session, const control::CommandResult& result, int exit_code);
[[nodiscard]] int fail_unreachable(const Session& session, const Unreachable& problem, bool may_have_run);

}  // namespace twinblock::cli
