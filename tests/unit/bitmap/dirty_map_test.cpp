// The dirty map against an oracle that is too simple to be wrong.
#include "bitmap/dirty_map.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "base/random.hpp"

namespace twinblock::bitmap {
namespace {

struct Oracle {
  std::vector<bool> bits;

  std::uint64_t assign(RegionRun run, bool value) {
    std::uint64_t changed = 0;
    for (std::uint64_t r = run.first.value(); r < run.first.value() + run.count; ++r) {
      if (bits[r] != value) ++changed;
      bits[r] = value;
    }
    return changed;
  }
  [[nodiscard]] bool any(RegionRun run) const {
    for (std::uint64_t r = run.first.value(); r < run.first.value() + run.count; ++r) {
      if (bits[r]) return true;
    }
    return false;
  }
  [[nodiscard]] std::uint64_t count() const {
    return static_cast<std::uint64_t>(std::count(bits.begin(), bits.end(), true));
  }
  [[nodiscard]] std::optional<RegionRun> next(std::uint64_t from, std::uint64_t max) const {
    while (from < bits.size() && !bits[from]) ++from;
    if (from >= bits.size()) return std::nullopt;
    std::uint64_t n = 0;
    while (n < max && from + n < bits.size() && bits[from + n]) ++n;
    return RegionRun{RegionIndex{from}, n};
  }
};

RegionRun random_run(Random& random, std::uint64_t size) {
  const std::uint64_t first = random.below(size);
  const std::uint64_t longest = random.one_in(4) ? size - first : std::min<std::uint64_t>(size - first, 70);
  return {RegionIndex{first}, random.below(longest + 1)};
}

void expect_same(const DirtyMap& map, const Oracle& oracle) {
  ASSERT_EQ(map.dirty_count(), oracle.count());
  std::uint64_t words_count = 0;
  for (std::uint64_t r = 0; r < oracle.bits.size(); ++r) {
    ASSERT_EQ(map.test(RegionIndex{r}), oracle.bits[r]) << "region " << r;
  }
  for (const std::uint64_t w : map.words()) words_count += static_cast<std::uint64_t>(std::popcount(w));
  ASSERT_EQ(words_count, oracle.count()) << "a bit beyond the end is set";
}

class DirtyMapSizes : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(DirtyMapSizes, AgreesWithTheOracleAfterEveryStep) {
  const std::uint64_t size = GetParam();
  Random random{size};
  DirtyMap map{size};
  Oracle oracle{std::vector<bool>(size)};
  for (int step = 0; step < 3000; ++step) {
    const RegionRun run = random_run(random, size);
    switch (random.below(16)) {
      case 0:
        map.clear_all();
        oracle.bits.assign(size, false);
        break;
      case 1:
        map.set_all();
        oracle.bits.assign(size, true);
        break;
      case 2:
      case 3:
      case 4:
      case 5:
      case 6:
      case 7:
        ASSERT_EQ(map.clear(run), oracle.assign(run, false));
        break;
      default:
        ASSERT_EQ(map.set(run), oracle.assign(run, true));
        break;
    }
    const RegionRun look = random_run(random, size);
    ASSERT_EQ(map.any(look), oracle.any(look));
    const std::uint64_t from = random.below(size + 2);
    const std::uint64_t max = 1 + random.below(200);
    ASSERT_EQ(map.next_dirty(RegionIndex{from}, max), oracle.next(from, max));
    if (step % 50 == 0) expect_same(map, oracle);
  }
  expect_same(map, oracle);
}

TEST_P(DirtyMapSizes, BytesCopiedAndMergedElsewhereGiveTheUnion) {
  const std::uint64_t size = GetParam();
  Random random{size + 1};
  for (int round = 0; round < 200; ++round) {
    DirtyMap from{size};
    DirtyMap into{size};
    Oracle expected{std::vector<bool>(size)};
    for (int i = 0; i < 5; ++i) {
      const RegionRun run = random_run(random, size);
      from.set(run);
      into.set(random_run(random, size));
    }
    const std::uint64_t first = random.below(size / 8 + 2) * 8;
    std::vector<std::byte> bytes(random.below(size / 8 + 10), std::byte{0xff});
    for (std::uint64_t r = 0; r < size; ++r) {
      const bool copied = r >= first && r < first + 8 * bytes.size() && from.test(RegionIndex{r});
      expected.bits[r] = into.test(RegionIndex{r}) || copied;
    }
    from.copy_bytes(RegionIndex{first}, bytes);
    into.merge_bytes(RegionIndex{first}, bytes);
    expect_same(into, expected);
  }
}

TEST_P(DirtyMapSizes, MergeIsTheUnion) {
  const std::uint64_t size = GetParam();
  Random random{size + 2};
  for (int round = 0; round < 100; ++round) {
    DirtyMap a{size};
    DirtyMap b{size};
    Oracle expected{std::vector<bool>(size)};
    for (int i = 0; i < 3; ++i) {
      const RegionRun run_a = random_run(random, size);
      const RegionRun run_b = random_run(random, size);
      a.set(run_a);
      b.set(run_b);
      expected.assign(run_a, true);
      expected.assign(run_b, true);
    }
    a.merge(b);
    expect_same(a, expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, DirtyMapSizes,
                         ::testing::Values(1, 2, 63, 64, 65, 127, 128, 1000, 4096, 4097, 9001));

TEST(DirtyMapBytes, BitsBeyondTheEndAreIgnoredOnMergeAndZeroOnCopy) {
  DirtyMap map{70};
  const std::vector<std::byte> ones(20, std::byte{0xff});
  map.merge_bytes(RegionIndex{64}, ones);
  EXPECT_EQ(map.dirty_count(), 6u);
  map.merge_bytes(RegionIndex{1u << 20}, ones);
  EXPECT_EQ(map.dirty_count(), 6u);
  std::vector<std::byte> out(20, std::byte{0xff});
  map.copy_bytes(RegionIndex{64}, out);
  EXPECT_EQ(out[0], std::byte{0x3f});
  EXPECT_TRUE(std::all_of(out.begin() + 1, out.end(), [](std::byte b) { return b == std::byte{0}; }));
}

TEST(DirtyMapBytes, ByteOrderIsLittleEndian) {
  DirtyMap map{256};
  map.set({RegionIndex{8}, 1});
  map.set({RegionIndex{71}, 1});
  std::vector<std::byte> out(32);
  map.copy_bytes(RegionIndex{0}, out);
  EXPECT_EQ(out[1], std::byte{0x01});
  EXPECT_EQ(out[8], std::byte{0x80});
}

TEST(DirtyMapSparse, FindsTheOnlyRegionOfAHugeMap) {
  DirtyMap map{std::uint64_t{1} << 30};
  map.set({RegionIndex{(std::uint64_t{1} << 30) - 1}, 1});
  map.set({RegionIndex{5}, 1});
  map.clear({RegionIndex{5}, 1});
  const auto found = map.next_dirty(RegionIndex{0}, 1000);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->first.value(), (std::uint64_t{1} << 30) - 1);
  EXPECT_EQ(found->count, 1u);
}

TEST(DirtyMapDeath, ARunOutsideTheMapIsOurOwnError) {
  DirtyMap map{100};
  EXPECT_DEATH(map.set({RegionIndex{99}, 2}), "assertion failed");
  EXPECT_DEATH(map.clear({RegionIndex{UINT64_MAX}, 2}), "assertion failed");
  EXPECT_DEATH(static_cast<void>(map.any({RegionIndex{0}, 101})), "assertion failed");
  EXPECT_DEATH(static_cast<void>(map.test(RegionIndex{100})), "assertion failed");
  EXPECT_DEATH(map.merge_bytes(RegionIndex{1}, {}), "assertion failed");
  EXPECT_DEATH(map.merge(DirtyMap{101}), "assertion failed");
}

}  // namespace
}  // namespace twinblock::bitmap
