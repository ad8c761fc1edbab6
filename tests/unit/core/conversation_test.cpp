// The mirror's conversations on a world that works: who becomes what, what is resynced, what is refused.
#include <gtest/gtest.h>

#include <cerrno>

#include "tests/unit/core/pair.hpp"

namespace twinblock::core::testing {
namespace {

TEST(Conversation, FirstConnectionFillsTheFreshTarget) {
  Pair p;
  p.boot(0);
  p.boot(1);
  p.connect();
  p.advance(Duration::milliseconds(100));
  EXPECT_EQ(p.status(0).link, LinkState::connected);
  EXPECT_EQ(p.status(0).replica, ReplicaState::uptodate);
  EXPECT_EQ(p.status(1).replica, ReplicaState::uptodate);
  EXPECT_EQ(p.status(1).mirror_id, 77u);
  EXPECT_EQ(p.node(0).data, p.node(1).data);
  EXPECT_EQ(p.status(0).dirty_bytes, 0u);
  EXPECT_EQ(p.status(1).dirty_bytes, 0u);
}

TEST(Conversation, WriteIsOnBothAndFlushFlushesBoth) {
  Pair p;
  p.make_source(0);
  const RequestId w = p.write(0, 100, 8, 42);
  p.run();
  EXPECT_EQ(p.answer(0, w), Status::ok);
  EXPECT_EQ(p.node(0).data[100], 42u);
  EXPECT_EQ(p.node(1).data[107], 42u);
  const int before = p.node(1).flushes;
  const RequestId f = p.flush(0);
  p.run();
  EXPECT_EQ(p.answer(0, f), Status::ok);
  EXPECT_GT(p.node(1).flushes, before);
}

TEST(Conversation, HotExtentCostsNoMetadata) {
  Pair p;
  p.make_source(0);
  p.write(0, 0, 8, 1);
  p.run();
  const int records = p.node(0).record_writes;
  for (std::uint64_t i = 1; i < 100; ++i) p.write(0, i * 8, 8, i);
  p.run();
  EXPECT_EQ(p.node(0).record_writes, records);
}

TEST(Conversation, ManyColdExtentsShareOneRecord) {
  Pair p;
  p.make_source(0);
  const int records = p.node(0).record_writes;
  for (std::uint64_t e = 0; e < 4; ++e) p.write(0, e * 8192, 8, e);
  p.run();
  EXPECT_EQ(p.node(0).record_writes, records + 1);
}

TEST(Conversation, RestEmptiesTheLog) {
  Pair p;
  p.make_source(0);
  p.write(0, 0, 8, 1);
  p.run();
  EXPECT_EQ(p.status(0).hot_extents, 1u);
  p.advance(Duration::seconds(20));
  EXPECT_EQ(p.status(0).hot_extents, 0u);
  p.crash(0);
  p.crash(1);
  EXPECT_TRUE(bitmap::recover(p.node(0).area)->hot.empty());
}

TEST(Conversation, LostTargetCatchesUpWithWhatDiffers) {
  Pair p;
  p.make_source(0);
  const GenerationId before = p.status(0).generation;
  p.crash(1);
  const RequestId w = p.write(0, 2048, 8, 5);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.answer(0, w), Status::ok);
  EXPECT_NE(p.status(0).generation, before);
  EXPECT_LE(p.status(0).dirty_bytes, 4u << 20);
  EXPECT_GT(p.status(0).dirty_bytes, 0u);
  p.boot(1);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.node(0).data, p.node(1).data);
  EXPECT_EQ(p.status(1).generation, p.status(0).generation);
  EXPECT_EQ(p.status(0).dirty_bytes, 0u);
}

TEST(Conversation, FailOverAndComeBack) {
  Pair p;
  p.make_source(0);
  p.write(0, 0, 8, 3);
  p.run();
  p.crash(0);
  EXPECT_EQ(p.command(1, verb(Verb::promote)), Refusal::peer_may_have_more);
  Command c = verb(Verb::promote);
  c.confirm_dead = true;
  EXPECT_EQ(p.command(1, c), Refusal::none);
  const RequestId w = p.write(1, 8, 8, 4);
  p.run();
  EXPECT_EQ(p.answer(1, w), Status::ok);
  p.boot(0);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.status(0).role, Role::target);
  EXPECT_EQ(p.status(0).replica, ReplicaState::uptodate);
  EXPECT_EQ(p.node(0).data, p.node(1).data);
  EXPECT_EQ(p.status(1).dirty_bytes, 0u);
  EXPECT_EQ(p.status(0).dirty_bytes, 0u);
}

TEST(Conversation, RestartedSourceResumesWhenThePeerAgrees) {
  Pair p;
  p.make_source(0);
  p.write(0, 0, 8, 3);
  p.run();
  p.crash(0);
  p.boot(0);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.status(0).role, Role::source);
  EXPECT_EQ(p.status(1).replica, ReplicaState::uptodate);
  EXPECT_EQ(p.node(0).data, p.node(1).data);
}

TEST(Conversation, PlannedSwitchoverLosesNothingAndMovesTheRole) {
  Pair p;
  p.make_source(0);
  const RequestId w = p.write(0, 0, 8, 3);
  EXPECT_EQ(p.command(1, verb(Verb::switchover)), Refusal::none);
  EXPECT_EQ(p.answer(0, w), Status::ok);
  p.advance(Duration::milliseconds(100));
  EXPECT_EQ(p.status(1).role, Role::source);
  EXPECT_EQ(p.status(0).role, Role::target);
  const RequestId v = p.write(1, 0, 8, 4);
  p.run();
  EXPECT_EQ(p.answer(1, v), Status::ok);
  EXPECT_EQ(p.node(0).data[0], 4u);
  EXPECT_EQ(p.status(0).generation, p.status(1).generation);
}

// Somebody who mounted the export must not lose it to a command that was not meant to take it away.
TEST(Conversation, ConnectedClientsKeepTheSourceUnlessForced) {
  Pair p;
  p.make_source(0);
  Command forced = verb(Verb::switchover);
  forced.force = true;
  p.node(0).inputs.push_back(ClientsPresent{true});
  EXPECT_EQ(p.command(0, verb(Verb::demote)), Refusal::clients_connected);
  EXPECT_EQ(p.command(0, verb(Verb::switchover)), Refusal::clients_connected);
  EXPECT_EQ(p.command(1, verb(Verb::switchover)), Refusal::clients_connected);
  EXPECT_EQ(p.status(0).role, Role::source);
  EXPECT_TRUE(p.node(0).export_open);
  const RequestId w = p.write(0, 0, 8, 3);
  p.run();
  EXPECT_EQ(p.answer(0, w), Status::ok);
  EXPECT_EQ(p.command(1, forced), Refusal::none);
  EXPECT_EQ(p.status(1).role, Role::source);
  EXPECT_EQ(p.status(0).role, Role::target);
  EXPECT_FALSE(p.node(0).export_open);
  EXPECT_EQ(p.node(1).data[0], 3u);
  EXPECT_EQ(p.command(1, verb(Verb::switchover)), Refusal::none);  // nobody is connected there
}

TEST(Conversation, BothWroteAloneIsSplitBrainUntilResolved) {
  Pair p;
  p.make_source(0);
  p.cut();
  p.write(0, 0, 8, 10);
  p.advance(Duration::milliseconds(10));
  Command c = verb(Verb::promote);
  c.confirm_dead = true;
  EXPECT_EQ(p.command(1, c), Refusal::none);
  p.write(1, 8, 8, 11);
  p.advance(Duration::milliseconds(10));
  p.connect();
  p.advance(Duration::milliseconds(10));
  EXPECT_EQ(p.status(0).link, LinkState::split_brain);
  EXPECT_EQ(p.status(1).link, LinkState::split_brain);
  EXPECT_EQ(p.status(0).role, Role::target);  // deposed by the higher term
  EXPECT_EQ(p.node(0).data[0], 10u);
  EXPECT_EQ(p.node(1).data[8], 11u);
  EXPECT_EQ(p.command(0, verb(Verb::resolve_discard)), Refusal::none);
  p.connect();
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.node(0).data, p.node(1).data);
  EXPECT_EQ(p.node(0).data[8], 11u);
  EXPECT_EQ(p.status(0).replica, ReplicaState::uptodate);
}

TEST(Conversation, SourceWithoutDiskGoesOnThroughItsPeer) {
  Pair p;
  p.make_source(0);
  p.node(0).fail_writes = 5;
  const RequestId w = p.write(0, 0, 8, 9);
  p.run();
  EXPECT_EQ(p.answer(0, w), Status::ok);
  EXPECT_EQ(p.node(1).data[0], 9u);
  EXPECT_EQ(p.status(0).replica, ReplicaState::failed);
  const RequestId r = p.read(0, 0, 8);
  p.run();
  EXPECT_EQ(p.answer(0, r), Status::ok);
  EXPECT_EQ(p.read_data(0, r)[0], 9u);
  // The peer knows, durably, that our copy is old: it may go on alone.
  p.crash(0);
  EXPECT_EQ(p.command(1, verb(Verb::promote)), Refusal::none);
  p.node(0).fail_writes = 0;
  p.boot(0);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.node(0).data, p.node(1).data);
}

TEST(Conversation, UnreadableBlockIsServedByThePeerAndRepaired) {
  Pair p;
  p.make_source(0);
  p.write(0, 0, 8, 9);
  p.run();
  p.node(0).fail_reads = 5;
  p.node(0).data[3] = 666;
  const RequestId r = p.read(0, 0, 8);
  p.run();
  EXPECT_EQ(p.answer(0, r), Status::ok);
  EXPECT_EQ(p.read_data(0, r)[3], 9u);
  EXPECT_EQ(p.node(0).data[3], 9u);
  EXPECT_TRUE(p.saw(0, EventKind::read_repaired));
}

TEST(Conversation, TargetDiskFailureDegradesAndIsNeverInSync) {
  Pair p;
  p.make_source(0);
  p.node(1).fail_writes = 5;
  const RequestId w = p.write(0, 0, 8, 9);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.answer(0, w), Status::ok);
  EXPECT_EQ(p.status(0).redundancy, 1);
  EXPECT_EQ(p.status(1).replica, ReplicaState::failed);
}

TEST(Conversation, NeverWritesAloneWhenToldSo) {
  Policy policy;
  policy.write_alone = WriteAlone::never;
  Pair p{policy};
  p.make_source(0);
  p.cut();
  const RequestId w = p.write(0, 0, 8, 9);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.answer(0, w), std::nullopt);
  EXPECT_TRUE(p.status(0).frozen);
  p.connect();
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.answer(0, w), Status::ok);
  EXPECT_FALSE(p.status(0).frozen);
}

TEST(Conversation, CleanStopLeavesNothingToResync) {
  Pair p;
  p.make_source(0);
  p.write(0, 0, 8, 9);
  p.run();
  EXPECT_EQ(p.command(0, verb(Verb::stop)), Refusal::none);
  EXPECT_TRUE(p.saw(0, EventKind::stopped));
  p.crash(0);
  EXPECT_TRUE(bitmap::recover(p.node(0).area)->superblock.clean);
  p.boot(0);
  p.connect();
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.status(0).role, Role::source);
  EXPECT_EQ(p.status(1).replica, ReplicaState::uptodate);
}

TEST(Conversation, PauseTracksAndResumeResyncs) {
  Pair p;
  p.make_source(0);
  EXPECT_EQ(p.command(0, verb(Verb::pause)), Refusal::none);
  EXPECT_EQ(p.status(0).link, LinkState::paused);
  const RequestId w = p.write(0, 0, 8, 9);
  p.run();
  EXPECT_EQ(p.answer(0, w), Status::ok);
  EXPECT_NE(p.node(1).data[0], 9u);
  EXPECT_EQ(p.command(0, verb(Verb::resume)), Refusal::none);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.node(0).data, p.node(1).data);
  EXPECT_EQ(p.status(0).link, LinkState::connected);
}

// ---- conversations that went wrong once

TEST(Regression, SourceWithoutDiskHandsOver) {
  Pair p;
  p.make_source(0);
  p.node(0).fail_writes = 5;
  const RequestId w = p.write(0, 0, 8, 9);
  p.run();
  EXPECT_EQ(p.answer(0, w), Status::ok);
  EXPECT_EQ(p.status(1).redundancy, 1);
  EXPECT_EQ(p.status(1).peer_replica, ReplicaState::failed);
  EXPECT_EQ(p.command(0, verb(Verb::switchover)), Refusal::none);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.status(1).role, Role::source);
}

TEST(Regression, SourceWithoutMetadataHandsOver) {
  for (int who = 0; who < 2; ++who) {
    Pair p;
    p.make_source(0);
    p.node(0).fail_metadata = 28;
    const RequestId w = p.write(0, 0, 8, 9);
    p.run();
    EXPECT_EQ(p.answer(0, w), Status::ok);  // through the peer
    EXPECT_TRUE(p.saw(0, EventKind::metadata_failed));
    EXPECT_EQ(p.command(who, verb(Verb::switchover)), Refusal::none);
    p.advance(Duration::seconds(1));
    EXPECT_EQ(p.status(1).role, Role::source);
    EXPECT_EQ(p.status(0).role, Role::target);
    EXPECT_EQ(p.node(1).data[0], 9u);
    // Back with the metadata of before: it knows that it was source, and that is no proof.
    p.cut();
    p.node(0).fail_metadata = 0;
    p.crash(0);
    p.boot(0);
    p.advance(Duration::seconds(1));
    EXPECT_EQ(p.status(0).role, Role::target);
    EXPECT_EQ(p.command(0, verb(Verb::promote)), Refusal::peer_may_have_more);
    p.connect();
    p.advance(Duration::seconds(20));
    EXPECT_EQ(p.status(0).replica, ReplicaState::uptodate);
    EXPECT_EQ(p.node(0).data, p.node(1).data);
  }
}

TEST(Regression, DeposedSourceIsNotPromotedOnOldKnowledge) {
  Pair p;
  p.make_source(0);
  p.cut();
  p.write(0, 0, 8, 10);  // the peer lacks this: a proof for us, until the peer is source
  p.advance(Duration::milliseconds(10));
  Command c = verb(Verb::promote);
  c.confirm_dead = true;
  EXPECT_EQ(p.command(1, c), Refusal::none);
  p.connect();
  p.advance(Duration::milliseconds(10));
  EXPECT_EQ(p.status(0).role, Role::target);
  EXPECT_FALSE(p.status(0).promotable);
  p.crash(0);
  p.boot(0);
  EXPECT_EQ(p.command(0, verb(Verb::promote)), Refusal::peer_may_have_more);
}

TEST(Regression, FullResyncOfACompletePeerAnswersNothingBesideIt) {
  Pair p;
  p.make_source(0);
  const GenerationId before = p.status(0).generation;
  Command c = verb(Verb::resync);
  c.full = true;
  EXPECT_EQ(p.command(0, c), Refusal::none);
  const RequestId w = p.write(0, 0, 8, 9);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.answer(0, w), Status::ok);
  EXPECT_EQ(p.node(0).data, p.node(1).data);
  EXPECT_EQ(p.status(0).generation, before);
}

TEST(Regression, HandOverIsAProofWithoutASession) {
  Pair p;
  p.make_source(0);
  EXPECT_EQ(p.command(0, verb(Verb::demote)), Refusal::none);
  p.crash(0);
  p.crash(1);
  p.boot(1);
  EXPECT_EQ(p.status(1).peer_data, PeerData::handed_over);
  EXPECT_EQ(p.command(1, verb(Verb::promote)), Refusal::none);
  EXPECT_EQ(p.status(1).role, Role::source);
}

TEST(Regression, LoneSourceWithAFailedDiskIsNotOverwrittenByTheOlderPeer) {
  Pair p;
  p.make_source(0);
  p.cut();
  p.write(0, 0, 8, 10);
  p.advance(Duration::milliseconds(10));
  p.node(0).fail_flushes = 5;
  const RequestId f = p.flush(0);
  p.run();
  EXPECT_EQ(p.answer(0, f), Status::io_error);
  p.crash(0);
  p.node(0).fail_flushes = 0;
  p.boot(0);
  p.connect();
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.status(0).refusal, Refusal::no_good_copy);
  EXPECT_EQ(p.node(0).data[0], 10u);
}

TEST(Regression, TrackingQueueConvergesThoughTheResyncIsLargerThanTheQueue) {
  Policy policy;
  policy.mode = Mode::async;
  policy.queue_policy = QueuePolicy::track;
  policy.queue_bytes_max = ByteCount{64u << 10};
  Pair p{policy};
  p.make_source(0);
  p.cut();
  p.write(0, 0, 8, 10);
  p.advance(Duration::milliseconds(10));
  p.connect();
  for (std::uint64_t n = 0; n < 20; ++n) {
    p.write(0, 8192 * (n % 4), 8, n);
    p.advance(Duration::milliseconds(1));
  }
  p.advance(Duration::seconds(2));
  EXPECT_EQ(p.status(0).link, LinkState::connected);
  EXPECT_EQ(p.node(0).data, p.node(1).data);
}

TEST(Regression, PowerCycledSourceLearnsBackFromItsIntactTarget) {
  Pair p;
  p.make_source(0);
  p.write(0, 0, 8, 42);
  p.run();
  p.crash(0);
  std::fill_n(p.node(0).data.begin(), 8, 1);  // its volatile cache is gone; the target has the write
  p.reboot(0);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.node(0).data[0], 42u);
  EXPECT_EQ(p.node(1).data[0], 42u);
  EXPECT_EQ(p.status(0).role, Role::source);
}

TEST(Regression, ReadOfADiskThatHangsNeedsNoIntent) {
  Pair p{Policy{}, 64u << 20};
  p.make_source(0);
  p.write(0, 8 * 8192, 8, 5);
  p.run();
  p.advance(Duration::seconds(12));  // the log is empty
  p.node(0).hold_disk = true;
  const RequestId r = p.read(0, 8 * 8192, 8);
  std::vector<RequestId> writes;
  for (std::uint64_t extent = 0; extent < 8; ++extent) writes.push_back(p.write(0, extent * 8192, 8, 7));
  p.run();
  for (Input& in : p.node(0).held) std::get<DiskDone>(in).error = ETIMEDOUT;
  p.release(0);
  p.node(0).hold_disk = true;
  for (const RequestId w : writes) EXPECT_EQ(p.answer(0, w), Status::ok);  // on the peer
  EXPECT_EQ(p.status(0).replica, ReplicaState::failed);
  EXPECT_EQ(p.answer(0, r), Status::ok);
  EXPECT_EQ(p.read_data(0, r), std::vector<std::uint64_t>(8, 5));
  EXPECT_EQ(p.command(0, verb(Verb::switchover)), Refusal::none);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.status(1).role, Role::source);
}

// What a failed write of ours left behind is marked; a read under way at that moment is served by the peer.
TEST(Regression, ReadUnderWayWhenTheDiskFailsIsServedByThePeer) {
  Pair p;
  p.make_source(0);
  p.write(0, 0, 8, 5);
  p.run();
  p.node(0).hold_disk = true;
  const RequestId w = p.write(0, 64, 8, 6);  // the same region
  const RequestId r = p.read(0, 0, 8);
  p.run();
  for (Input& in : p.node(0).held) std::get<DiskDone>(in).error = ETIMEDOUT;
  p.release(0);
  EXPECT_EQ(p.answer(0, w), Status::ok);
  EXPECT_EQ(p.answer(0, r), Status::ok);
  EXPECT_EQ(p.read_data(0, r), std::vector<std::uint64_t>(8, 5));
}

TEST(Regression, LoneWriteDoneAfterTheLinkWentIsAnswered) {
  Pair p;
  p.make_source(0);
  p.node(0).hold_disk = true;
  const RequestId w = p.write(0, 0, 8, 6);
  p.run();
  p.cut();
  p.crash(1);
  p.release(0);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.answer(0, w), Status::ok);
}

TEST(Regression, AnAsyncPastIsForgottenOnceBothAreEqual) {
  Policy async;
  async.mode = Mode::async;
  Pair p{async};
  p.make_source(0);
  p.write(0, 0, 8, 5);
  p.advance(Duration::seconds(12));
  EXPECT_EQ(p.command(0, verb(Verb::switchover)), Refusal::none);
  p.advance(Duration::seconds(1));
  for (int n = 0; n < 2; ++n) p.command(n, verb(Verb::set_policy));  // the default: sync
  p.policy_ = Policy{};
  p.advance(Duration::seconds(12));
  const auto before = p.node(1).data;
  const RequestId w = p.write(1, 0, 8, 9);
  p.run();
  EXPECT_EQ(p.answer(1, w), Status::ok);
  p.crash(1);
  p.node(1).data = before;  // its volatile cache is gone
  p.connect();
  p.reboot(1);
  p.connect();
  p.advance(Duration::seconds(20));
  EXPECT_EQ(p.node(0).data[0], 9u);
  EXPECT_EQ(p.node(1).data[0], 9u);
}

TEST(Regression, PausedNodeKeepsItsLink) {
  for (int who = 0; who < 2; ++who) {
    Pair p;
    p.make_source(0);
    EXPECT_EQ(p.command(who, verb(Verb::pause)), Refusal::none);
    p.cut();
    p.connect();
    p.node(0).events.clear();
    p.advance(Duration::seconds(60));
    EXPECT_FALSE(p.saw(0, EventKind::link_down)) << "paused at " << who;
    EXPECT_EQ(p.command(who, verb(Verb::resume)), Refusal::none);
    p.advance(Duration::seconds(20));
    EXPECT_EQ(p.status(0).link, LinkState::connected) << "paused at " << who;
  }
}

// A read that failed waits, as a repair, behind a write whose message died with the link: what the peer holds
// is older than that write and must not come back over it.
TEST(Regression, RepairNeverWritesWhatThePeerHadBefore) {
  Policy policy;
  policy.after_restart = AfterRestart::target;
  Pair p{policy};
  p.make_source(0);
  p.write(0, 0, 8, 5);
  p.advance(Duration::seconds(12));
  p.write(0, 0, 8, 5);
  p.run();
  Node& a = p.node(0);
  a.hold_disk = true;
  a.fail_reads = 5;
  const RequestId r = p.read(0, 0, 8);
  p.run();
  a.fail_reads = 0;
  const RequestId w = p.write(0, 0, 8, 9);
  p.run();
  const Input failed_read = a.held.front();
  a.held.erase(a.held.begin());
  a.mirror->step(p.now_, failed_read, a.outputs);
  p.cut();
  p.connect();
  p.release(0);
  p.advance(Duration::seconds(30));
  EXPECT_EQ(p.answer(0, w), Status::ok);
  EXPECT_TRUE(p.answer(0, r).has_value());
  EXPECT_EQ(a.data[0], 9u);
  EXPECT_EQ(p.node(1).data[0], 9u);
}

// The leader of a resync takes over the other's hot extents; its disk loses the page with them; both crash.
// Nobody else knows any more what differs, so the loss has to be noticed.
TEST(Regression, LostPageWithTheBitsOfThePeerIsNoticed) {
  constexpr std::uint64_t kPage = 66;  // of slot 0, at node 1
  Pair p;
  p.make_source(0);
  p.write(0, 0, 8, 3);
  p.run();
  p.crash(0);
  p.node(0).data[0] = 99;  // a power cut took what had not been flushed
  p.node(1).lost_block = kPage;
  p.node(0).hold_disk = true;  // the resync does not get far
  p.reboot(0);
  p.advance(Duration::milliseconds(100));
  ASSERT_TRUE(p.saw(1, EventKind::resync_started));
  ASSERT_EQ(p.status(0).replica, ReplicaState::inconsistent);
  p.crash(0);
  p.crash(1);
  p.node(1).lost_block.reset();
  p.node(0).hold_disk = false;
  p.node(0).data[0] = 99;
  p.boot(1);
  p.boot(0);
  p.advance(Duration::seconds(30));
  EXPECT_EQ(p.status(0).replica, ReplicaState::uptodate);
  EXPECT_EQ(p.node(0).data[0], 3u);
  EXPECT_EQ(p.node(0).data, p.node(1).data);
}

// Both are promoted at the same moment. Their terms cross on the wire; refused by both, they left the session
// with a leader whose messages the other dropped as those of an older term, for good.
TEST(Regression, OfTwoPromotedAtOnceOneBecomesSource) {
  Policy policy;
  policy.after_restart = AfterRestart::target;
  Pair p{policy};
  p.make_source(0);
  ASSERT_EQ(p.command(0, verb(Verb::demote)), Refusal::none);
  for (int n = 0; n < 2; ++n) {
    Command c = verb(Verb::promote);
    c.id = 1000;
    p.node(n).inputs.push_back(c);
  }
  p.advance(Duration::seconds(60));
  EXPECT_NE(p.node(0).export_open, p.node(1).export_open);
  const int source = p.node(0).export_open ? 0 : 1;
  EXPECT_EQ(p.node(source).commands[1000], Refusal::none);
  EXPECT_NE(p.node(1 - source).commands[1000], Refusal::none);
  const RequestId w = p.write(source, 0, 8, 7);
  p.run();
  EXPECT_EQ(p.answer(source, w), Status::ok);
  EXPECT_EQ(p.node(1 - source).data[0], 7u);
}

TEST(Regression, DetachedSourceAnswersWhatThePeerNeverConfirmed) {
  Pair p;
  p.make_source(0);
  p.node(0).hold_disk = true;
  const RequestId w = p.write(0, 0, 8, 6);
  p.run();  // the peer has it
  p.node(0).fail_writes = 5;
  const RequestId v = p.write(0, 8192, 8, 7);
  p.node(0).hold_disk = false;
  p.run();
  p.cut();
  p.release(0);
  p.advance(Duration::seconds(30));
  EXPECT_TRUE(p.answer(0, w).has_value());
  EXPECT_TRUE(p.answer(0, v).has_value());
}

}  // namespace
}  // namespace twinblock::core::testing
