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

TEST(DoneResult, WhatNeedsNoWordsIsDone) {
  const auto result = done_result({Verb::kPause}, {}, config(), {});
  EXPECT_EQ(result.message, "mirror data: pause done");
  EXPECT_EQ(result.next_step, "");
}

}  // namespace
