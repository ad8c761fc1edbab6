// What the fifth adversarial review found about sessions, roles, generations and metadata: each test names
// the promise that was broken.
#include <gtest/gtest.h>

#include <array>
#include <span>

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

// P10, row 53: the disk of a source fails that was alone, and the operator promotes its peer. What the
// damaged disk alone has is not overwritten by itself, not at the second handshake either, when the peer's
// later tenure is on record.
void lone_disk_fails(bool peer_writes, bool still_source) {
  Pair p;
  p.make_source(0);
  p.cut();
  const RequestId w = p.write(0, 0, 8, 10);
  p.advance(Duration::milliseconds(10));
  ASSERT_EQ(p.answer(0, w), Status::ok);
  p.node(0).fail_flushes = 5;
  p.flush(0);
  p.run();
  if (!still_source) p.crash(0);
  ASSERT_EQ(p.command(1, confirmed()), Refusal::none);
  if (peer_writes) p.write(1, 64, 8, 20);
  p.advance(Duration::seconds(1));
  p.node(0).fail_flushes = 0;
  for (int n = 0; n < 4; ++n) {
    if (p.node(0).mirror == nullptr) p.boot(0);
    p.connect();
    p.advance(Duration::seconds(10));
    ASSERT_EQ(p.node(0).data[0], 10u) << "handshake " << n;
    EXPECT_NE(p.status(0).refusal, Refusal::none);
    EXPECT_FALSE(p.status(0).promotable);
    p.crash(0);
  }
  p.boot(0);
  p.connect();
  p.advance(Duration::seconds(1));
  ASSERT_EQ(p.command(0, verb(Verb::resolve_discard)), Refusal::none);  // the way out
  p.connect();
  p.advance(Duration::seconds(10));
  EXPECT_EQ(p.node(0).data, p.node(1).data);
}
TEST(FifthReview, ADamagedLoneCopyWaitsForADecision) {
  lone_disk_fails(true, false);
}
TEST(FifthReview, ADamagedLoneCopyWaitsForADecisionAlsoIfThePeerWroteNothing) {
  lone_disk_fails(false, false);
}
TEST(FifthReview, ADamagedLoneCopyOfADeposedSourceWaitsForADecision) {
  lone_disk_fails(true, true);
}

// The same in a split brain: the disk fails when its node has been deposed.
TEST(FifthReview, ADiskThatFailsInASplitBrainIsNotOverwritten) {
  Pair p;
  p.make_source(0);
  p.cut();
  p.write(0, 0, 8, 10);
  p.advance(Duration::milliseconds(10));
  ASSERT_EQ(p.command(1, confirmed()), Refusal::none);
  p.write(1, 64, 8, 20);
  p.advance(Duration::milliseconds(10));
  p.connect();
  p.advance(Duration::seconds(1));
  ASSERT_EQ(p.status(0).refusal, Refusal::split_brain);
  ASSERT_EQ(p.command(0, confirmed()), Refusal::none);
  p.node(0).fail_flushes = 5;
  p.flush(0);
  p.run();
  p.crash(0);
  p.node(0).fail_flushes = 0;
  p.boot(0);
  p.connect();
  p.advance(Duration::seconds(10));
  EXPECT_EQ(p.status(0).refusal, Refusal::no_good_copy);
  EXPECT_EQ(p.node(0).data[0], 10u);
  EXPECT_EQ(p.node(1).data[64], 20u);
}

// P10: a source is put back to a time when it was alone. It believes that its peer lacks something, so it
// goes on alone, acknowledges, and makes no generation for that: nothing is overwritten before a decision.
TEST(FifthReview, ACopyPutBackToItsTimeAloneIsASplitBrain) {
  for (const bool peer_was_source : {false, true}) {
    Pair p;
    p.make_source(0);
    p.cut();
    p.write(0, 0, 8, 10);
    p.advance(Duration::seconds(1));
    const std::vector<std::byte> area = p.node(0).area;
    const std::vector<std::uint64_t> data = p.node(0).data;
    p.connect();
    p.advance(Duration::seconds(12));
    p.write(0, 64, 8, 11);
    p.advance(Duration::seconds(12));
    if (peer_was_source) {
      ASSERT_EQ(p.command(1, verb(Verb::switchover)), Refusal::none);
      p.write(1, 256, 8, 13);
      p.advance(Duration::seconds(12));
    }
    p.crash(0);
    p.node(0).area = area;
    p.node(0).data = data;
    p.allowed_ = false;
    p.boot(0);
    p.advance(Duration::seconds(1));
    ASSERT_EQ(p.status(0).role, Role::source);
    const RequestId w = p.write(0, 128, 8, 12);
    p.advance(Duration::seconds(1));
    ASSERT_EQ(p.answer(0, w), Status::ok);
    p.policy_.after_restart = AfterRestart::target;
    for (int n = 0; n < 4; ++n) {
      p.connect();
      p.advance(Duration::seconds(1));
      EXPECT_EQ(p.node(0).data[128], 12u) << n;
      EXPECT_EQ(p.node(1).data[64], 11u) << n;
      p.crash(0);
      p.boot(0);
    }
    p.connect();
    p.advance(Duration::seconds(1));
    EXPECT_EQ(p.status(0).refusal, Refusal::split_brain);
    ASSERT_EQ(p.command(0, verb(Verb::resolve_discard)), Refusal::none);
    p.connect();
    p.advance(Duration::seconds(10));
    EXPECT_EQ(p.node(0).data[64], 11u);
    EXPECT_EQ(p.node(0).data, p.node(1).data);
  }
}

// P11: a bitmap of more pages than one record can name. What was hot at a crash is in the pages before the
// log forgets it; that one of them was lost on its way is found at the next start.
TEST(FifthReview, ALostPageOfTheStartIsNoticedOnALargeDisk) {
  bitmap::Superblock s;
  s.area_id = 100;
  s.identity = 200;
  s.incarnation = 300;
  s.geometry.size = ByteCount{std::uint64_t{9} << 30};
  s.geometry.region_size = 4096;
  s.geometry.hot_extents = 8;
  s.mirror_id = s.group_id = 77;
  s.disk_state = DiskState::consistent;
  s.push_generation(GenerationId{4711}, SequenceNumber{1}, GenerationCause::created);
  s.peers[1].identity = 201;
  s.peers[1].data = PeerData::maybe_current;
  ASSERT_GT(s.geometry.pages_per_slot(), bitmap::kReliedPagesMax);
  for (const std::uint32_t extent : {32u, 1000u, 2000u}) {
    Pair p;
    p.node(0).area = bitmap::format_area(s, 0);
    const std::array hot{ExtentIndex{extent}};
    bitmap::encode_intent_record({.log_sequence = 2, .hot = hot, .relied = {}}, s,
                                 std::span{p.node(0).area}
                                     .subspan(s.geometry.intent_record(2).value() * bitmap::kBlockSize)
                                     .first<std::size_t{2} * bitmap::kBlockSize>());
    const RegionIndex region{std::uint64_t{extent} * s.geometry.regions_per_extent()};
    p.node(0).lost_block = s.geometry.page(s.geometry.page_of(NodeIndex{1}, region)).value();
    p.boot(0);
    p.advance(Duration::seconds(1));
    ASSERT_TRUE(bitmap::recover(p.node(0).area)->hot.empty()) << "the log did not forget it";
    p.crash(0);
    p.node(0).lost_block.reset();
    p.boot(0);
    p.advance(Duration::seconds(1));
    EXPECT_TRUE(p.node(0).mirror->dirty().test(region)) << extent;
  }
}

// P7: whoever was confirmed dead and says hello before the promotion ends lives: the right to write alone,
// where the policy asks for one, is gone like that of any other confirmation.
TEST(FifthReview, AConfirmationEndsWithTheHelloOfTheDead) {
  int lived = 0;
  for (int rounds = 0; rounds < 6; ++rounds) {
    Policy policy;
    policy.write_alone = WriteAlone::fenced;
    policy.after_restart = AfterRestart::target;
    Pair p{policy};
    p.make_source(1);
    p.cut();
    p.crash(1);
    p.boot(1);
    Command c = confirmed();
    c.id = 1000;
    p.node(0).inputs.push_back(c);
    for (int i = 0; i < rounds; ++i) p.round();
    p.allowed_ = true;
    bool heard = false;
    for (int i = 0; i < 10 && !heard; ++i) {
      for (const Input& in : p.node(0).inputs) heard = heard || std::holds_alternative<MessageIn>(in);
      heard = heard && p.status(0).role == Role::promoting;
      p.round();
    }
    p.cut();
    p.advance(Duration::milliseconds(100));
    if (!heard || p.status(0).role != Role::source) continue;
    ++lived;
    const RequestId w = p.write(0, 0, 8, 10);
    p.advance(Duration::milliseconds(100));
    EXPECT_FALSE(p.answer(0, w).has_value()) << rounds;
    EXPECT_TRUE(p.status(0).frozen) << rounds;
  }
  EXPECT_GT(lived, 0);
}

// P9: a confirmation given while the peer is there, in a session and source, is none when the link breaks a
// moment later; the promotion had only waited for what was received to be applied (simulator: switchovers
// 22019).
TEST(FifthReview, AConfirmationAgainstALiveSessionIsNone) {
  Pair p;
  p.make_source(0);
  p.node(1).hold_disk = true;
  p.write(0, 0, 8, 10);
  p.run();
  Command c = confirmed();
  c.id = 1000;
  c.force = true;
  p.node(1).inputs.push_back(c);
  p.run();
  p.cut();
  const RequestId w = p.write(0, 8192, 8, 11);
  p.release(1);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.answer(0, w), Status::ok);
  EXPECT_EQ(p.node(1).commands[1000], Refusal::peer_is_source);
  EXPECT_EQ(p.status(1).role, Role::target);
}

// The same between two rounds (simulator: switchovers 32335): `resync --full` has just ended the session.
TEST(FifthReview, AConfirmationBetweenTwoRoundsIsNone) {
  Pair p;
  p.make_source(0);
  p.node(1).hold_disk = true;
  p.write(0, 0, 8, 10);
  p.run();
  Command full = verb(Verb::resync);
  full.full = true;
  ASSERT_EQ(p.command(1, full), Refusal::none);
  Command c = confirmed();
  c.id = 1000;
  p.node(1).inputs.push_back(c);
  p.run();
  p.cut();
  p.release(1);
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.node(1).commands[1000], Refusal::peer_may_have_more);
  EXPECT_EQ(p.status(1).role, Role::target);
  EXPECT_EQ(p.status(0).role, Role::source);
}

}  // namespace
}  // namespace twinblock::core::testing
