// What the third adversarial review of the core found: each test names the promise that was broken.
#include <gtest/gtest.h>

#include "tests/unit/core/pair.hpp"

namespace twinblock::core::testing {
namespace {

// A write of the source whose local completion is outstanding, and which the peer has stable: after a link
// loss no bit tells of it. `error`: what the local disk will say.
RequestId slow_local_write(Pair& p, int error) {
  Node& a = p.node(0);
  a.hold_disk = true;
  a.fail_writes = error;
  const RequestId w = p.write(0, 0, 8, 9);
  p.run();
  a.hold_disk = false;
  a.fail_writes = 0;
  EXPECT_EQ(a.held.size(), 1u);
  const RequestId f = p.flush(0);
  p.run();
  EXPECT_EQ(p.answer(0, f), Status::ok);
  EXPECT_EQ(p.node(1).data[0], 9u);
  return w;
}

// P13, P14: the local write fails between our `state` and the session.
TEST(ThirdReview, LocalErrorDuringTheHandshakeIsNotForgotten) {
  for (int rounds = 1; rounds < 14; ++rounds) {
    Pair p;
    p.make_source(0);
    slow_local_write(p, 5);
    p.cut();
    p.allowed_ = true;
    for (int i = 0; i < rounds; ++i) p.round();
    p.release(0);
    p.connect();
    p.advance(Duration::seconds(60));
    const RequestId r = p.read(0, 0, 8);
    const RequestId w = p.write(0, 16, 8, 10);
    p.advance(Duration::seconds(60));
    p.connect();
    p.advance(Duration::seconds(60));
    EXPECT_TRUE(p.answer(0, r).has_value()) << "read unanswered, rounds " << rounds;
    EXPECT_TRUE(p.answer(0, w).has_value()) << "write unanswered, rounds " << rounds;
    EXPECT_TRUE(p.node(0).data == p.node(1).data || p.status(0).replica == ReplicaState::failed)
        << "differ, rounds " << rounds << " dirty " << p.status(0).dirty_bytes;
  }
}

// P6, P14: the same write fails when its node is a follower already.
TEST(ThirdReview, OldWriteThatFailsAtAFollowerIsADiskFailure) {
  Pair p;
  p.make_source(0);
  slow_local_write(p, 5);
  p.cut();
  Command c = verb(Verb::promote);
  c.confirm_dead = true;
  EXPECT_EQ(p.command(1, c), Refusal::none);
  const RequestId r = p.read(1, 0, 8);
  p.run();
  EXPECT_EQ(p.answer(1, r), Status::ok);
  EXPECT_EQ(p.read_data(1, r)[0], 9u);  // a client has seen it
  p.write(1, 8192, 8, 4);
  p.advance(Duration::seconds(1));
  p.connect();
  p.advance(Duration::seconds(5));
  p.release(0);
  p.advance(Duration::seconds(60));
  EXPECT_TRUE(p.node(0).data[0] == 9u || p.status(0).replica == ReplicaState::failed)
      << "A is " << static_cast<int>(p.status(0).replica) << ", B believes it is "
      << static_cast<int>(p.status(1).peer_replica) << ", redundancy "
      << static_cast<int>(p.status(1).redundancy) << ", A dirty " << p.status(0).dirty_bytes << ", B dirty "
      << p.status(1).dirty_bytes;
  p.crash(1);
  Command d = verb(Verb::promote);
  d.confirm_dead = true;
  const Refusal why = p.command(0, d);
  if (why == Refusal::none) {
    const RequestId q = p.read(0, 0, 8);
    p.run();
    EXPECT_EQ(p.read_data(0, q)[0], 9u) << "P15: a later read after the failover shows something older";
  }
}

// P13: after a source's crash (row 63) a hot region that cannot be read is written over from the target's
// copy, which has everything that was acknowledged.
TEST(ThirdReview, UnreadableHotRegionIsHealedFromTheTarget) {
  Pair p;
  p.make_source(0);
  p.write(0, 0, 8, 3);
  p.run();
  p.crash(0);
  p.node(0).bad_sectors = {4, 5};  // a disk that puts others in their place when they are written
  p.boot(0);
  p.connect();
  p.advance(Duration::seconds(5));
  EXPECT_TRUE(p.saw(0, EventKind::read_repaired));
  EXPECT_EQ(p.status(0).role, Role::source);
  EXPECT_EQ(p.status(0).dirty_bytes, 0u);
  EXPECT_EQ(p.status(1).replica, ReplicaState::uptodate);
  const RequestId r = p.read(0, 0, 8);
  const RequestId w = p.write(0, 64, 8, 4);
  p.advance(Duration::seconds(1));
  ASSERT_EQ(p.answer(0, r), Status::ok);
  EXPECT_EQ(p.read_data(0, r)[0], 3u);
  EXPECT_EQ(p.answer(0, w), Status::ok);
  EXPECT_EQ(p.node(0).data, p.node(1).data);
}

// A disk that cannot read what was written to it a moment ago has failed; nobody waits for ever.
TEST(ThirdReview, UnreadableAfterHealingIsADiskFailure) {
  Pair p;
  p.make_source(0);
  p.write(0, 0, 8, 3);
  p.run();
  p.crash(0);
  p.node(0).fail_reads = 5;
  p.boot(0);
  p.connect();
  p.advance(Duration::seconds(30));
  EXPECT_EQ(p.status(0).replica, ReplicaState::failed);
  const RequestId r = p.read(0, 0, 8);
  const RequestId w = p.write(0, 64, 8, 4);
  p.advance(Duration::seconds(30));
  EXPECT_TRUE(p.answer(0, r).has_value());
  EXPECT_TRUE(p.answer(0, w).has_value());
}

// Neither side can read it: an error, and the rest goes on.
TEST(ThirdReview, UnreadableHotRegionOnBothSidesIsAnError) {
  Pair p;
  p.make_source(0);
  p.write(0, 0, 8, 3);
  p.run();
  p.crash(0);
  p.node(0).fail_reads = p.node(1).fail_reads = 5;
  p.boot(0);
  p.connect();
  p.advance(Duration::seconds(5));
  ASSERT_EQ(p.status(0).role, Role::source);
  const RequestId r = p.read(0, 0, 8);
  const RequestId w = p.write(0, 8192, 8, 4);  // another extent
  p.advance(Duration::seconds(30));
  EXPECT_EQ(p.answer(0, r), Status::io_error);
  EXPECT_EQ(p.answer(0, w), Status::ok);
}

// P7, P9: "first the queue is drained there" before the target may believe that it is the only copy.
void degrade_before_drain(Mode mode) {
  Policy policy;
  policy.mode = mode;
  Pair p{policy};
  p.make_source(0);
  p.write(0, 8192, 8, 3);
  p.advance(Duration::seconds(12));
  Node& b = p.node(1);
  const auto before = b.data;
  b.hold_disk = true;  // the target's disk is slow: what it receives waits
  const RequestId w = p.write(0, 0, 8, 9);
  p.run();
  EXPECT_EQ(p.answer(0, w), Status::ok);  // received (memsync), queued (async)
  p.node(0).fail_writes = 5;              // one bad sector somewhere else
  p.write(0, 16384, 8, 7);
  p.run();
  EXPECT_EQ(p.status(0).replica, ReplicaState::failed);
  p.cut();
  p.crash(1);  // the target's process dies with what it had not written
  b.hold_disk = false;
  b.data = before;
  p.boot(1);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.node(0).data[0], 9u);  // the source's disk still has it
  const Refusal why = p.command(1, verb(Verb::promote));
  EXPECT_NE(why, Refusal::none)
      << "a target that never wrote its queue is promoted without a proof or an operator";
  if (why == Refusal::none) {
    EXPECT_EQ(b.data[0], 9u) << "an acknowledged write is gone";
  }
  // and the copy that has it is overwritten
  p.node(0).fail_writes = 0;
  p.crash(0);
  p.boot(0);
  p.connect();
  p.advance(Duration::seconds(30));
  EXPECT_EQ(p.node(0).data[0], 9u) << "the last copy of an acknowledged write was overwritten";
}
TEST(ThirdReview, TargetIsNoOnlyCopyBeforeItsQueueIsDrainedMemsync) {
  degrade_before_drain(Mode::memsync);
}
TEST(ThirdReview, TargetIsNoOnlyCopyBeforeItsQueueIsDrainedAsync) {
  degrade_before_drain(Mode::async);
}

// P1: acknowledged under sync, lost by the power loss of one machine, because the mode was changed
// afterwards.
TEST(ThirdReview, WhatSyncAcknowledgedSurvivesAChangeToAsync) {
  for (int who = 0; who < 2; ++who) {  // 1: async answers nothing ahead before the loss either
    Pair p;
    p.make_source(0);
    p.advance(Duration::seconds(12));
    const auto before = p.node(0).data;
    const RequestId w = p.write(0, 0, 8, 9);
    p.run();
    EXPECT_EQ(p.answer(0, w), Status::ok);
    EXPECT_EQ(p.node(1).data[0], 9u);
    Command c = verb(Verb::set_policy);
    c.policy.mode = Mode::async;
    p.policy_.mode = Mode::async;
    for (int n = 0; n < 2; ++n) EXPECT_EQ(p.command(n, c), Refusal::none);
    p.crash(0);
    p.node(0).data = before;  // its volatile cache is gone
    p.connect();
    p.reboot(0);
    p.connect();
    p.advance(Duration::seconds(20));
    EXPECT_EQ(p.node(0).data[0], 9u);
    EXPECT_EQ(p.node(1).data[0], 9u) << "the intact copy was overwritten; rule "
                                     << int{p.status(0).verdict_rule};
  }
}

// A source that serves through its peer outlives its queue policy.
TEST(ThirdReview, DetachedSourceWithAFullQueueGoesOn) {
  Policy policy;
  policy.mode = Mode::async;
  policy.queue_policy = QueuePolicy::track;
  policy.queue_bytes_max = ByteCount{64u << 10};
  Pair p{policy};
  p.make_source(0);
  p.advance(Duration::seconds(1));
  p.node(0).fail_writes = 5;
  p.write(0, 0, 8, 9);
  p.run();
  EXPECT_EQ(p.status(0).replica, ReplicaState::failed);
  const RequestId v = p.write(0, 8, 8, 8);
  p.run();
  EXPECT_EQ(p.answer(0, v), Status::ok);
  p.node(1).hold_disk = true;
  std::vector<RequestId> w;
  for (std::uint64_t i = 0; i < 4; ++i) w.push_back(p.write(0, i * 8192, 100, 20 + i));
  p.run();
  p.release(1);
  p.advance(Duration::seconds(30));
  for (const RequestId r : w) EXPECT_EQ(p.answer(0, r), Status::ok);
  p.advance(Duration::seconds(600));
  EXPECT_EQ(p.status(0).link, LinkState::connected) << static_cast<int>(p.status(0).link);
  const RequestId x = p.write(0, 64, 8, 5);
  p.advance(Duration::seconds(60));
  EXPECT_EQ(p.answer(0, x), Status::ok) << "ten minutes later, link up all the time";
}

// hold_resync: "until asked" is about the resync in question, not about all later ones.
TEST(ThirdReview, AReleaseIsForOneResync) {
  Policy policy;
  policy.hold_resync = true;
  Pair p{policy};
  p.boot(0);
  p.boot(1);
  p.connect();
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.status(0).link, LinkState::resync_pending);
  EXPECT_EQ(p.command(0, verb(Verb::release_resync)), Refusal::none);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.status(0).link, LinkState::connected);
  EXPECT_EQ(p.command(0, verb(Verb::promote)), Refusal::none);
  p.cut();
  p.write(0, 0, 8, 3);
  p.advance(Duration::seconds(1));
  p.connect();
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.status(0).link, LinkState::resync_pending) << "the second resync did not wait";
}

// Asynchronous: what only the failed disk has is not overwritten by itself (as row 31 has it while it runs).
TEST(ThirdReview, AheadOfAnAsyncPeerWithAFailedDiskIsNotOverwrittenAfterARestart) {
  Policy policy;
  policy.mode = Mode::async;
  Pair p{policy};
  p.make_source(0);
  p.write(0, 8192, 8, 3);
  p.advance(Duration::seconds(12));
  p.link_ = 12345;  // the network is stalled: nothing arrives any more
  const RequestId w = p.write(0, 0, 8, 9);
  p.run();
  EXPECT_EQ(p.answer(0, w), Status::ok);
  p.node(0).fail_writes = 5;
  p.write(0, 16384, 8, 7);
  p.run();
  EXPECT_EQ(p.status(0).replica, ReplicaState::failed);
  p.node(0).fail_writes = 0;
  p.crash(0);
  p.node(1).inputs.push_back(LinkDown{1});
  p.run();
  p.boot(0);
  p.connect();
  p.advance(Duration::seconds(30));
  EXPECT_EQ(p.node(0).data[0], 9u) << "rule " << int{p.status(0).verdict_rule};
}

// P3: the engine answers ETIMEDOUT while the request still runs (disk_queue.cpp expire). A lone source goes
// on with that disk, and frees the range: the older copy can land on a newer, acknowledged write.
TEST(ThirdReview, ALoneSourceDoesNotWriteOverARequestThatTimedOut) {
  Pair p;
  p.make_source(0);
  p.crash(1);
  const RequestId first = p.write(0, 8192, 8, 1);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.answer(0, first), Status::ok);
  Node& a = p.node(0);
  a.fail_writes = 110;  // ETIMEDOUT; the request itself is still in the kernel
  const RequestId w = p.write(0, 0, 8, 9);
  p.run();
  a.fail_writes = 0;
  EXPECT_EQ(p.answer(0, w), Status::io_error);
  const RequestId x = p.write(0, 0, 8, 10);
  p.run();
  const bool acknowledged = p.answer(0, x) == Status::ok;
  std::fill_n(a.data.begin(), 8, 9);  // the old request comes back and lands
  EXPECT_FALSE(acknowledged && p.status(0).replica != ReplicaState::failed)
      << "an acknowledged write is overwritten by an older one";
}

// A switchover that cannot hand over is not "done", and does not leave the mirror without a source.
TEST(ThirdReview, SwitchoverThatLosesTheLinkIsNoSuccess) {
  Pair p;
  p.make_source(0);
  p.node(0).hold_disk = true;
  const RequestId w = p.write(0, 0, 8, 6);
  p.run();
  p.node(0).inputs.push_back(Command{1000, Verb::switchover});
  p.run();
  p.cut();
  p.release(0);
  p.advance(Duration::seconds(60));
  EXPECT_TRUE(p.answer(0, w).has_value());
  EXPECT_NE(p.node(0).commands[1000], Refusal::none)
      << "roles " << static_cast<int>(p.status(0).role) << " " << static_cast<int>(p.status(1).role);
  EXPECT_EQ(p.status(0).role, Role::source);
}

// P12, P13: pending answers to `degrade` are bounded.
TEST(ThirdReview, DegradeMessagesDoNotPileUp) {
  Pair p;
  p.make_source(0);
  p.node(0).fail_writes = 5;
  p.write(0, 0, 8, 9);
  const auto half = [&p](int n) {
    Node& x = p.node(n);
    for (; !x.inputs.empty(); x.inputs.pop_front())
      x.mirror->step(p.now_, Input{x.inputs.front()}, x.outputs);
    x.mirror->turn_end(p.now_, x.outputs);
    p.carry_out(n);
  };
  for (int i = 0; i < 20; ++i) {
    if (i > 0) half(1);
    half(0);
    Node& b = p.node(1);
    for (const Input& in : b.inputs) {
      const auto* m = std::get_if<MessageIn>(&in);
      if (m == nullptr || m->header.type != wire::Type::degrade) continue;
      auto body = wire::decode_degrade(m->body);
      ASSERT_TRUE(body.has_value());
      const MessageIn first = *m;
      Outputs out;
      std::size_t acks = 0;
      bool closed = false;
      std::vector<std::byte> bytes(4096);
      for (std::uint64_t n = 0; n < 100000 && !closed; ++n) {
        MessageIn again = first;
        const std::size_t size = wire::encode(*body, bytes);
        again.body = std::span{bytes}.first(size);
        b.mirror->step(p.now_, again, out);
        for (const Output& o : out) closed = closed || std::holds_alternative<CloseLink>(o);
        out.clear();
        // a new generation on top of the one just adopted
        for (std::uint32_t h = std::min<std::uint32_t>(body->history.count, 10); h > 0; --h)
          body->history.entries[h] = body->history.entries[h - 1];
        body->history.count = std::min<std::uint32_t>(body->history.count + 1, 10);
        body->history.entries[0].parent = body->history.entries[1].id;
        body->history.entries[0].id = 1000 + n;
        ++acks;
      }
      EXPECT_TRUE(closed) << acks << " answers are pending";
      return;
    }
  }
  FAIL() << "no degrade message seen";
}

// `resync --full`, ordered at the target and answered "done", survives a link that goes at once.
TEST(ThirdReview, FullResyncOrderedAtTheTargetIsNotForgotten) {
  Pair p;
  p.make_source(0);
  p.node(1).data[20000] = 777;  // the operator does not trust this copy
  Command c{1000, Verb::resync};
  c.full = true;
  p.node(1).inputs.push_back(c);
  p.round();
  EXPECT_EQ(p.node(1).commands[1000], Refusal::none);
  p.cut();
  p.write(0, 0, 8, 5);
  p.advance(Duration::seconds(1));
  p.connect();
  p.advance(Duration::seconds(30));
  EXPECT_EQ(p.node(0).data, p.node(1).data) << "rule " << int{p.status(0).verdict_rule};
}

// The same hung write, when its node has followed and is source again: what the other source has shown stays.
TEST(ThirdReview, OldWriteThatFailsInALaterTenure) {
  Pair p;
  p.make_source(0);
  slow_local_write(p, 5);
  p.cut();
  Command c = verb(Verb::promote);
  c.confirm_dead = true;
  EXPECT_EQ(p.command(1, c), Refusal::none);
  p.connect();
  p.advance(Duration::seconds(2));
  EXPECT_NE(p.status(0).replica, ReplicaState::uptodate);
  EXPECT_NE(p.command(0, verb(Verb::switchover)), Refusal::none);
  p.release(0);
  p.advance(Duration::seconds(10));
  EXPECT_EQ(p.status(1).role, Role::source);
  EXPECT_EQ(p.status(0).replica, ReplicaState::failed);
  EXPECT_EQ(p.node(1).data[0], 9u);
}

// P15, P4: a failed flush may have dropped acknowledged writes; a read that was under way then and ends
// afterwards shows what the failed disk has now, while the peer has the truth.
TEST(ThirdReview, AReadThatEndsAfterTheDiskFailedIsNotAnsweredFromIt) {
  Pair p;
  p.make_source(0);
  const RequestId w = p.write(0, 0, 8, 9);
  p.run();
  EXPECT_EQ(p.answer(0, w), Status::ok);
  Node& a = p.node(0);
  a.hold_disk = true;
  const RequestId r = p.read(0, 0, 8);
  p.run();
  ASSERT_EQ(a.held.size(), 1u);
  a.hold_disk = false;
  a.fail_flushes = 5;
  p.flush(0);
  p.run();
  EXPECT_EQ(p.status(0).replica, ReplicaState::failed);
  std::fill_n(a.data.begin(), 8, 1);  // the cache that could not be written is dropped
  for (auto& [id, content] : p.buffers_) {
    if (content.size() == 8 && content[0] == 9u) content.assign(8, 1);  // what the read under way brings
  }
  p.release(0);
  p.advance(Duration::seconds(5));
  EXPECT_EQ(p.answer(0, r), Status::ok);
  EXPECT_EQ(p.read_data(0, r)[0], 9u);
}

}  // namespace
}  // namespace twinblock::core::testing
