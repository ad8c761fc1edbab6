// What the fifth adversarial review found about sessions, roles, generations and metadata: each test names
// the promise that was broken.
#include <gtest/gtest.h>

#include "tests/unit/core/pair.hpp"

namespace twinblock::core::testing {
namespace {

Command confirmed() {
  Command c = verb(Verb::promote);
  c.confirm_dead = true;
  return c;
}

// P9: the peer, confirmed dead, comes back as the source that it is while the promotion flushes: it is no
// longer a matter of the operator's word.
TEST(FifthReview, APromotionUnderWayHeedsThePeerThatComesBack) {
  Pair p;
  p.make_source(0);
  p.cut();
  p.write(0, 0, 8, 10);
  p.advance(Duration::milliseconds(10));
  p.node(1).hold_disk = true;
  Command c = confirmed();
  c.id = 1000;
  p.node(1).inputs.push_back(c);
  p.run();
  p.connect();
  p.advance(Duration::milliseconds(10));
  p.release(1);
  p.advance(Duration::seconds(1));
  EXPECT_FALSE(p.saw(0, EventKind::deposed));
  EXPECT_EQ(p.status(0).role, Role::source);
  EXPECT_EQ(p.node(1).commands[1000], Refusal::peer_is_source);
  EXPECT_EQ(p.node(0).data, p.node(1).data);
}

// DESIGN §1, P12: a term is greater than any seen before, also than one that was heard of in a handshake
// which came to nothing; else the source is deposed by the older term of a peer that is back from the dead.
TEST(FifthReview, TheNextTermIsAboveTheOneThatDeposed) {
  Policy policy;
  policy.after_restart = AfterRestart::target;
  Pair p{policy};
  p.make_source(0);
  p.cut();
  p.write(0, 0, 8, 10);
  p.advance(Duration::milliseconds(10));
  ASSERT_EQ(p.command(1, confirmed()), Refusal::none);
  p.write(1, 64, 8, 20);
  p.advance(Duration::milliseconds(10));
  p.connect();
  p.advance(Duration::milliseconds(10));
  ASSERT_EQ(p.status(0).refusal, Refusal::split_brain);
  ASSERT_EQ(p.status(0).role, Role::target);
  const Term theirs = p.status(1).term_own;
  p.crash(1);
  p.crash(0);
  p.boot(0);
  ASSERT_EQ(p.command(0, confirmed()), Refusal::none);
  EXPECT_GT(p.status(0).term_own, theirs);
  p.boot(1);
  p.connect();
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.status(0).role, Role::source);
}

// P9: an up-to-date target with a live session is promotable; also if the source was demoted while it was
// still being filled.
TEST(FifthReview, ASourceDemotedDuringTheResyncIsNoSourceForItsPeer) {
  Pair p;
  p.make_source(0);
  p.cut();
  for (std::uint64_t n = 0; n < 4; ++n) p.write(0, n * 8192, 8, 10);
  p.advance(Duration::milliseconds(10));
  p.node(1).hold_disk = true;
  p.connect();
  p.advance(Duration::milliseconds(10));
  ASSERT_EQ(p.status(1).replica, ReplicaState::inconsistent);
  p.node(0).inputs.push_back(Command{1000, Verb::demote});
  p.run();
  p.release(1);
  p.advance(Duration::seconds(2));
  ASSERT_EQ(p.node(0).commands[1000], Refusal::none);
  ASSERT_EQ(p.status(0).role, Role::target);
  ASSERT_EQ(p.status(1).replica, ReplicaState::uptodate);
  EXPECT_EQ(p.command(1, verb(Verb::promote)), Refusal::none);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.status(1).role, Role::source);
  EXPECT_EQ(p.status(1).redundancy, 2);
}

}  // namespace
}  // namespace twinblock::core::testing
