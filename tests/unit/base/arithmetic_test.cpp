// What replays and fences depend on: the exact random stream of a seed, time arithmetic, the order of terms.
#include <gtest/gtest.h>

#include <variant>

#include "base/overloaded.hpp"
#include "base/random.hpp"
#include "base/units.hpp"

namespace twinblock {
namespace {

// The published vector of splitmix64 for seed 0: a seed that failed once must fail again in any version.
TEST(RandomStream, IsThatOfSplitmix64) {
  Random random{0};
  EXPECT_EQ(random.next(), 0xe220a8397b1dcdafu);
  EXPECT_EQ(random.next(), 0x6e789e6aa1b965f4u);
  EXPECT_EQ(random.next(), 0x06c45d188009454fu);
}

TEST(RandomStream, ChancesAreRoughlyWhatTheySay) {
  Random random{9};
  int hits = 0;
  for (int i = 0; i < 100000; ++i) hits += random.chance(250) ? 1 : 0;
  EXPECT_GT(hits, 24000);
  EXPECT_LT(hits, 26000);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_FALSE(random.chance(0));
    EXPECT_TRUE(random.chance(1000));
    EXPECT_TRUE(random.one_in(1));
    EXPECT_NE(random.name(), 0u);
  }
}

TEST(RandomDeathTest, BelowZeroIsABug) {
  Random random{1};
  EXPECT_DEATH(static_cast<void>(random.below(0)), "assertion failed");
}

TEST(Duration, UnitsAndArithmetic) {
  EXPECT_EQ(Duration::seconds(2), Duration::milliseconds(2000));
  EXPECT_EQ(Duration::milliseconds(1).nanoseconds(), 1'000'000);
  EXPECT_EQ(Duration::seconds(5) - Duration::seconds(7), Duration::seconds(-2));
  EXPECT_EQ(Duration::seconds(1) * 3 / 2, Duration::milliseconds(1500));
  EXPECT_LT(Duration::seconds(-1), Duration{});
  EXPECT_EQ(Instant{10} + Duration{-4}, Instant{6});
  EXPECT_LT(Instant{-1}, Instant{});
}

TEST(Bytes, OffsetsAndCountsAreAffine) {
  const ByteOffset at{4096};
  EXPECT_EQ(at + ByteCount{512}, ByteOffset{4608});
  EXPECT_EQ(at - ByteCount{512}, ByteOffset{3584});
  EXPECT_EQ(ByteOffset{4608} - at, ByteCount{512});
  ByteCount total{1};
  total += ByteCount{9};
  total -= ByteCount{4};
  EXPECT_EQ(total, ByteCount{6});
  EXPECT_EQ(ByteCount{9} - ByteCount{4} + ByteCount{1}, total);
}

// A term grows by its counter; who owns it only breaks the tie between nodes that saw the same.
TEST(TermOrder, RandomWalkOfTakeoversIsStrictlyIncreasing) {
  Random random{17};
  Term highest{};
  for (int i = 0; i < 10000; ++i) {
    const NodeIndex node{static_cast<std::uint8_t>(random.below(kNodeCountMax))};
    const Term taken = next_term(highest, node);
    ASSERT_GT(taken, highest);
    ASSERT_EQ(term_owner(taken), node);
    ASSERT_EQ(taken.value() >> 8, (highest.value() >> 8) + 1);
    highest = taken;
  }
}

TEST(TermOrder, NoTermIsOlderThanAnyTaken) {
  EXPECT_LT(Term{}, next_term(Term{}, NodeIndex{0}));
  EXPECT_EQ(next_term(Term{}, NodeIndex{0}), Term{256});
}

TEST(Overloaded, VisitsByType) {
  const auto visit = [](const std::variant<int, bool>& v) {
    return std::visit(overloaded{[](int) { return 1; }, [](bool) { return 2; }}, v);
  };
  EXPECT_EQ(visit(7), 1);
  EXPECT_EQ(visit(true), 2);
}

}  // namespace
}  // namespace twinblock
