// What a resync sends, skips and waits for.
#include <gtest/gtest.h>

#include <algorithm>

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

}  // namespace
}  // namespace twinblock::core::testing
