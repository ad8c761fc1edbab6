// What a resync sends, skips and waits for.
#include <gtest/gtest.h>

#include <algorithm>

#include "replicator/core/resync_rate.hpp"
#include "tests/unit/core/pair.hpp"

namespace twinblock::core::testing {
namespace {

using wire::Type;

constexpr std::uint64_t kPieceSectors = kPieceMax.value() / 512;

// Of resync messages that `n` has sent: how many, and bytes of mirror they are about.
struct Sent {
  std::uint64_t count = 0;
  std::uint64_t bytes = 0;
};
Sent sent(Pair& p, int n, Type type) {
  Sent s;
  for (const wire::Header& h : p.node(n).sent) {
    if (h.type != type || (type != Type::flush && (h.flags & wire::kResync) == 0)) continue;
    ++s.count;
    s.bytes += h.length;
  }
  return s;
}

void fill(Pair& p, int n, std::uint64_t first_sector, std::uint64_t count, std::uint64_t tag) {
  std::fill_n(p.node(n).data.begin() + static_cast<std::ptrdiff_t>(first_sector), count, tag);
}

TEST(Resync, ZeroesTravelWithoutPayload) {
  Pair p;
  fill(p, 1, 0, p.node(1).data.size(), 666);
  fill(p, 0, 4 * kPieceSectors, 8 * kPieceSectors, 0);
  p.make_source(0);
  EXPECT_EQ(p.node(0).data, p.node(1).data);
  EXPECT_EQ(sent(p, 0, Type::zero).bytes, 8u << 20);
  EXPECT_EQ(sent(p, 0, Type::write).bytes, 8u << 20);
  EXPECT_EQ(p.status(0).resync_counters.zero_bytes, 8u << 20);
  EXPECT_EQ(p.status(0).resync_counters.sent_bytes, 8u << 20);
  for (const wire::Header& h : p.node(0).sent) {
    if (h.type != Type::zero) continue;
    EXPECT_EQ(h.wire_length, 0u);
    EXPECT_EQ(h.flags & wire::kMayUnmap, 0);  // the space on the target stays allocated
  }
}

TEST(Resync, OneSectorThatIsNotZeroIsSent) {
  Pair p;
  fill(p, 1, 0, p.node(1).data.size(), 666);
  fill(p, 0, 0, p.node(0).data.size(), 0);
  p.node(0).data[5 * kPieceSectors - 1] = 9;  // the last one of its piece
  p.make_source(0);
  EXPECT_EQ(p.node(0).data, p.node(1).data);
  EXPECT_EQ(sent(p, 0, Type::write).bytes, kPieceMax.value());
}

TEST(Resync, AnUnreadablePieceIsNotTakenForZeroes) {
  Pair p;
  fill(p, 1, 0, p.node(1).data.size(), 666);
  fill(p, 0, 0, p.node(0).data.size(), 0);
  p.node(0).fail_reads = 5;
  p.boot(0);
  p.boot(1);
  p.connect();
  p.advance(Duration::seconds(1));
  EXPECT_EQ(sent(p, 0, Type::zero).count, 0u);
  EXPECT_EQ(p.status(1).replica, ReplicaState::inconsistent);
  EXPECT_GT(p.status(0).dirty_bytes, 0u);
  p.node(0).fail_reads = 0;
  p.advance(Duration::seconds(5));
  EXPECT_EQ(p.node(0).data, p.node(1).data);
  EXPECT_EQ(p.status(1).replica, ReplicaState::uptodate);
}

// ------------------------------------------------------------------------------------------------- rate

TEST(ResyncRate, IsExactHoweverOftenItIsAsked) {
  for (const std::uint64_t rate : {1'000ull, 10'485'760ull, 999'999'999ull, 1ull << 40}) {
    for (const std::int64_t step_ns : {1'001, 333'333, 20'000'000}) {
      ResyncRate bucket;
      Instant now{77};
      bucket.start(now);
      bucket.set_rate(now, rate);
      std::uint64_t taken = 0;
      const std::uint64_t piece = std::max<std::uint64_t>(rate / 1000, 1);
      const std::int64_t steps = 400'000'000 / step_ns;
      for (std::int64_t i = 0; i < steps; ++i) {
        now = now + Duration{step_ns};
        bucket.set_rate(now, rate);
        while (bucket.may_go()) {
          bucket.take(piece);
          taken += piece;
        }
      }
      const auto micros = static_cast<std::uint64_t>(steps * step_ns / 1000);
      EXPECT_LE(taken, rate / 1'000'000 * micros + rate % 1'000'000 * micros / 1'000'000 + piece) << rate;
      EXPECT_GE(taken + piece + 1, rate / 1'000'000 * (micros - 1)) << rate << " step " << step_ns;
    }
  }
}

TEST(ResyncRate, SaysWhenItIsReady) {
  ResyncRate bucket;
  bucket.start(Instant{0});
  bucket.set_rate(Instant{0}, 1'000'000);
  bucket.take(500'000);
  const Instant ready = bucket.ready_at();
  EXPECT_GE(ready, Instant{500'000'000});
  EXPECT_LE(ready, Instant{500'002'000});
  bucket.set_rate(Instant{ready.nanoseconds() - 2'000}, 1'000'000);
  EXPECT_FALSE(bucket.may_go());
  bucket.set_rate(ready, 1'000'000);
  EXPECT_TRUE(bucket.may_go());
}

TEST(ResyncRate, AnIdleHourIsNoBurst) {
  ResyncRate bucket;
  bucket.start(Instant{0});
  bucket.set_rate(Instant{0}, 1'000'000);
  bucket.set_rate(Instant{3'600'000'000'000}, 1'000'000);
  bucket.take(300'000);
  EXPECT_FALSE(bucket.may_go());
}

TEST(ResyncRate, TheMinimumHoldsBesideTheApplicationAndTheCeilingAlways) {
  using Limits = ResyncRate::Limits;
  EXPECT_EQ(ResyncRate::rate(Limits{10u << 20, 0}, false), 0u);
  EXPECT_EQ(ResyncRate::rate(Limits{10u << 20, 0}, true), 10u << 20);
  EXPECT_EQ(ResyncRate::rate(Limits{10u << 20, 50u << 20}, false), 50u << 20);
  EXPECT_EQ(ResyncRate::rate(Limits{10u << 20, 50u << 20}, true), 10u << 20);
  EXPECT_EQ(ResyncRate::rate(Limits{0, 0}, true), ResyncRate::kLeastRate);
  EXPECT_EQ(ResyncRate::rate(Limits{0, 4096}, true), 4096u);
}

// Virtual time that a resync of 16 MiB takes, with a client that writes every `gap_ms` (0: no client).
std::int64_t resync_ms(Policy policy, int gap_ms) {
  Pair p{policy};
  p.make_source(0);
  p.advance(Duration::seconds(30));  // a first resync at this policy, too
  EXPECT_EQ(p.status(1).replica, ReplicaState::uptodate);
  p.crash(1);
  for (std::uint64_t mib = 0; mib < 16; ++mib) p.write(0, mib * kPieceSectors, kPieceSectors, 100 + mib);
  p.advance(Duration::seconds(1));
  if (gap_ms > 0) p.write(0, 0, 8, 7);
  p.run();
  const Instant begun = p.now_;
  p.boot(1);
  for (int ms = 0; ms < 60'000; ++ms) {
    if (gap_ms > 0 && ms % gap_ms == 0) p.write(0, 8 * static_cast<std::uint64_t>(ms % 500), 8, 7);
    p.advance(Duration::milliseconds(1));
    if (p.status(1).replica == ReplicaState::uptodate) break;
  }
  EXPECT_EQ(p.status(1).replica, ReplicaState::uptodate);
  EXPECT_EQ(p.node(0).data, p.node(1).data);
  return (p.now_ - begun).nanoseconds() / 1'000'000;
}

TEST(Resync, TakesAllWhenIdleAndTheMinimumBesideAnApplication) {
  Policy policy;
  policy.resync_rate_bytes_per_s_min = 4u << 20;
  EXPECT_LT(resync_ms(policy, 0), 100);
  const std::int64_t busy = resync_ms(policy, 5);
  EXPECT_GT(busy, 3'000);
  EXPECT_LT(busy, 4'500);
  // One write in a second leaves the time between to the resync.
  EXPECT_LT(resync_ms(policy, 1000), 200);
}

TEST(Resync, KeepsItsCeilingWhenIdle) {
  Policy policy;
  policy.resync_rate_bytes_per_s_min = 1u << 20;
  policy.resync_rate_bytes_per_s_max = 8u << 20;
  const std::int64_t time = resync_ms(policy, 0);
  EXPECT_GT(time, 1'600);
  EXPECT_LT(time, 2'300);
}

TEST(Resync, AChangedRateCountsAtOnce) {
  Policy policy;
  policy.resync_rate_bytes_per_s_min = policy.resync_rate_bytes_per_s_max = 1024;  // hours
  Pair p{policy};
  p.boot(0);
  p.boot(1);
  p.connect();
  p.advance(Duration::seconds(2));
  EXPECT_EQ(p.status(0).link, LinkState::resyncing);
  Command c{0, Verb::set_policy};
  c.policy = Policy{};
  EXPECT_EQ(p.command(0, c), Refusal::none);
  p.advance(Duration::milliseconds(100));
  EXPECT_EQ(p.status(1).replica, ReplicaState::uptodate);
}

TEST(Resync, CountsWhatTheRunningOneSentAndSkipped) {
  Policy policy;
  Pair p{policy};
  fill(p, 0, 0, 8 * kPieceSectors, 0);
  p.make_source(0);
  EXPECT_EQ(p.status(0).resync_counters_now.zero_bytes, 0u) << "none runs";
  p.node(0).fail_reads = 5;  // the next one does not end
  Command full = verb(Verb::resync);
  full.full = true;
  EXPECT_EQ(p.command(0, full), Refusal::none);
  p.advance(Duration::milliseconds(10));
  EXPECT_EQ(p.status(0).resync_counters.zero_bytes, 8u << 20);
  EXPECT_EQ(p.status(0).resync_counters_now.zero_bytes, 0u);
  p.node(0).bad_sectors.insert(p.node(0).data.size() - 1);
  p.node(0).fail_reads = 0;
  p.advance(Duration::seconds(3));
  EXPECT_EQ(p.status(0).resync_counters_now.zero_bytes, 8u << 20);
  EXPECT_EQ(p.status(0).resync_counters_now.sent_bytes, 7u << 20) << "one piece cannot be read";
  EXPECT_EQ(p.status(0).resync_counters.zero_bytes, 16u << 20);
}

TEST(Resync, ASlowOneIsSeenToMove) {
  Policy policy;
  for (const std::uint64_t rate : {256u << 10, 1u << 20}) {
    policy.resync_rate_bytes_per_s_min = policy.resync_rate_bytes_per_s_max = rate;
    Pair p{policy};
    p.boot(0);
    p.boot(1);
    p.connect();
    p.advance(Duration::milliseconds(100));
    std::uint64_t before = p.status(0).resync_done_bytes;
    for (int second = 1; second <= 10; ++second) {
      p.advance(Duration::seconds(1));
      const std::uint64_t done = p.status(0).resync_done_bytes;
      EXPECT_GT(done, before) << rate << " second " << second;
      EXPECT_LE(done, (static_cast<std::uint64_t>(second) + 2) * rate);
      before = done;
    }
    EXPECT_EQ(p.status(0).resync_total_bytes, 16u << 20);
  }
}

TEST(Resync, ASlowOneThatIsInterruptedGoesOnWhereItWas) {
  Policy policy;
  policy.resync_rate_bytes_per_s_min = policy.resync_rate_bytes_per_s_max = 1u << 20;
  Pair p{policy};
  p.boot(0);
  p.boot(1);
  p.connect();
  p.advance(Duration::seconds(8));
  p.cut();
  EXPECT_LE(p.status(0).dirty_bytes, 12u << 20) << "what was copied five seconds ago is copied";
  p.connect();
  p.advance(Duration::seconds(13));
  EXPECT_EQ(p.status(1).replica, ReplicaState::uptodate);
  EXPECT_EQ(p.node(0).data, p.node(1).data);
}

// The application always has more to send than the target's window holds.
TEST(Resync, EndsAlthoughTheApplicationFillsTheWindow) {
  Policy policy;
  policy.resync_rate_bytes_per_s_min = 1u << 30;
  Pair p{policy};
  p.window_bytes_ = 4u << 20;
  p.make_source(0);
  p.crash(1);
  for (std::uint64_t mib = 0; mib < 8; ++mib) p.write(0, mib * 2048, 2048, 3);
  p.advance(Duration::milliseconds(10));
  p.node(1).hold_disk = true;
  p.boot(1);
  std::vector<RequestId> writes(8);
  for (std::uint64_t mib = 0; mib < 8; ++mib) writes[mib] = p.write(0, (8 + mib) * 2048, 2048, 4);
  int steps = 0;
  for (; steps < 2000 && p.status(1).replica != ReplicaState::uptodate; ++steps) {
    for (std::uint64_t mib = 0; mib < 8; ++mib) {
      if (p.answer(0, writes[mib])) writes[mib] = p.write(0, (8 + mib) * 2048, 2048, 4);
    }
    if (!p.node(1).held.empty()) {  // the target's disk is done with one thing
      p.node(1).inputs.push_back(p.node(1).held.front());
      p.node(1).held.erase(p.node(1).held.begin());
    }
    p.advance(Duration::milliseconds(1));
  }
  EXPECT_LT(steps, 2000);
}

}  // namespace
}  // namespace twinblock::core::testing
