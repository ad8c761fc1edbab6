// What the fifth adversarial review of the core's data path found: each test names the promise that was
// broken.
#include <gtest/gtest.h>

#include "tests/unit/core/pair.hpp"

namespace twinblock::core::testing {
namespace {

Command confirm_dead() {
  Command c = verb(Verb::promote);
  c.confirm_dead = true;
  return c;
}

void set_mode(Pair& p, Mode mode) {
  Command c = verb(Verb::set_policy);
  c.policy.mode = mode;
  p.policy_.mode = mode;
  for (int n = 0; n < 2; ++n) EXPECT_EQ(p.command(n, c), Refusal::none);
}

// P7: "... durable on every replica that remains in the ack set (and in local metadata if it works)". The
// disk of the source fails, its metadata is slow; what only the peer has is acknowledged before the source
// has written down that it lacks it. Killed then, it counts as complete: whoever fences the peer promotes it.
TEST(FifthReview, NothingIsAcknowledgedBeforeTheSourceHasNotedThatItsOwnDiskFailed) {
  Pair p;
  p.make_source(0);
  p.write(0, 0, 8, 3);
  p.advance(Duration::seconds(12));
  Node& a = p.node(0);
  const RequestId hot = p.write(0, 64, 8, 4);  // the extent is hot
  p.run();
  EXPECT_EQ(p.answer(0, hot), Status::ok);
  a.hold_metadata = true;
  a.fail_writes = 5;
  const RequestId w = p.write(0, 0, 8, 9);
  p.run();
  const RequestId f = p.flush(0);
  p.run();
  EXPECT_FALSE(p.answer(0, w).has_value());
  EXPECT_FALSE(p.answer(0, f).has_value());
  const bool acknowledged = p.answer(0, w) == Status::ok;
  p.crash(0);
  p.crash(1);  // and the peer is lost, with a fence that says so
  a.fail_writes = 0;
  a.hold_metadata = false;
  p.boot(0);
  const Refusal why = p.command(0, confirm_dead());
  EXPECT_FALSE(acknowledged && why == Refusal::none)
      << "a replica that lacks an acknowledged write is promoted without --force: " << p.node(0).data[0];
}

TEST(FifthReview, ASlowNoteOfTheFailedDiskHoldsAnswersNoLongerThanThat) {
  for (const bool fails : {false, true}) {
    Pair p;
    p.make_source(0);
    p.write(0, 0, 8, 3);
    p.run();
    Node& a = p.node(0);
    a.hold_metadata = true;
    a.fail_writes = 5;
    const RequestId w = p.write(0, 0, 8, 9);
    const RequestId f = p.flush(0);
    p.run();
    a.fail_metadata = fails ? 5 : 0;
    p.release_metadata(0);
    EXPECT_EQ(p.answer(0, w), Status::ok);
    EXPECT_EQ(p.answer(0, f), Status::ok);
  }
}

// P12: the peer was promoted behind our back and is paused: its messages carry its term, its state is not
// sent.
TEST(FifthReview, ASourceHeedsTheTermOfAPausedPeer) {
  Pair p;
  p.make_source(0);
  p.cut();
  p.write(0, 0, 8, 2);
  p.advance(Duration::seconds(1));
  ASSERT_EQ(p.command(1, confirm_dead()), Refusal::none);
  EXPECT_EQ(p.command(1, verb(Verb::pause)), Refusal::none);
  p.connect();
  p.advance(Duration::seconds(5));
  const RequestId w = p.write(0, 0, 8, 9);
  const RequestId v = p.write(1, 0, 8, 8);
  p.advance(Duration::seconds(1));
  EXPECT_FALSE(p.answer(0, w) == Status::ok && p.answer(1, v) == Status::ok)
      << "two sources answer, the link between them is up: " << static_cast<int>(p.status(0).link);
  EXPECT_NE(p.answer(0, w), Status::ok) << "role " << static_cast<int>(p.status(0).role);
}

// P12, P15: a read that is under way when a higher term is heard of shows what the new source may have
// overwritten since.
TEST(FifthReview, ADeposedSourceAnswersNoRead) {
  Pair p;
  p.make_source(0);
  p.write(0, 0, 8, 2);
  p.run();
  p.cut();
  ASSERT_EQ(p.command(1, confirm_dead()), Refusal::none);
  const RequestId v = p.write(1, 0, 8, 8);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.answer(1, v), Status::ok);
  p.node(0).hold_disk = true;
  const RequestId r = p.read(0, 0, 8);
  p.run();
  p.connect();
  p.run();
  EXPECT_EQ(p.status(0).role, Role::target);
  p.release(0);
  p.advance(Duration::seconds(1));
  EXPECT_NE(p.answer(0, r), Status::ok) << "stale: " << p.read_data(0, r)[0];
}

// P13: a resync that was held for long and has nothing to send ends at once, without dropping the link.
TEST(FifthReview, AHeldResyncOfNothingDoesNotDropTheLink) {
  Policy policy;
  policy.hold_resync = true;
  Pair p{policy};
  p.boot(0);
  p.boot(1);
  p.connect();
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.command(0, verb(Verb::release_resync)), Refusal::none);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.command(0, verb(Verb::promote)), Refusal::none);
  p.advance(Duration::seconds(1));
  p.cut();
  const RequestId f = p.flush(0);  // alone: a new generation, and not one bit
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.answer(0, f), Status::ok);
  p.connect();
  p.advance(Duration::seconds(60));
  EXPECT_EQ(p.status(0).link, LinkState::resync_pending);
  const LinkId link = p.link_;
  EXPECT_EQ(p.command(0, verb(Verb::release_resync)), Refusal::none);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.link_, link);
  EXPECT_EQ(p.status(0).link, LinkState::connected);
}

// P2: a write is answered ahead of an async peer between the announced end of a resync and `resync_done`, and
// the mode becomes sync in between. The end of the resync says nothing of that write: `acked_ahead` stays, or
// after a power loss of the source, which has it on stable storage, the target would lead and overwrite it.
TEST(FifthReview, TheEndOfAResyncDoesNotForgetWhatWasAnsweredBehindIt) {
  Policy policy;
  policy.mode = Mode::async;
  Pair p{policy};
  p.make_source(0);
  p.write(0, 8192, 8, 3);
  p.run();
  p.cut();
  p.write(0, 0, 8, 4);
  p.advance(Duration::seconds(1));
  Node& a = p.node(0);
  a.sent.clear();
  p.allowed_ = true;
  const auto ended = [&] {
    for (const wire::Header& h : a.sent) {
      if (h.type == wire::Type::resync_end) return true;
    }
    return false;
  };
  for (int i = 0; i < 2000 && !ended(); ++i) {
    if (p.round()) continue;
    p.now_ = p.now_ + Duration::milliseconds(1);
    for (int n = 0; n < 2; ++n) p.node(n).inputs.push_back(Tick{});
  }
  ASSERT_TRUE(ended());
  p.node(1).hold_metadata = true;  // the end of the resync takes its time there
  for (int i = 0; i < 20; ++i) p.round();
  p.node(1).hold_disk = true;
  const auto before = p.node(1).data;
  const RequestId w = p.write(0, 0, 8, 9);
  for (int i = 0; i < 20; ++i) p.round();
  ASSERT_EQ(p.answer(0, w), Status::ok);
  const RequestId f = p.flush(0);
  for (int i = 0; i < 20; ++i) p.round();
  ASSERT_EQ(p.answer(0, f), Status::ok);
  set_mode(p, Mode::sync);
  p.release_metadata(1);  // resync_done; the write itself still waits for the target's disk
  ASSERT_EQ(p.status(0).link, LinkState::connected);
  p.allowed_ = false;
  p.crash(0);
  p.crash(1);  // its daemon is killed with what it had queued; its cache stays
  p.node(1).data = before;
  p.node(1).hold_disk = false;
  p.boot(1);
  p.reboot(0);
  p.connect();
  p.advance(Duration::seconds(30));
  EXPECT_EQ(p.node(0).data[0], 9u) << "flushed, acknowledged, overwritten by row "
                                   << int{p.status(0).verdict_rule};
}

// P13, P14: a disk whose flushes take longer than a handshake may, and less than its time limit.
TEST(FifthReview, SlowFlushesDoNotKeepTheReplicasApart) {
  Pair p;
  p.make_source(0);
  p.cut();
  p.write(0, 0, 8, 9);
  p.advance(Duration::seconds(1));
  Node& a = p.node(0);
  a.hold_disk = true;
  std::vector<Instant> due;  // of what is held
  for (int i = 0; i < 300 && p.status(0).redundancy < 2; ++i) {
    p.connect();
    p.advance(Duration::seconds(1));
    while (due.size() < a.held.size()) due.push_back(p.now_ + Duration::seconds(12));
    while (!due.empty() && due.front() <= p.now_) {
      a.inputs.push_back(a.held.front());
      a.held.erase(a.held.begin());
      due.erase(due.begin());
    }
  }
  EXPECT_EQ(p.status(0).redundancy, 2) << "five minutes after the link came back";
}

// P13, P14: to write down all bits takes longer than a handshake may. What one attempt has written counts in
// the next one.
TEST(FifthReview, ManyPagesOnSlowMetadataDoNotKeepTheReplicasApart) {
  Pair p{Policy{}, 2u << 30, 4096};  // 17 pages
  p.make_source(0);
  Command c = verb(Verb::resync);
  c.full = true;
  Node& a = p.node(0);
  a.hold_metadata = true;
  EXPECT_EQ(p.command(0, c), Refusal::none);
  const auto resyncs = [&] { return p.saw(1, EventKind::resync_finished); };
  p.node(1).events.clear();
  for (int i = 0; i < 600 && !resyncs(); ++i) {
    p.connect();
    p.advance(Duration::milliseconds(700));
    if (a.held_metadata.empty()) continue;
    const MetaWrite w = a.held_metadata.front();
    a.held_metadata.erase(a.held_metadata.begin());
    p.metadata(0, w);
  }
  EXPECT_TRUE(resyncs()) << "seven minutes later";
}

// P13: pieces whose bits wait for the superblock of the session are not flushed again and again.
TEST(FifthReview, PiecesThatAreStableAskForNoMoreFlushes) {
  Pair p{Policy{}, 256u << 20};
  p.boot(0);
  p.boot(1);
  p.allowed_ = true;
  Node& a = p.node(0);
  const auto begun = [&] {
    for (const wire::Header& h : p.node(1).sent) {
      if (h.type == wire::Type::session_ready) return true;
    }
    return false;
  };
  for (int i = 0; i < 1000 && !begun(); ++i) p.round();
  ASSERT_TRUE(begun());
  a.hold_metadata = true;
  const int before = a.flushes;
  for (int i = 0; i < 3000; ++i) {
    if (i % 10 == 0) p.now_ = p.now_ + Duration::milliseconds(10);
    if (i % 10 == 0) a.inputs.push_back(Tick{});
    p.round();
  }
  EXPECT_LT(a.flushes - before, 20);
  p.release_metadata(0);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.node(0).data, p.node(1).data);
}

// P9: a confirmation given while the source is connected says nothing of a link that is lost later.
TEST(FifthReview, AConfirmationGivenBesideALiveSourceIsRefusedAtOnce) {
  Pair p;
  p.make_source(0);
  p.node(1).hold_disk = true;
  p.write(0, 0, 8, 9);
  p.run();
  Command c = confirm_dead();
  c.id = 1000;
  p.node(1).inputs.push_back(c);  // what was received is not applied yet
  p.run();
  p.cut();  // for a moment
  p.release(1);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.node(1).commands[1000], Refusal::peer_is_source);
  EXPECT_FALSE(p.node(0).export_open && p.node(1).export_open) << "two sources";
}

}  // namespace
}  // namespace twinblock::core::testing
