#include "replicator/engine/done_text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using testing::HasSubstr;
using testing::Not;
namespace control = twinblock::control;
namespace core = twinblock::core;
using control::Verb;
using twinblock::engine::done_result;
using twinblock::engine::RunningFacts;

control::MirrorConfig config() {
  control::MirrorConfig c;
  c.name = "data";
  c.nodes.resize(2);
  c.nodes[0].name = "alpha";
  c.nodes[1].name = "beta";
  return c;
}

TEST(DoneResult, ConnectSaysWhetherThereIsAConnection) {
  core::MirrorSnapshot s;
  RunningFacts facts;
  s.link = core::LinkState::connected;
  EXPECT_EQ(done_result({Verb::kConnect}, s, config(), facts).message, "mirror data: connected to beta");
  s.link = core::LinkState::down;
  facts.link_error = "Connection refused";
  const auto waiting = done_result({Verb::kConnect}, s, config(), facts);
  EXPECT_EQ(waiting.outcome, control::Outcome::kDone);
  EXPECT_THAT(waiting.message, HasSubstr("no connection to beta yet (Connection refused)"));
  EXPECT_THAT(waiting.next_step, HasSubstr("twinblock status data"));
  s.link = core::LinkState::paused;
  EXPECT_THAT(done_result({Verb::kConnect}, s, config(), facts).message, HasSubstr("paused"));
}

TEST(DoneResult, ResyncSaysWhatIsCopied) {
  core::MirrorSnapshot s;
  const RunningFacts facts;
  s.link = core::LinkState::connected;
  EXPECT_THAT(done_result({Verb::kResync}, s, config(), facts).message,
              HasSubstr("nothing is known to differ"));
  s.link = core::LinkState::resyncing;
  s.dirty_bytes = 3u << 20;
  EXPECT_THAT(done_result({Verb::kResync}, s, config(), facts).message, HasSubstr("3.00 MiB to copy"));
  s.link = core::LinkState::connecting;
  EXPECT_THAT(done_result({Verb::kResync}, s, config(), facts).message, HasSubstr("when beta is connected"));
  EXPECT_THAT(done_result({Verb::kResync, true}, s, config(), facts).message, HasSubstr("copied again"));
}

TEST(DoneResult, ResolveSaysWhatItWaitsForAndWhatToTypeWhere) {
  using R = core::Resolution;
  struct Case {
    R here;
    R there;
    bool source;
    bool peer_source;
    const char* what;
    const char* next;
  };
  const Case cases[] = {
      {R::keep, R::none, false, true, "waits for beta, which is source", "on beta: twinblock demote data"},
      {R::keep, R::none, true, false, "this copy stays", "on beta: twinblock connect data"},
      {R::keep, R::keep, false, false, "both nodes have decided to keep", "resolve data --discard"},
      {R::discard, R::none, false, true, "this copy is given up", "on beta: twinblock connect data"},
      {R::discard, R::discard, false, false, "both nodes have given up", "resolve data --keep"},
      {R::none, R::keep, true, false, "beta has decided to keep its copy", "twinblock demote data"},
      {R::none, R::keep, false, false, "beta has decided to keep its copy", "resolve data --discard"},
      {R::none, R::discard, false, true, "beta has decided to give up its copy", "resolve data --keep"},
  };
  for (const Case& c : cases) {
    core::MirrorSnapshot s;
    s.refusal = core::Refusal::split_brain;
    s.link = core::LinkState::split_brain;
    s.resolution = c.here;
    s.peer_resolution = c.there;
    s.role = c.source ? core::Role::source : core::Role::target;
    s.peer_was_source = c.peer_source;
    const auto told = done_result({Verb::kResolve}, s, config(), {});
    const auto status = twinblock::engine::running_status(s, {}, config(), {});
    for (const auto& text : {told.message, status.reason}) EXPECT_THAT(text, HasSubstr(c.what));
    for (const auto& text : {told.next_step, status.reason}) EXPECT_THAT(text, HasSubstr(c.next));
    EXPECT_EQ(status.resolution.has_value(), c.here != R::none);
    EXPECT_EQ(status.peers[0].resolution.has_value(), c.there != R::none);
  }
}

TEST(DoneResult, WhatNeedsNoWordsIsDone) {
  const auto result = done_result({Verb::kPause}, {}, config(), {});
  EXPECT_EQ(result.message, "mirror data: pause done");
  EXPECT_EQ(result.next_step, "");
}

}  // namespace
