// twinblock(8): the command line, and nothing but it: what it understood goes to verbs.cpp. The only file
// that sees CLI11.
#include <sys/ioctl.h>
#include <unistd.h>
#include <cstdio>
#include <cstdlib>

#include <CLI/CLI.hpp>

#include "cli/verbs.hpp"
#include "replicator/control/config.hpp"
#include "replicator/control/protocol_text.hpp"

namespace twinblock::cli {
namespace {

using control::Command;
using control::CommandResult;
using control::Outcome;
using control::Verb;

constexpr int kUsage = static_cast<int>(Outcome::kUsage);
constexpr std::string_view kNothingChanged = "Nothing was changed.";

struct Arguments {
  std::string config{control::kDefaultConfigPath};
  std::string control_socket;
  bool json{};
  std::string mirror;
  std::string size;
  std::string condition{"synced"};
  std::vector<std::string> settings;
  Command command;
  bool keep{};
  bool discard{};
  bool watch{};
  bool follow{};
  bool wait{};
  double interval_s{1};
  double answer_limit_s{10};
  std::uint64_t since{};
  std::uint32_t timeout_s{};
  bool has_timeout{};
};

CommandResult usage_error(std::string message, std::string next) {
  return {Outcome::kUsage, std::move(message), std::string{kNothingChanged}, std::move(next), ""};
}

CLI::App* add_verb(CLI::App& app, Arguments& args, const char* name, const char* help,
                   bool mirror_required = true) {
  CLI::App* verb = app.add_subcommand(name, help);
  auto* option = verb->add_option("MIRROR", args.mirror, "name of the mirror");
  if (mirror_required) option->required();
  return verb;
}

void add_timeout(CLI::App* verb, Arguments& args) {
  verb->add_option_function<std::uint32_t>(
          "--timeout",
          [&args](const std::uint32_t& seconds) {
            args.timeout_s = seconds;
            args.has_timeout = true;
          },
          "give up after this many seconds")
      ->check(CLI::Range(0u, 86400u));
}

void add_client_force(CLI::App* verb, Arguments& args) {
  verb->add_flag("--force", args.command.options.force, "although NBD clients are connected: cut them off");
}

void add_changing_verbs(CLI::App& app, Arguments& args) {
  auto& options = args.command.options;
  auto* create = add_verb(app, args, "create", "make this node's replica of a mirror: its metadata");
  create->add_flag("--source", options.source, "this node has the data: its disk is kept as it is");
  create->add_option("--size", args.size, "make a data file of this size, e.g. 10GiB");
  create->add_flag("--force", options.force,
                   "although there is a file system or the like on the disk, or metadata already");
  add_verb(app, args, "up", "start a mirror");
  auto* down = add_verb(app, args, "down", "stop a mirror on this node");
  add_client_force(down, args);
  add_timeout(down, args);
  auto* set =
      add_verb(app, args, "set", "change policies until the daemon ends (the configuration file keeps them)");
  set->add_option("KEY=VALUE", args.settings, "e.g. mode=async; an unknown key gets the list of keys")
      ->required();
  auto* resolve = add_verb(app, args, "resolve", "end a split-brain");
  resolve->add_flag("--keep", args.keep, "this node's data is the one to keep");
  resolve->add_flag("--discard", args.discard, "this node's data since the split is given up");
  auto* switchover = add_verb(app, args, "switchover", "hand the source role over in an orderly way");
  switchover->add_option("--to", options.node, "the node that becomes source");
  add_client_force(switchover, args);
  add_timeout(switchover, args);
  auto* promote = add_verb(app, args, "promote", "make this node the source");
  promote->add_option("--confirm-dead", options.confirm_dead,
                      "you vouch that this node is down and stays down");
  promote->add_flag(
      "--force", options.force,
      "although the other side may have more, or be alive: what is missing here is lost, and two sides that "
      "both write end in a split-brain");
  add_timeout(promote, args);
  auto* demote = add_verb(app, args, "demote", "make this node a target");
  add_client_force(demote, args);
  add_timeout(demote, args);
  add_verb(app, args, "pause", "stop sending to the peer, keep the link");
  add_verb(app, args, "resume", "send to the peer again");
  add_verb(app, args, "connect", "bring the link up");
  add_verb(app, args, "disconnect", "drop the link");
  auto* resync = add_verb(app, args, "resync", "start a resync that is held or due");
  resync->add_flag("--full", options.full, "compare and copy everything, not only what is marked");
  resync->add_flag("--wait", args.wait, "wait until it is done, with a progress bar on a terminal");
  add_timeout(resync, args);
}

void add_asking_verbs(CLI::App& app, Arguments& args) {
  add_verb(app, args, "check", "check the configuration, and a mirror's disk and metadata", false);
  auto* status = add_verb(app, args, "status", "state of all mirrors, or of one", false);
  status->add_flag("--watch", args.watch, "refresh until interrupted");
  status->add_option("--interval", args.interval_s, "seconds between refreshes")
      ->check(CLI::Range(0.1, 3600.0));
  auto* wait = add_verb(app, args, "wait", "wait for a state");
  wait->add_option("--for", args.condition, "the state to wait for")
      ->check(CLI::IsMember({"connected", "uptodate", "synced", "source", "target"}));
  add_timeout(wait, args);
  add_verb(app, args, "explain", "why the mirror is as it is, and what each side would lose");
  auto* events = app.add_subcommand("events", "what happened, newest last");
  events->add_flag("--follow", args.follow, "print further events as they happen");
  events->add_option("--since", args.since,
                     "only events with a greater number; numbers begin at 1 when the daemon starts");
  auto* metadata = app.add_subcommand("metadata", "the metadata of a replica");
  metadata->require_subcommand(1);
  add_verb(*metadata, args, "dump", "print superblock, intent log and bitmap summary");
}

int run_check(const Session& session, const Arguments& args) {
  const auto check = control::check_config(args.config);
  if (!check.config) {
    std::string lines;
    for (const auto& problem : check.problems) lines += problem.text() + "\n";
    if (!session.json) std::fputs(lines.c_str(), stderr);
    return fail(
        session,
        {Outcome::kFailed,
         session.json ? lines : std::to_string(check.problems.size()) + " problems in " + args.config + ".",
         "A running daemon keeps the configuration that it started with.",
         "correct " + args.config + ", then: twinblock check", ""},
        1);
  }
  if (!args.mirror.empty()) return run_command(session, args.command);
  CommandResult result;
  result.message = args.config + ": no problems; mirrors: " + std::to_string(check.config->mirrors.size());
  std::puts(session.json ? to_json(result).c_str() : result.message.c_str());
  return 0;
}

int run_resync(const Session& session, const Arguments& args) {
  if (!args.wait) return run_command(session, args.command);
  Command command = args.command;
  command.options.timeout_s.reset();  // bounds the wait, not the start
  Session starting = session;
  starting.quiet = true;  // with --json the one object printed is the final status
  if (const int started = run_command(starting, command); started != 0) return started;
  WaitOptions options;
  options.mirror = args.mirror;
  if (args.has_timeout) options.timeout_s = args.timeout_s;
  return run_wait(session, options);
}

// Completes the command from what has no type in CLI11; a usage error to print, or none.
std::optional<CommandResult> complete(Arguments& args, const std::string& verb) {
  auto& options = args.command.options;
  args.command.mirror = args.mirror;
  if (const auto known = control::parse_word<Verb>(verb)) args.command.verb = *known;
  if (!args.mirror.empty() && !control::valid_name(args.mirror)) {
    return usage_error("\"" + printable(args.mirror) + "\" is not a valid mirror name.", "twinblock status");
  }
  if (args.has_timeout) options.timeout_s = args.timeout_s;
  if (!args.size.empty()) {
    options.size_bytes = control::parse_size(args.size);
    if (!options.size_bytes || *options.size_bytes == 0) {
      return usage_error("\"" + printable(args.size) + "\" is not a size; allowed: 10GiB, 512MiB, 4096.",
                         "twinblock create " + args.mirror + " --size 10GiB");
    }
  }
  for (const auto& setting : args.settings) {
    const std::size_t equals = setting.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return usage_error("\"" + printable(setting) + "\" is not KEY=VALUE.",
                         "twinblock set " + args.mirror + " mode=sync");
    }
    options.settings.emplace_back(setting.substr(0, equals), setting.substr(equals + 1));
  }
  if (verb == "resolve") {
    if (args.keep == args.discard) {
      return usage_error("Say which data survives: exactly one of --keep and --discard.",
                         "twinblock explain " + args.mirror);
    }
    options.resolution = args.keep ? control::Resolution::kKeep : control::Resolution::kDiscard;
  }
  return std::nullopt;
}

int run(const Session& session, Arguments& args, const std::string& verb) {
  if (const auto error = complete(args, verb)) return fail(session, *error, kUsage);
  if (verb == "status") {
    const auto interval = Duration::milliseconds(static_cast<std::int64_t>(args.interval_s * 1000));
    return run_status(session, args.mirror, args.watch, interval);
  }
  if (verb == "events") return run_events(session, args.since, args.follow);
  if (verb == "explain") return run_question(session, "/v1/explain/" + args.mirror);
  if (verb == "metadata") return run_question(session, "/v1/metadata/" + args.mirror);
  if (verb == "check") return run_check(session, args);
  if (verb == "wait") {
    WaitOptions options;
    options.mirror = args.mirror;
    options.condition = *parse_condition(args.condition);
    if (args.has_timeout) options.timeout_s = args.timeout_s;
    return run_wait(session, options);
  }
  if (verb == "resync") return run_resync(session, args);
  return run_command(session, args.command);
}

// Where the daemon listens: told, or as the configuration says.
std::optional<std::string> find_socket(const Arguments& args, bool config_given) {
  if (!args.control_socket.empty()) return args.control_socket;
  if (config_given && ::access(args.config.c_str(), R_OK) != 0) return std::nullopt;
  return control::control_socket_of(args.config);
}

Session make_session(const Arguments& args, std::string socket_path) {
  Session session{.client = Client{std::move(socket_path)}, .json = args.json, .terminal = ::isatty(1) == 1};
  session.answer_limit = Duration::milliseconds(static_cast<std::int64_t>(args.answer_limit_s * 1000));
  session.command_limit = session.answer_limit * 6;
  winsize window{};
  if (session.terminal && ::ioctl(1, TIOCGWINSZ, &window) == 0 && window.ws_col > 0)
    session.width = window.ws_col;
  return session;
}

// CLI11 says of an unknown verb only that one is required.
std::string parse_problem(const CLI::App& app, const CLI::ParseError& error) {
  const auto unknown = app.remaining();
  if (app.get_subcommands().empty() && !unknown.empty())
    return "There is no verb \"" + printable(unknown.front()) + "\".";
  return error.what();
}

std::string parse_help(const CLI::App& app) {
  const auto verbs = app.get_subcommands();
  return verbs.empty() ? "twinblock --help" : "twinblock " + verbs.front()->get_name() + " --help";
}

int main_verb(int argc, char** argv) {
  Arguments args;
  CLI::App app{"Mirrors of block devices: ask and command the local twinblockd.", "twinblock"};
  app.set_version_flag("--version", std::string{"twinblock "} + TWINBLOCK_VERSION);
  app.footer(
      "Exit codes: 0 done, 1 failed, 2 usage, 3 refused by a safety rule, 4 no such mirror, "
      "5 daemon unreachable.");
  auto* config =
      app.add_option("--config", args.config, "configuration file, which names the control socket");
  app.add_option("--control", args.control_socket, "control socket of the daemon");
  app.add_flag("--json", args.json, "machine-readable output");
  app.add_option("--answer-limit", args.answer_limit_s,
                 "seconds to wait for the daemon (commands: six times that)")
      ->check(CLI::Range(0.05, 3600.0));
  app.require_subcommand(1);
  app.fallthrough();
  add_changing_verbs(app, args);
  add_asking_verbs(app, args);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    const Session session = make_session(args, "");
    return fail(session, usage_error(parse_problem(app, error), parse_help(app)), kUsage);
  }
  const auto socket_path = find_socket(args, config->count() > 0);
  const std::string verb = app.get_subcommands().front()->get_name();
  if (!socket_path && verb != "check") {
    const Session session = make_session(args, "");
    return fail(session,
                usage_error("The configuration " + args.config + " cannot be read or understood.",
                            "twinblock check --config " + args.config + "  (or: --control SOCKET)"),
                kUsage);
  }
  return run(make_session(args, socket_path.value_or("")), args, verb);
}

}  // namespace
}  // namespace twinblock::cli

int main(int argc, char** argv) {
  try {
    return twinblock::cli::main_verb(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(
        stderr,
        "twinblock: %s\n  safe: Nothing was changed by this command line.\n  next: twinblock --help\n",
        e.what());
    return 1;
  }
}
