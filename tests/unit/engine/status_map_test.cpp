#include "replicator/engine/status_map.hpp"

#include <gtest/gtest.h>

namespace {

namespace core = twinblock::core;
namespace control = twinblock::control;
using control::MirrorState;
using twinblock::Duration;
using twinblock::Instant;
using twinblock::engine::promotion_score;
using twinblock::engine::running_status;
using twinblock::engine::RunningFacts;
using twinblock::engine::state_word;

core::MirrorSnapshot healthy_source() {
  core::MirrorSnapshot s;
  s.role = core::Role::source;
  s.replica = core::ReplicaState::uptodate;
  s.peer_replica = core::ReplicaState::uptodate;
  s.link = core::LinkState::connected;
  s.in_ack_set = true;
  s.redundancy = 2;
  return s;
}

RunningFacts wanted() {
  RunningFacts facts;
  facts.link_wanted = true;
  return facts;
}

control::MirrorConfig config() {
  control::MirrorConfig c;
  c.name = "data";
  c.nodes.resize(2);
  c.nodes[0].name = "alpha";
  c.nodes[1].name = "beta";
  return c;
}

TEST(StateWord, TheFirstThatAppliesOfTheTable) {
  const core::Policy policy;
  core::Policy hold;
  hold.hold_resync = true;
  auto s = healthy_source();
  EXPECT_EQ(state_word(s, policy, wanted()), MirrorState::kSource);
  s.role = core::Role::target;
  EXPECT_EQ(state_word(s, policy, wanted()), MirrorState::kTarget);
  s.dirty_bytes = 65536;
  s.link = core::LinkState::down;
  EXPECT_EQ(state_word(s, policy, wanted()), MirrorState::kResyncPending);
  EXPECT_EQ(state_word(s, policy, RunningFacts{}), MirrorState::kOutOfSync);
  s.link = core::LinkState::refused;
  EXPECT_EQ(state_word(s, policy, wanted()), MirrorState::kOutOfSync);
  s.link = core::LinkState::resyncing;
  EXPECT_EQ(state_word(s, policy, wanted()), MirrorState::kResyncing);
  s.link = core::LinkState::resync_pending;
  EXPECT_EQ(state_word(s, policy, wanted()), MirrorState::kResyncPending);
  EXPECT_EQ(state_word(s, hold, wanted()), MirrorState::kWaitToResync);
  s.paused = true;
  EXPECT_EQ(state_word(s, hold, wanted()), MirrorState::kPaused);
  s.link = core::LinkState::split_brain;
  EXPECT_EQ(state_word(s, hold, wanted()), MirrorState::kSplitBrain);
  s.replica = core::ReplicaState::failed;
  EXPECT_EQ(state_word(s, hold, wanted()), MirrorState::kFailed);
}

TEST(PromotionScore, OrdersWhatAClusterMayChoose) {
  const auto source = healthy_source();
  auto connected_target = healthy_source();
  connected_target.role = core::Role::target;
  connected_target.in_ack_set = false;
  auto alone = connected_target;
  alone.link = core::LinkState::down;
  alone.replica = core::ReplicaState::consistent;
  alone.promotable = true;
  auto last_source = alone;
  last_source.promotable = false;
  last_source.term_own = last_source.term_seen = twinblock::Term{256};
  auto unproved = last_source;
  unproved.term_own = twinblock::Term{};
  auto outdated = unproved;
  outdated.replica = core::ReplicaState::outdated;
  EXPECT_GT(promotion_score(source), promotion_score(connected_target));
  EXPECT_GT(promotion_score(connected_target), promotion_score(alone));
  EXPECT_GT(promotion_score(alone), promotion_score(last_source));
  EXPECT_GT(promotion_score(last_source), promotion_score(unproved));
  EXPECT_GT(promotion_score(unproved), 0);
  EXPECT_LT(promotion_score(outdated), 0);
}

TEST(RunningStatus, AgeOfTheOldestUnacknowledgedWriteAndEta) {
  auto s = healthy_source();
  s.oldest_unacknowledged = Instant{1'000'000'000};
  s.resync_total_bytes = 1000;
  s.resync_done_bytes = 400;
  s.resync_counters_now = {300, 100};
  RunningFacts facts = wanted();
  facts.now = Instant{3'500'000'000};
  facts.resync_rate = 100;
  const auto status = running_status(s, {}, config(), facts);
  ASSERT_EQ(status.peers.size(), 1u);
  EXPECT_EQ(status.peers[0].name, "beta");
  EXPECT_DOUBLE_EQ(status.peers[0].rpo_s, 2.5);
  ASSERT_TRUE(status.peers[0].resync.has_value());
  EXPECT_EQ(status.peers[0].resync->eta_s, 6u);
  EXPECT_EQ(status.peers[0].resync->sent_bytes, 300u);
  EXPECT_EQ(status.peers[0].resync->zero_bytes, 100u);
}

TEST(RunningStatus, ADifferentConfigurationIsNamed) {
  auto s = healthy_source();
  s.link = core::LinkState::refused;
  s.refusal = core::Refusal::config_differs;
  RunningFacts facts = wanted();
  facts.config_difference = "mode: here \"sync\", there \"async\"";
  const auto reason = running_status(s, {}, config(), facts).reason;
  EXPECT_NE(reason.find("mode: here"), std::string::npos);
  EXPECT_NE(reason.find("next: "), std::string::npos);
}

TEST(RunningStatus, AStartIsNoDisconnectionAndALostPeerGetsANextStep) {
  auto s = healthy_source();
  s.role = core::Role::target;
  s.replica = core::ReplicaState::consistent;
  s.link = core::LinkState::down;
  s.promote_refusal = core::Refusal::peer_may_have_more;
  RunningFacts facts;
  facts.starting = true;
  EXPECT_EQ(running_status(s, {}, config(), facts).reason, "starting");
  facts.starting = false;
  EXPECT_NE(running_status(s, {}, config(), facts).reason.find("twinblock connect data"), std::string::npos);
  facts.link_wanted = true;
  EXPECT_EQ(running_status(s, {}, config(), facts).reason,
            "no link to beta; if beta is lost: twinblock promote data --confirm-dead beta");
  s.role = core::Role::source;
  EXPECT_EQ(running_status(s, {}, config(), facts).reason, "no link to beta");
}

TEST(RunningStatus, ACopyThatCannotBePromotedIsNotToldTo) {
  auto s = healthy_source();
  s.role = core::Role::target;
  s.replica = core::ReplicaState::inconsistent;
  s.link = core::LinkState::down;
  for (const auto& [refusal, why] : {std::pair{core::Refusal::no_peer_data, "never filled"},
                                    std::pair{core::Refusal::replica_inconsistent, "incomplete"},
                                    std::pair{core::Refusal::replica_outdated, "known to be old"}}) {
    s.promote_refusal = refusal;
    const auto reason = running_status(s, {}, config(), wanted()).reason;
    EXPECT_EQ(reason.find("promote"), std::string::npos) << reason;
    EXPECT_NE(reason.find(why), std::string::npos) << reason;
    EXPECT_NE(reason.find("next: twinblock status data on beta"), std::string::npos) << reason;
  }
}

TEST(EventOf, GenerationsAreHexadecimalAndCausesAreWords) {
  core::Event event{};
  event.kind = core::EventKind::generation_new;
  event.a = 0xabc;
  event.b = 1;
  const auto shown = twinblock::engine::event_of(event, config());
  ASSERT_EQ(shown.fields.size(), 2u);
  EXPECT_EQ(shown.fields[0].second, "0000000000000abc");
  EXPECT_EQ(shown.fields[1].second, "degraded");
}

TEST(PolicyOf, TakesTheModeTowardsThePeer) {
  auto c = config();
  c.mode = control::Mode::kSync;
  c.nodes[1].mode = control::Mode::kAsync;
  c.queue_policy = control::QueuePolicy::kBlock;
  c.peer_timeout = Duration::seconds(9);
  const auto policy = twinblock::engine::policy_of(c);
  EXPECT_EQ(policy.mode, core::Mode::async);
  EXPECT_EQ(policy.queue_policy, core::QueuePolicy::block);
  EXPECT_EQ(policy.peer_timeout, Duration::seconds(9));
}

}  // namespace
