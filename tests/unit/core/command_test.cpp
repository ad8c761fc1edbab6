// What commands answer while the peer refuses, and while it is not there.
#include <gtest/gtest.h>

#include "tests/unit/core/pair.hpp"

namespace twinblock::core::testing {
namespace {

// Both nodes were created with the data: two mirrors under one name.
void make_two_mirrors(Pair& p) {
  auto there = bitmap::recover(p.node(1).area)->superblock;
  there.mirror_id = there.group_id = 78;
  there.disk_state = DiskState::consistent;
  there.push_generation(GenerationId{815}, SequenceNumber{1}, GenerationCause::created);
  p.node(1).area = bitmap::format_area(there, 0);
}

void meet(Pair& p) {
  p.boot(0);
  p.boot(1);
  p.connect();
  ASSERT_EQ(p.status(0).refusal, Refusal::mirror_id);
  ASSERT_EQ(p.status(1).refusal, Refusal::mirror_id);
}

std::optional<Refusal> last_answer(Pair& p, int n) {
  const auto& commands = p.node(n).commands;
  return commands.empty() ? std::nullopt : std::optional{commands.rbegin()->second};
}

// Two sources that both took writes, on a word that the open connection contradicted.
TEST(Commands, WhoAnswersOnAPausedLinkIsNotDead) {
  Pair p;
  p.make_source(0);
  EXPECT_EQ(p.command(0, verb(Verb::pause)), Refusal::none);
  Command promote = verb(Verb::promote);
  promote.confirm_dead = true;
  EXPECT_EQ(p.command(1, promote), Refusal::peer_lives);
  EXPECT_EQ(p.status(1).role, Role::target);
  for (int n = 0; n < 2; ++n) {
    EXPECT_EQ(p.command(n, verb(Verb::switchover)), Refusal::paused);
    EXPECT_EQ(p.command(n, verb(Verb::resync)), Refusal::paused);
  }
  p.allowed_ = false;
  p.cut();
  EXPECT_EQ(p.command(0, verb(Verb::resync)), Refusal::not_connected);
  EXPECT_EQ(p.command(1, promote), Refusal::none);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.status(1).role, Role::source);
}

TEST(Commands, ConnectWaitsForTheHandshakeAndSaysThatItIsRefused) {
  Pair p;
  make_two_mirrors(p);
  meet(p);
  p.command(0, verb(Verb::connect));
  EXPECT_FALSE(last_answer(p, 0)) << "the next handshake may end otherwise";
  p.connect();
  EXPECT_EQ(last_answer(p, 0), Refusal::mirror_id);
  p.command(1, verb(Verb::disconnect));
  p.command(1, verb(Verb::connect));
  p.connect();
  EXPECT_EQ(last_answer(p, 1), Refusal::mirror_id);
}

TEST(Commands, ConnectDoesNotWaitLongForAPeerThatIsGone) {
  Pair p;
  make_two_mirrors(p);
  meet(p);
  p.command(0, verb(Verb::connect));
  p.advance(Duration::seconds(4));
  EXPECT_EQ(last_answer(p, 0), Refusal::mirror_id) << "what it said last";
  p.command(0, verb(Verb::disconnect));
  p.command(0, verb(Verb::connect));
  p.advance(Duration::seconds(4));
  EXPECT_EQ(last_answer(p, 0), Refusal::none) << "it is dialled, and that is all";
}

TEST(Commands, ConnectAnswersAtOnceWhereThereIsNothingToWaitFor) {
  Pair p;
  p.boot(0);
  EXPECT_EQ(p.command(0, verb(Verb::connect)), Refusal::none) << "dialled already";
  p.boot(1);
  p.connect();
  p.advance(Duration::milliseconds(100));
  EXPECT_EQ(p.command(0, verb(Verb::connect)), Refusal::none);
  EXPECT_EQ(p.command(0, verb(Verb::disconnect)), Refusal::none);
  p.command(0, verb(Verb::connect));
  p.connect();
  p.advance(Duration::milliseconds(100));
  EXPECT_EQ(last_answer(p, 0), Refusal::none);
  EXPECT_EQ(p.status(0).link, LinkState::connected);
}

TEST(Commands, AConnectThatIsOverruledIsAnswered) {
  Pair p;
  make_two_mirrors(p);
  meet(p);
  p.command(0, verb(Verb::connect));
  EXPECT_EQ(p.command(0, verb(Verb::disconnect)), Refusal::none);
  EXPECT_EQ(p.node(0).commands.size(), 2u);
  EXPECT_EQ(p.node(0).commands.begin()->second, Refusal::link_lost);
}

// The first one to be promoted cannot know of the other; once they have met, no second one follows by itself.
TEST(Commands, OfTwoMirrorsUnderOneNameNoneIsPromotedUnasked) {
  Pair p;
  make_two_mirrors(p);
  meet(p);
  for (int n = 0; n < 2; ++n) {
    EXPECT_EQ(p.status(n).promote_refusal, Refusal::mirror_id);
    EXPECT_EQ(p.command(n, verb(Verb::promote)), Refusal::mirror_id);
  }
  Command word = verb(Verb::promote);
  word.confirm_dead = true;
  EXPECT_EQ(p.command(0, word), Refusal::none);
}

// A peer that was replaced by a mirror of its own takes nothing from the one that has the data.
TEST(Commands, AStrangerInThePlaceOfAKnownPeerBlocksNoPromotion) {
  Pair p;
  p.make_source(0);
  EXPECT_EQ(p.command(0, verb(Verb::demote)), Refusal::none);
  p.crash(1);
  make_two_mirrors(p);
  p.boot(1);
  p.connect();
  p.run();
  EXPECT_EQ(p.status(0).refusal, Refusal::mirror_id);
  EXPECT_NE(p.command(0, verb(Verb::promote)), Refusal::mirror_id);
}

// Both took writes of their own; node 1 is source.
void split(Pair& p) {
  p.make_source(0);
  p.cut();
  p.write(0, 0, 8, 10);
  p.advance(Duration::milliseconds(10));
  Command c = verb(Verb::promote);
  c.confirm_dead = true;
  ASSERT_EQ(p.command(1, c), Refusal::none);
  p.write(1, 8, 8, 11);
  p.advance(Duration::milliseconds(10));
  p.connect();
  p.advance(Duration::milliseconds(10));
  ASSERT_EQ(p.status(0).link, LinkState::split_brain);
}

TEST(Commands, ADecisionShowsOnBothSidesUntilItIsCarriedOut) {
  Pair p;
  split(p);
  EXPECT_EQ(p.status(0).resolution, Resolution::none);
  EXPECT_EQ(p.command(0, verb(Verb::resolve_keep)), Refusal::none);
  EXPECT_EQ(p.status(0).resolution, Resolution::keep);
  EXPECT_TRUE(p.status(0).peer_was_source) << "it waits for this";
  p.connect();
  p.advance(Duration::milliseconds(10));
  EXPECT_EQ(p.status(0).link, LinkState::split_brain) << "a source is not overwritten";
  EXPECT_EQ(p.status(0).resolution, Resolution::keep);
  EXPECT_EQ(p.status(1).peer_resolution, Resolution::keep);
  EXPECT_EQ(p.status(1).resolution, Resolution::none);
  EXPECT_EQ(p.command(1, verb(Verb::demote)), Refusal::none);
  p.connect();
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.status(0).link, LinkState::connected);
  EXPECT_EQ(p.node(1).data[0], 10u);
  for (int n = 0; n < 2; ++n) {
    EXPECT_EQ(p.status(n).resolution, Resolution::none);
    EXPECT_EQ(p.status(n).peer_resolution, Resolution::none);
  }
}

TEST(Commands, ResyncSaysWhyTheLinkIsRefused) {
  Pair p;
  make_two_mirrors(p);
  meet(p);
  EXPECT_EQ(p.command(0, verb(Verb::resync)), Refusal::mirror_id);
  EXPECT_EQ(p.command(0, verb(Verb::release_resync)), Refusal::mirror_id);
  Pair alone;
  alone.boot(0);
  EXPECT_EQ(alone.command(0, verb(Verb::resync)), Refusal::not_connected);
}

}  // namespace
}  // namespace twinblock::core::testing
