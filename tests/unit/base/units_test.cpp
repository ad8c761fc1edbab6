#include "base/units.hpp"

#include <gtest/gtest.h>

#include <concepts>
#include <set>

#include "base/random.hpp"

namespace twinblock {
namespace {

template <class A, class B>
concept Addable = requires(A a, B b) { a + b; };

// What must not compile is part of the contract of a strong unit.
static_assert(!std::convertible_to<std::uint64_t, ByteOffset>);
static_assert(!std::convertible_to<ByteOffset, std::uint64_t>);
static_assert(!std::convertible_to<ByteOffset, ByteCount>);
static_assert(!std::convertible_to<SequenceNumber, GenerationId>);
static_assert(!Addable<ByteOffset, ByteOffset>);
static_assert(!Addable<Instant, Instant>);
static_assert(!Addable<RegionIndex, RegionIndex>);
static_assert(Addable<ByteOffset, ByteCount>);

ByteRange range(std::uint64_t offset, std::uint64_t length) {
  return {.offset = ByteOffset{offset}, .length = ByteCount{length}};
}

TEST(ByteRange, IsHalfOpen) {
  EXPECT_FALSE(range(0, 10).overlaps(range(10, 10)));
  EXPECT_TRUE(range(0, 10).overlaps(range(9, 1)));
  EXPECT_TRUE(range(5, 1).overlaps(range(0, 10)));
  EXPECT_EQ(range(3, 4).end(), ByteOffset{7});
}

TEST(ByteRange, ContainsItselfAndNothingLarger) {
  EXPECT_TRUE(range(4, 4).contains(range(4, 4)));
  EXPECT_TRUE(range(4, 4).contains(range(5, 3)));
  EXPECT_FALSE(range(4, 4).contains(range(3, 4)));
  EXPECT_FALSE(range(4, 4).contains(range(5, 4)));
  EXPECT_TRUE(range(4, 0).empty());
}

TEST(Instant, NeverIsLaterThanAnything) {
  EXPECT_LT(Instant{0} + Duration::seconds(1'000'000'000), Instant::never());
  EXPECT_EQ(Instant{5} - Instant{3}, Duration{2});
}

TEST(Term, NextIsGreaterWhateverTheNode) {
  Term seen{};
  for (std::uint8_t node = 0; node < kNodeCountMax; ++node) {
    for (std::uint8_t other = 0; other < kNodeCountMax; ++other) {
      const Term next = next_term(seen, NodeIndex{other});
      EXPECT_GT(next, seen);
      EXPECT_EQ(term_owner(next), NodeIndex{other});
    }
    seen = next_term(seen, NodeIndex{node});
  }
}

TEST(Term, TwoNodesNeverTakeTheSame) {
  const Term seen = next_term(Term{}, NodeIndex{3});
  EXPECT_NE(next_term(seen, NodeIndex{0}), next_term(seen, NodeIndex{1}));
}

TEST(Random, SameSeedSameStream) {
  Random a{42};
  Random b{42};
  Random c{43};
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t v = a.next();
    EXPECT_EQ(v, b.next());
    differs = differs || v != c.next();
  }
  EXPECT_TRUE(differs);
}

TEST(Random, BelowStaysBelowAndReachesEverything) {
  Random random{1};
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(random.below(7));
  EXPECT_EQ(seen.size(), 7u);
  EXPECT_EQ(*seen.rbegin(), 6u);
}

}  // namespace
}  // namespace twinblock
