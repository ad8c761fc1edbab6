// What the fourth adversarial review of the core found: each test names the promise that was broken.
#include <gtest/gtest.h>

#include "tests/unit/core/pair.hpp"

namespace twinblock::core::testing {
namespace {

bool has_sent(Pair& p, int n, wire::Type t) {
  for (const wire::Header& h : p.node(n).sent) {
    if (h.type == t) return true;
  }
  return false;
}

// False "in sync": a repair of the old source that fails once it follows is told to nobody.
TEST(FourthReview, RepairThatFailsAtAFollowerIsADiskFailure) {
  Pair p;
  p.make_source(0);
  p.write(0, 0, 8, 3);
  p.run();
  p.flush(0);
  p.advance(Duration::seconds(12));
  Node& a = p.node(0);
  a.bad_sectors = {2};
  const RequestId r = p.read(0, 0, 8);
  for (int i = 0; i < 2; ++i) p.round();
  a.hold_disk = true;
  a.fail_writes = 5;
  p.run();
  a.hold_disk = false;
  a.fail_writes = 0;
  ASSERT_EQ(a.held.size(), 1u);  // the repair's local write hangs
  ASSERT_FALSE(p.answer(0, r).has_value());
  p.cut();
  Command c = verb(Verb::promote);
  c.confirm_dead = true;
  ASSERT_EQ(p.command(1, c), Refusal::none);
  p.write(1, 8192, 8, 4);
  p.advance(Duration::seconds(1));
  p.connect();
  p.advance(Duration::seconds(5));
  ASSERT_EQ(p.status(1).redundancy, 2);
  p.release(0);
  p.advance(Duration::seconds(600));
  EXPECT_EQ(p.status(0).replica, ReplicaState::failed);
  EXPECT_EQ(p.status(1).redundancy, 1) << "ten minutes later the source still counts two copies";
  EXPECT_NE(p.status(1).peer_replica, ReplicaState::uptodate);
}

// Abort of the source: TB_ASSERT(ring_.empty()) in reserve_sequences().
TEST(FourthReview, WritesWhileTheSessionIsPreparedDoNotAbort) {
  Pair p;
  p.make_source(0);
  for (std::uint64_t i = 0; i < 20; ++i) p.write(0, i * 8, 8, 5);
  p.run();
  p.crash(0);
  p.node(1).sent.clear();
  p.allowed_ = false;
  p.reboot(0);  // power loss: B, which lost no cache, leads and takes a block of numbers
  p.allowed_ = true;
  for (int i = 0; i < 100 && !has_sent(p, 1, wire::Type::session_start); ++i) p.round();
  ASSERT_TRUE(has_sent(p, 1, wire::Type::session_start));
  p.cut();
  p.run();
  p.crash(1);  // B is down for an hour
  Command c = verb(Verb::promote);
  c.confirm_dead = true;
  ASSERT_EQ(p.command(0, c), Refusal::none);
  p.write(0, 0, 8, 6);
  p.advance(Duration::seconds(1));
  p.boot(1);
  p.allowed_ = true;
  Node& a = p.node(0);
  a.hold_disk = true;  // a disk that takes longer than the metadata
  for (std::uint64_t i = 0; i < 100; ++i) {
    p.write(0, 8192 + i % 64 * 8, 8, 7);
    p.round();
    if (i % 4 != 3) continue;
    for (; !a.held.empty(); a.held.erase(a.held.begin())) a.inputs.push_back(a.held.front());
  }
  p.release(0);
  p.advance(Duration::seconds(30));
  EXPECT_EQ(p.node(0).data, p.node(1).data);
}

// P13: two places that cannot be read, not even after they were written, slow reads: healed for ever.
TEST(FourthReview, TwoUnreadablePiecesAreNotHealedForEver) {
  Pair p;
  p.make_source(0);
  p.write(0, 0, 8, 3);
  p.write(0, 8192, 8, 3);
  p.run();
  p.crash(0);
  Node& a = p.node(0);
  a.fail_reads = 5;
  a.hold_disk = true;
  p.boot(0);
  p.allowed_ = true;
  std::size_t repaired = 0;
  for (int i = 0; i < 3000; ++i) {
    p.run();
    if (a.held.empty()) {
      p.advance(Duration::milliseconds(10));
      continue;
    }
    // writes end at once; reads (which fail after many tries of the disk) one at a time, the oldest first
    std::size_t pick = a.held.size();
    for (std::size_t n = 0; n < a.held.size(); ++n) {
      const auto& d = std::get<DiskDone>(a.held[n]);
      if (d.error == 0) {
        pick = n;
        break;
      }
    }
    if (pick == a.held.size()) pick = 0;
    a.inputs.push_back(a.held[pick]);
    a.held.erase(a.held.begin() + static_cast<std::ptrdiff_t>(pick));
  }
  for (const Event& e : a.events) repaired += e.kind == EventKind::read_repaired ? 1 : 0;
  EXPECT_LT(repaired, 40u) << "healed again and again";
  EXPECT_EQ(p.status(0).replica, ReplicaState::failed);
}

void set_mode(Pair& p, Mode mode) {
  Command c = verb(Verb::set_policy);
  c.policy.mode = mode;
  p.policy_.mode = mode;
  for (int n = 0; n < 2; ++n) EXPECT_EQ(p.command(n, c), Refusal::none);
}

// P1: what sync acknowledged is stable on the source before it begins to answer ahead of its peer, since from
// then on it leads after a power loss. One failure otherwise loses it.
TEST(FourthReview, WhatSyncAcknowledgedIsStableBeforeTheFirstAnswerAhead) {
  Pair p;
  p.make_source(0);
  p.advance(Duration::seconds(12));
  const RequestId w = p.write(0, 0, 8, 9);
  p.run();
  EXPECT_EQ(p.answer(0, w), Status::ok);
  set_mode(p, Mode::async);
  Node& a = p.node(0);
  Node& b = p.node(1);
  b.hold_disk = true;  // the peer does not apply
  const int flushes = a.flushes;
  const RequestId x = p.write(0, 16384, 8, 4);
  for (int i = 0; i < 1000 && !p.answer(0, x).has_value(); ++i) p.round();
  EXPECT_EQ(p.answer(0, x), Status::ok);
  EXPECT_GT(a.flushes, flushes);
  p.release(1);
}

// P1: under sync after async, with a write always under way: as soon as answers are like sync again, the
// source says so of itself, and after its power loss the intact target leads.
TEST(FourthReview, SyncAfterAsyncUnderLoad) {
  Policy policy;
  policy.mode = Mode::async;
  Pair p{policy};
  p.make_source(0);
  std::uint64_t tag = 100;
  const auto more = [&p, &tag](int rounds) {
    for (int i = 0; i < rounds; ++i) {
      ++tag;
      p.write(0, 16384 + 8 * (tag % 8), 8, tag);
      p.round();
    }
  };
  more(20);
  Command c = verb(Verb::set_policy);
  c.id = 1000;
  p.policy_.mode = Mode::sync;
  for (int n = 0; n < 2; ++n) p.node(n).inputs.push_back(c);
  more(50);
  const auto before = p.node(0).data;
  const RequestId w = p.write(0, 0, 8, 9);
  more(20);
  EXPECT_EQ(p.answer(0, w), Status::ok);
  EXPECT_EQ(p.node(1).data[0], 9u);
  p.crash(0);
  p.node(0).data = before;  // its volatile cache is gone
  p.connect();
  p.reboot(0);
  p.connect();
  p.advance(Duration::seconds(20));
  EXPECT_EQ(p.node(1).data[0], 9u) << "rule " << int{p.status(0).verdict_rule};
  EXPECT_EQ(p.node(0).data[0], 9u);
}

// P1, P15: a write that waits for the peer's return (frozen) is healed away, then acknowledged.
TEST(FourthReview, AWaitingWriteIsNotHealedAway) {
  Policy policy;
  policy.write_alone = WriteAlone::never;
  Pair p{policy};
  p.make_source(0);
  p.write(0, 0, 8, 3);
  p.run();
  p.advance(Duration::seconds(12));
  const LinkId real = p.link_;
  p.link_ = 12345;  // what is sent now is lost with the connection
  const RequestId w = p.write(0, 0, 8, 9);
  p.run();
  EXPECT_FALSE(p.answer(0, w).has_value());
  EXPECT_EQ(p.node(0).data[0], 9u);
  p.link_ = real;
  p.cut();
  p.node(0).bad_sectors = {100};  // same region
  p.connect();
  p.advance(Duration::seconds(10));
  EXPECT_EQ(p.status(0).verdict_rule, 63);
  EXPECT_TRUE(p.saw(0, EventKind::read_repaired));
  if (p.answer(0, w) == Status::ok) {
    const RequestId r = p.read(0, 0, 8);
    p.run();
    ASSERT_EQ(p.answer(0, r), Status::ok);
    EXPECT_EQ(p.read_data(0, r)[0], 9u) << "an acknowledged write is on neither replica";
    EXPECT_EQ(p.node(1).data[0], 9u);
  }
}

// Row 53, P10: as ThirdReview.AheadOfAnAsyncPeerWithAFailedDiskIsNotOverwrittenAfterARestart, but the disk
// fails when the source has restarted and is not source again yet: no new generation is made.
TEST(FourthReview, AheadOfAnAsyncPeerAndTheDiskFailsBeforeItIsSourceAgain) {
  Policy policy;
  policy.mode = Mode::async;
  Pair p{policy};
  p.make_source(0);
  p.write(0, 8192, 8, 3);
  p.advance(Duration::seconds(12));
  p.link_ = 12345;  // the network is stalled
  const RequestId w = p.write(0, 0, 8, 9);
  p.run();
  const RequestId f = p.flush(0);
  p.run();
  EXPECT_EQ(p.answer(0, w), Status::ok);
  EXPECT_EQ(p.answer(0, f), Status::ok);  // stable on the source's disk
  p.allowed_ = false;
  p.crash(0);  // the daemon is killed
  p.node(1).inputs.push_back(LinkDown{1});
  p.run();
  p.boot(0);
  p.node(0).fail_flushes = 5;
  Command c = verb(Verb::promote);
  c.confirm_dead = true;
  EXPECT_EQ(p.command(0, c), Refusal::replica_failed);
  EXPECT_EQ(p.status(0).replica, ReplicaState::failed);
  p.link_ = 0;
  p.connect();
  p.advance(Duration::seconds(5));
  EXPECT_EQ(p.status(0).verdict_rule, 31);  // while it runs
  p.cut();
  p.node(0).fail_flushes = 0;
  p.crash(0);
  p.boot(0);
  p.connect();
  p.advance(Duration::seconds(30));
  EXPECT_EQ(p.node(0).data[0], 9u) << "rule " << int{p.status(0).verdict_rule};
}

// P13: neither copy of the region can be read; a write that waited for the peer's return is never answered.
TEST(FourthReview, AWaitingWriteInAnUnreadableRegionIsAnswered) {
  Policy policy;
  policy.write_alone = WriteAlone::never;
  Pair p{policy};
  p.make_source(0);
  p.write(0, 0, 8, 3);
  p.run();
  p.advance(Duration::seconds(12));
  const LinkId real = p.link_;
  p.link_ = 12345;
  const RequestId w = p.write(0, 0, 8, 9);
  p.run();
  p.link_ = real;
  p.cut();
  p.node(0).bad_sectors = {100};
  p.node(1).bad_sectors = {101};  // same region
  p.connect();
  p.advance(Duration::seconds(600));
  EXPECT_EQ(p.status(0).link, LinkState::resyncing);
  EXPECT_FALSE(p.status(0).frozen);
  EXPECT_TRUE(p.answer(0, w).has_value()) << "unanswered for ten minutes";
  const RequestId f = p.flush(0);
  p.advance(Duration::seconds(60));
  EXPECT_TRUE(p.answer(0, f).has_value());
}

// P13, P14: a frozen source whose link comes back never negotiates again.
TEST(FourthReview, AFrozenSourceMeetsItsPeerAgain) {
  Policy policy;
  policy.write_alone = WriteAlone::never;
  Pair p{policy};
  p.make_source(0);
  Node& a = p.node(0);
  a.hold_disk = true;  // slow for a moment
  const RequestId h = p.write(0, 0, 8, 9);
  const RequestId w = p.write(0, 0, 8, 10);  // waits for the range
  p.run();
  p.cut();
  p.connect();  // row 63: the region is resynced; its piece waits for the range, too
  p.advance(Duration::milliseconds(500));
  EXPECT_EQ(p.status(0).verdict_rule, 63);
  p.cut();
  p.release(0);
  p.advance(Duration::seconds(1));
  for (int i = 0; i < 60; ++i) {
    p.connect();
    p.advance(Duration::seconds(10));
  }
  EXPECT_EQ(p.status(0).link, LinkState::connected) << "ten minutes after; frozen " << p.status(0).frozen;
  EXPECT_TRUE(p.answer(0, h).has_value());
  EXPECT_TRUE(p.answer(0, w).has_value());
}

// P12: a source that is told of a higher term stops acknowledging at once; also while it is paused.
TEST(FourthReview, APausedSourceThatHearsOfAHigherTermStops) {
  Pair p;
  p.make_source(0);
  p.cut();
  p.write(0, 0, 8, 2);
  p.advance(Duration::seconds(1));
  Command c = verb(Verb::promote);
  c.confirm_dead = true;
  ASSERT_EQ(p.command(1, c), Refusal::none);
  EXPECT_EQ(p.command(0, verb(Verb::pause)), Refusal::none);
  p.connect();
  p.advance(Duration::seconds(5));
  const RequestId w = p.write(0, 0, 8, 9);
  const RequestId v = p.write(1, 0, 8, 8);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.status(0).term_own, Term{256});
  EXPECT_FALSE(p.answer(0, w) == Status::ok && p.answer(1, v) == Status::ok)
      << "two sources answer, the link between them is up: " << static_cast<int>(p.status(0).link);
  EXPECT_NE(p.answer(0, w), Status::ok) << "role " << static_cast<int>(p.status(0).role);
}

// P1: before a target is made a mixture, the source has on stable storage what both had acknowledged: its own
// power loss during the resync would otherwise take the only other copy with it.
TEST(FourthReview, AFullResyncBeginsWithAFlushOfTheSource) {
  Pair p;
  p.make_source(0);
  const RequestId w = p.write(0, 0, 8, 9);
  p.run();
  EXPECT_EQ(p.answer(0, w), Status::ok);
  p.node(0).sent.clear();
  p.node(0).hold_disk = true;
  Command c{1000, Verb::resync};
  c.full = true;
  p.node(0).inputs.push_back(c);
  p.run();
  EXPECT_FALSE(has_sent(p, 0, wire::Type::session_start));
  EXPECT_NE(p.status(1).replica, ReplicaState::inconsistent);
  p.release(0);
  p.advance(Duration::seconds(5));
  EXPECT_TRUE(has_sent(p, 0, wire::Type::session_start));
  EXPECT_EQ(p.status(1).replica, ReplicaState::uptodate);
}

// P13: a write of an async source whose mode becomes sync before the first answer ahead (simulator: chaos
// 1110).
TEST(FourthReview, AModeChangeWhileAnswersWaitIsNoLivelock) {
  Policy policy;
  policy.mode = Mode::async;
  Pair p{policy};
  p.make_source(0);
  p.node(1).hold_disk = true;
  p.node(0).hold_disk = true;
  const RequestId w = p.write(0, 0, 8, 9);
  p.run();
  Command c = verb(Verb::set_policy);
  c.policy.mode = Mode::sync;
  for (int n = 0; n < 2; ++n) EXPECT_EQ(p.command(n, c), Refusal::none);
  p.release(0);
  EXPECT_FALSE(p.answer(0, w).has_value());  // not at the peer yet
  p.release(1);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.answer(0, w), Status::ok);
}

}  // namespace
}  // namespace twinblock::core::testing
