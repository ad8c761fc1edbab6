// The real binary against the real HTTP server with a backend that answers from a script.
#include <algorithm>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/cli/child.hpp"
#include "tests/unit/control/control_fixture.hpp"

namespace twinblock::cli::test {
namespace {

using control::CommandResult;
using control::Verb;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class CliTest : public control::test::ServerFixture {
 protected:
  void SetUp() override { start(); }

  Outcome cli(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--control", socket_path});
    return run_cli(arguments);
  }
  static void expect_three_lines(const Outcome& outcome) {
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 3) << outcome.err;
    EXPECT_THAT(outcome.err, StartsWith("twinblock: "));
    EXPECT_THAT(outcome.err, HasSubstr("\n  safe: "));
    EXPECT_THAT(outcome.err, HasSubstr("\n  next: "));
    EXPECT_EQ(outcome.out, "");
  }
  control::Command last_command() {
    const std::lock_guard lock{backend.mutex};
    return backend.commands.empty() ? control::Command{} : backend.commands.back();
  }
  void make_synced() {
    auto& peer = backend.reply.mirrors[0].peers[0];
    peer.link = control::LinkState::kConnected;
    peer.replica = control::ReplicaState::kUptodate;
    peer.dirty_bytes = 0;
    peer.resync.reset();
  }
};

TEST_F(CliTest, Status) {
  const auto human = cli({"status"});
  EXPECT_EQ(human.exit_code, 0) << human.err;
  EXPECT_THAT(human.out, HasSubstr("Resyncing"));
  const auto json = cli({"status", "data", "--json"});
  EXPECT_EQ(json.exit_code, 0);
  const auto parsed = control::from_json<control::StatusReply>(json.out);
  ASSERT_TRUE(parsed) << json.out;
  EXPECT_EQ(*parsed, backend.reply);
}

TEST_F(CliTest, NoSuchMirrorIsFour) {
  for (const auto& words : std::vector<std::vector<std::string>>{{"status", "nope"},
                                                                 {"promote", "nope"},
                                                                 {"wait", "nope"},
                                                                 {"explain", "nope"},
                                                                 {"metadata", "dump", "nope"}}) {
    const auto outcome = cli(words);
    EXPECT_EQ(outcome.exit_code, 4) << words[0] << outcome.err;
    expect_three_lines(outcome);
  }
}

TEST_F(CliTest, EveryVerbReachesTheDaemonWithItsOptions) {
  struct Case {
    std::vector<std::string> words;
    control::Command expected;
  };
  const auto command = [](Verb verb, auto change) {
    control::Command c{verb, "data", {}};
    change(c.options);
    return c;
  };
  const auto plain = [](auto&) {};
  const std::vector<Case> cases{
      {{"create", "data", "--source", "--size", "1GiB", "--force"},
       command(Verb::kCreate,
               [](auto& o) {
                 o.source = o.force = true;
                 o.size_bytes = 1u << 30;
               })},
      {{"up", "data"}, command(Verb::kUp, plain)},
      {{"down", "data"}, command(Verb::kDown, plain)},
      {{"set", "data", "mode=async", "queue_bytes_max=1MiB"},
       command(Verb::kSet,
               [](auto& o) {
                 o.settings = {{"mode", "async"}, {"queue_bytes_max", "1MiB"}};
               })},
      {{"resolve", "data", "--discard"},
       command(Verb::kResolve, [](auto& o) { o.resolution = control::Resolution::kDiscard; })},
      {{"switchover", "data", "--to", "beta", "--timeout", "7"},
       command(Verb::kSwitchover,
               [](auto& o) {
                 o.node = "beta";
                 o.timeout_s = 7;
               })},
      {{"promote", "data", "--confirm-dead", "beta", "--force"},
       command(Verb::kPromote,
               [](auto& o) {
                 o.confirm_dead = "beta";
                 o.force = true;
               })},
      {{"demote", "data"}, command(Verb::kDemote, plain)},
      {{"pause", "data"}, command(Verb::kPause, plain)},
      {{"resume", "data"}, command(Verb::kResume, plain)},
      {{"connect", "data"}, command(Verb::kConnect, plain)},
      {{"disconnect", "data"}, command(Verb::kDisconnect, plain)},
      {{"resync", "data", "--full"}, command(Verb::kResync, [](auto& o) { o.full = true; })},
      {{"explain", "data"}, command(Verb::kExplain, plain)},
      {{"metadata", "dump", "data"}, command(Verb::kMetadataDump, plain)},
  };
  for (const auto& c : cases) {
    const auto outcome = cli(c.words);
    EXPECT_EQ(outcome.exit_code, 0) << c.words[0] << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr("It is done.")) << c.words[0];
    EXPECT_EQ(last_command(), c.expected) << c.words[0];
  }
}

TEST_F(CliTest, OutcomesBecomeExitCodes) {
  for (const auto outcome :
       {control::Outcome::kFailed, control::Outcome::kUsage, control::Outcome::kRefused}) {
    backend.result = {outcome, "beta may have newer data", "alpha's copy is of 12:00",
                      "twinblock explain data", ""};
    const auto human = cli({"promote", "data"});
    EXPECT_EQ(human.exit_code, static_cast<int>(outcome));
    expect_three_lines(human);
    EXPECT_THAT(human.err, HasSubstr("next: twinblock explain data"));
    const auto json = cli({"promote", "data", "--json"});
    EXPECT_EQ(json.exit_code, static_cast<int>(outcome));
    const auto parsed = control::from_json<CommandResult>(json.out);
    ASSERT_TRUE(parsed) << json.out;
    EXPECT_EQ(*parsed, backend.result);
  }
}

TEST_F(CliTest, BadCommandLinesAreTwoAndChangeNothing) {
  for (const auto& words : std::vector<std::vector<std::string>>{{},
                                                                 {"explode"},
                                                                 {"promote"},
                                                                 {"promote", "da/ta"},
                                                                 {"promote", "data", "--forse"},
                                                                 {"resolve", "data"},
                                                                 {"resolve", "data", "--keep", "--discard"},
                                                                 {"create", "data", "--size", "10GB"},
                                                                 {"set", "data", "mode"},
                                                                 {"wait", "data", "--for", "christmas"},
                                                                 {"metadata"}}) {
    const auto outcome = cli(words);
    EXPECT_EQ(outcome.exit_code, 2) << (words.empty() ? "" : words[0]);
    expect_three_lines(outcome);
  }
  EXPECT_TRUE(backend.commands.empty());
  EXPECT_EQ(cli({"--help"}).exit_code, 0);
  EXPECT_EQ(cli({"--version"}).exit_code, 0);
}

TEST_F(CliTest, AnAbsentDaemonIsFive) {
  server.reset();
  for (const char* verb : {"status", "events"}) {
    const auto outcome = cli({verb});
    EXPECT_EQ(outcome.exit_code, 5);
    expect_three_lines(outcome);
  }
  const auto json = cli({"status", "--json"});
  EXPECT_EQ(json.exit_code, 5);
  EXPECT_TRUE(control::from_json<CommandResult>(json.out)) << json.out;
}

TEST_F(CliTest, AHungDaemonIsFiveAndTheCommandMayHaveRun) {
  backend.silent = true;
  const auto question = cli({"--answer-limit", "0.1", "status"});
  EXPECT_EQ(question.exit_code, 5);
  expect_three_lines(question);
  EXPECT_THAT(question.err, HasSubstr("does not answer"));
  const auto command = cli({"--answer-limit", "0.1", "promote", "data"});
  EXPECT_EQ(command.exit_code, 5);
  EXPECT_THAT(command.err, HasSubstr("may still take effect"));
}

TEST_F(CliTest, TheControlSocketComesFromTheConfiguration) {
  const std::string config = dir.file("c.toml");
  std::ofstream{config} << "[node]\nname = \"alpha\"\ncontrol = \"" << socket_path << "\"\n";
  EXPECT_EQ(run_cli({"--config", config, "status"}).exit_code, 0);
  EXPECT_EQ(run_cli({"status", "--config", config}).exit_code, 0);
  const auto missing = run_cli({"--config", dir.file("missing"), "status"});
  EXPECT_EQ(missing.exit_code, 2);
  expect_three_lines(missing);
}

TEST_F(CliTest, CheckListsEveryProblemOfTheConfiguration) {
  const std::string config = dir.file("c.toml");
  std::ofstream{config} << "[node]\nname = \"alpha\"\nstat_dir = \"/x\"\n[[mirror]]\nmode = \"fast\"\n";
  const auto outcome = run_cli({"--config", config, "check"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("c.toml:3: node.stat_dir: unknown key"));
  EXPECT_THAT(outcome.err,
              HasSubstr("c.toml:5: mirror.mode: \"fast\" is not an allowed value; allowed: \"sync\""));
  std::ofstream{config} << "[node]\nname = \"alpha\"\n";
  EXPECT_EQ(run_cli({"--config", config, "check"}).exit_code, 0);
}

TEST_F(CliTest, WaitEndsWithTheState) {
  backend.on_status = [this](int calls, control::StatusReply&) {
    if (calls == 3) make_synced();
  };
  const auto outcome = cli({"wait", "data", "--for", "synced", "--timeout", "60"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("data is synced"));
  EXPECT_GE(backend.status_calls, 3);
}

TEST_F(CliTest, WaitThatTimesOutSaysWhatIs) {
  const auto outcome = cli({"wait", "data", "--for", "target", "--timeout", "0"});
  EXPECT_EQ(outcome.exit_code, 1);
  expect_three_lines(outcome);
  EXPECT_THAT(outcome.err, HasSubstr("is not target but Resyncing (beta is catching up)"));
}

TEST_F(CliTest, WaitOnATerminalSaysWhatKeepsItWaiting) {
  backend.on_status = [this](int calls, control::StatusReply& reply) {
    reply.mirrors[0].peers[0].resync.reset();
    reply.mirrors[0].reason = "no link to beta";
    if (calls == 2) make_synced();
  };
  Child child{{"--control", socket_path, "wait", "data"}, true};
  EXPECT_TRUE(child.read_until("Resyncing: no link to beta"));
  EXPECT_TRUE(child.read_until("data is synced"));
  EXPECT_EQ(child.finish().exit_code, 0);
}

TEST_F(CliTest, ResyncWaitsWithABarOnATerminal) {
  backend.on_status = [this](int calls, control::StatusReply&) {
    if (calls == 2) make_synced();
  };
  Child child{{"--control", socket_path, "resync", "data", "--wait"}, true};
  EXPECT_TRUE(child.read_until("[\x1b[32m#######"));
  EXPECT_TRUE(child.read_until("25 %"));
  EXPECT_TRUE(child.read_until("data is synced"));
  EXPECT_EQ(child.finish().exit_code, 0);
  EXPECT_EQ(last_command().verb, Verb::kResync);
}

TEST_F(CliTest, ResyncWaitWithJsonPrintsOneObject) {
  make_synced();
  const auto outcome = cli({"resync", "data", "--wait", "--json"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_TRUE(control::from_json<control::StatusReply>(outcome.out)) << outcome.out;
}

TEST_F(CliTest, WatchRefreshesUntilInterrupted) {
  Child child{{"--control", socket_path, "status", "--watch", "--interval", "0.1"}, true};
  EXPECT_TRUE(child.read_until("\x1b[33mResyncing"));
  {
    const std::lock_guard lock{backend.mutex};
    backend.reply.mirrors[0].state = control::MirrorState::kSource;
  }
  EXPECT_TRUE(child.read_until("\x1b[32mSource"));
  child.interrupt();
  EXPECT_EQ(child.finish().exit_code, 128 + SIGINT);
}

TEST_F(CliTest, EventsArePrintedAndFollowed) {
  control::Event event;
  event.kind = "link.down";
  event.text = "lost the session";
  events.append(event);
  EXPECT_THAT(cli({"events"}).out, HasSubstr("link.down  lost the session"));
  const auto json = cli({"events", "--json"});
  EXPECT_TRUE(control::from_json<control::Event>(json.out)) << json.out;
  for (const char* since : {"1", "2", "1000000"}) {
    const auto none = cli({"events", "--since", since});
    EXPECT_EQ(none.exit_code, 0);
    EXPECT_EQ(none.out + none.err, "") << since;
  }
  Child child{{"--control", socket_path, "events", "--follow"}};
  EXPECT_TRUE(child.read_until("link.down"));
  event.kind = "link.up";
  events.append(event);
  EXPECT_TRUE(child.read_until("link.up"));
}

TEST_F(CliTest, ExplainPrintsLinesForPeopleAndTheDataForScripts) {
  backend.result = {control::Outcome::kDone, "row 7\nboth clean", "", "", R"({"row":7})"};
  const auto human = cli({"explain", "data"});
  EXPECT_EQ(human.out, "row 7\nboth clean\n");
  EXPECT_EQ(cli({"explain", "data", "--json"}).out, "{\"row\":7}\n");
}

TEST_F(CliTest, AnUnknownVerbIsNamed) {
  const auto outcome = cli({"promoet", "data"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("no verb \"promoet\""));
  EXPECT_THAT(cli({"promote"}).err, HasSubstr("next: twinblock promote --help"));
}

}  // namespace
}  // namespace twinblock::cli::test
