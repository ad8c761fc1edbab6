#include "bitmap/geometry.hpp"

#include <gtest/gtest.h>

#include "bitmap/superblock.hpp"

namespace twinblock::bitmap {
namespace {

struct Limit {
  const char* what;
  Geometry geometry;
  bool good;
};

constexpr std::uint64_t kMaxSize = std::uint64_t{1} << 54;

Geometry with(std::uint64_t size, std::uint32_t region, std::uint32_t block, std::uint32_t hot) {
  return {.size = ByteCount{size}, .region_size = region, .logical_block_size = block, .hot_extents = hot};
}

TEST(Geometry, LimitsTable) {
  const Limit table[] = {
      {"usual", with(1 << 30, 65536, 512, 256), true},
      {"size zero", with(0, 65536, 512, 256), false},
      {"one logical block", with(512, 65536, 512, 256), true},
      {"one 4 KiB block", with(4096, 65536, 4096, 256), true},
      {"half a 4 KiB block", with(4096 + 512, 65536, 4096, 256), false},
      {"size not in logical blocks", with((1 << 30) + 1, 65536, 512, 256), false},
      {"largest", with(kMaxSize, 4096, 512, 256), true},
      {"too large", with(kMaxSize + 512, 4096, 512, 256), false},
      {"largest number", with(UINT64_MAX, 65536, 512, 256), false},
      {"region 4 KiB", with(1 << 30, 4096, 512, 256), true},
      {"region 1 MiB", with(1 << 30, 1 << 20, 512, 256), true},
      {"region 2 KiB", with(1 << 30, 2048, 512, 256), false},
      {"region 2 MiB", with(1 << 30, 2 << 20, 512, 256), false},
      {"region 0", with(1 << 30, 0, 512, 256), false},
      {"region no power of two", with(1 << 30, 65536 + 4096, 512, 256), false},
      {"logical block 0", with(1 << 30, 65536, 0, 256), false},
      {"logical block 1024", with(1 << 30, 65536, 1024, 256), false},
      {"logical block 8192", with(1 << 30, 65536, 8192, 256), false},
      {"hot extents 7", with(1 << 30, 65536, 512, 7), false},
      {"hot extents 8", with(1 << 30, 65536, 512, 8), true},
      {"hot extents 768", with(1 << 30, 65536, 512, 768), true},
      {"hot extents 769", with(1 << 30, 65536, 512, 769), false},
  };
  for (const Limit& row : table) {
    const Result<void> result = row.geometry.validate();
    EXPECT_EQ(result.has_value(), row.good) << row.what;
    if (!result) {
      EXPECT_EQ(result.error(), errc::bad_geometry) << row.what;
    }
  }
}

TEST(Geometry, PlacesOfTheLargestMirrorFitTheirIndexTypes) {
  const Geometry g = with(kMaxSize, 4096, 512, 768);
  EXPECT_EQ(g.extent_count(), std::uint64_t{1} << 32);
  EXPECT_EQ(g.extent_of(ByteOffset{kMaxSize - 1}).value(), UINT32_MAX);
  EXPECT_EQ(g.page_count(), std::uint64_t{g.pages_per_slot()} * kNodeCountMax);
  const PageIndex last = g.page_of(NodeIndex{7}, RegionIndex{g.region_count() - 1});
  EXPECT_EQ(last.value(), g.page_count() - 1);
  EXPECT_EQ(g.page(last).value(), g.block_count() - 1);
}

TEST(Geometry, PlacesOfASmallMirror) {
  const Geometry g = with(256 << 20, 65536, 512, 64);
  EXPECT_EQ(g.region_count(), 4096u);
  EXPECT_EQ(g.extent_count(), 64u);
  EXPECT_EQ(g.regions_per_extent(), 64u);
  EXPECT_EQ(g.pages_per_slot(), 1u);
  EXPECT_EQ(g.block_count(), 2u + 64u + 8u);
  EXPECT_EQ(g.intent_record(1).value(), 4u);
  EXPECT_EQ(g.intent_record(33).value(), 4u);
  EXPECT_EQ(g.page(PageIndex{3}).value(), 69u);
}

TEST(Superblock, TheOldestGenerationFallsOffAFullHistory) {
  Superblock sb;
  EXPECT_EQ(sb.current(), GenerationId{});
  for (std::uint64_t i = 1; i <= 40; ++i) {
    sb.push_generation(GenerationId{i}, SequenceNumber{10 * i}, GenerationCause::degraded);
    EXPECT_EQ(sb.current(), GenerationId{i});
  }
  ASSERT_EQ(sb.generation_count, kHistoryMax + 1);
  EXPECT_EQ(sb.history().size(), kHistoryMax + 1);
  for (std::uint64_t i = 0; i <= kHistoryMax; ++i) {
    EXPECT_EQ(sb.history()[i].id, GenerationId{40 - i});
    EXPECT_EQ(sb.history()[i].parent, GenerationId{39 - i});
    EXPECT_EQ(sb.history()[i].first_sequence, SequenceNumber{10 * (40 - i)});
  }
}

}  // namespace
}  // namespace twinblock::bitmap
