// Bitmap pages after a crash: whatever is not certainly the newest page counts as dirty all over.
#include <gtest/gtest.h>

#include <algorithm>

#include "bitmap/codec.hpp"
#include "bitmap/decode.hpp"
#include "tests/unit/bitmap/sample.hpp"

namespace twinblock::bitmap {
namespace {

using test::Area;

class PageRecovery : public ::testing::Test {
 protected:
  PageRecovery() : sb_{test::sample_superblock()} {
    sb_.geometry = test::several_pages_geometry();
    area_ = format_area(sb_, 0);
  }
  PageIndex page(std::uint32_t slot, std::uint32_t p) const {
    return PageIndex{slot * sb_.geometry.pages_per_slot() + p};
  }
  Block block(PageIndex p) { return test::block_in(area_, sb_.geometry.page(p)); }
  DirtyMap empty() const { return DirtyMap{sb_.geometry.region_count()}; }
  // Slot 1: page `p` and nothing else dirty.
  void expect_only_page_dirty(std::uint32_t p) {
    const auto r = recover(area_);
    ASSERT_TRUE(r);
    DirtyMap expected = empty();
    expected.set(page_regions(sb_.geometry, page(1, p)));
    EXPECT_EQ(*r->dirty[1], expected);
    EXPECT_EQ(r->dirty[5]->dirty_count(), 0u);
    EXPECT_EQ(r->bad_pages, 1u);
    EXPECT_FALSE(r->all_hot);
  }

  Superblock sb_;
  Area area_;
};

TEST_F(PageRecovery, AFreshAreaIsCleanAndOnlySlotsInUseHaveMaps) {
  const auto r = recover(area_);
  ASSERT_TRUE(r);
  EXPECT_EQ(r->superblock, sb_);
  for (std::size_t slot = 0; slot < kNodeCountMax; ++slot) {
    EXPECT_EQ(r->dirty[slot].has_value(), slot == 1 || slot == 5) << slot;
  }
  EXPECT_EQ(r->dirty[1]->dirty_count(), 0u);
  EXPECT_EQ(r->page_sequences, std::vector<std::uint64_t>(sb_.geometry.page_count(), 1));
  EXPECT_EQ(r->bad_pages, 0u);
  EXPECT_EQ(r->log_sequence, 1u);
  EXPECT_TRUE(r->hot.empty());
}

TEST_F(PageRecovery, DirtySlotsOfANewAreaAreDirtyAllOver) {
  area_ = format_area(sb_, 1u << 5);
  const auto r = recover(area_);
  EXPECT_EQ(r->dirty[1]->dirty_count(), 0u);
  EXPECT_EQ(r->dirty[5]->dirty_count(), sb_.geometry.region_count());
}

TEST_F(PageRecovery, BitsComeBackAcrossPages) {
  DirtyMap map = empty();
  map.set({RegionIndex{kPageBits - 3}, 6});
  map.set({RegionIndex{sb_.geometry.region_count() - 1}, 1});
  for (std::uint32_t p = 0; p < sb_.geometry.pages_per_slot(); ++p) {
    encode_page(page(5, p), 2 + p, map, sb_, block(page(5, p)));
  }
  const auto r = recover(area_);
  EXPECT_EQ(*r->dirty[5], map);
  EXPECT_EQ(r->dirty[1]->dirty_count(), 0u);
  EXPECT_EQ(r->page_sequences[page(5, 2).value()], 4u);
}

TEST_F(PageRecovery, ARottenPageIsDirtyAllOverInItsRangeOnly) {
  for (std::uint32_t p = 0; p < sb_.geometry.pages_per_slot(); ++p) {
    test::flip_bit(block(page(1, p)), 12345);
    expect_only_page_dirty(p);
    test::flip_bit(block(page(1, p)), 12345);
  }
}

TEST_F(PageRecovery, AnyRottenByteOfAPageIsFound) {
  for (std::uint64_t byte = 0; byte < kBlockSize; byte += 11) {
    test::flip_bit(block(page(1, 1)), byte * 8 + byte % 8);
    const auto r = recover(area_);
    ASSERT_EQ(r->dirty[1]->dirty_count(), kPageBits) << byte;
    test::flip_bit(block(page(1, 1)), byte * 8 + byte % 8);
  }
}

TEST_F(PageRecovery, ATornPageIsDirtyAllOverOrWhole) {
  DirtyMap map = empty();
  map.set({RegionIndex{0}, kPageBits});
  Area written = area_;
  encode_page(page(1, 0), 2, map, sb_, test::block_in(written, sb_.geometry.page(page(1, 0))));
  const Area old_block{block(page(1, 0)).begin(), block(page(1, 0)).end()};
  for (std::uint64_t landed = 0; landed < 256; ++landed) {
    std::ranges::copy(old_block, block(page(1, 0)).begin());
    test::tear(block(page(1, 0)), test::block_in(written, sb_.geometry.page(page(1, 0))), landed);
    const auto r = recover(area_);
    EXPECT_EQ(r->dirty[1]->dirty_count(), landed == 0 ? 0 : kPageBits) << landed;
  }
}

TEST_F(PageRecovery, APageCopiedToAnotherAddressIsFound) {
  std::ranges::copy(block(page(5, 2)), block(page(1, 2)).begin());
  expect_only_page_dirty(2);
}

TEST_F(PageRecovery, APageOfAnOlderAreaIsFound) {
  Superblock other = sb_;
  other.area_id ^= 1;
  encode_page(page(1, 1), 50, empty(), other, block(page(1, 1)));
  expect_only_page_dirty(1);
}

TEST_F(PageRecovery, AStalePageThatARecordReliesOnIsDirtyAllOver) {
  encode_page(page(1, 0), 6, empty(), sb_, block(page(1, 0)));
  test::write_record(area_, sb_, 2, {}, {{page(1, 0), 7}});
  test::write_record(area_, sb_, 3, {});
  expect_only_page_dirty(0);
  // What is written next must count as newer than what was relied on.
  const std::uint64_t known = recover(area_)->page_sequences[page(1, 0).value()];
  EXPECT_EQ(known, 7 + (std::uint64_t{1} << 32));
  encode_page(page(1, 0), known + 1, empty(), sb_, block(page(1, 0)));
  EXPECT_EQ(recover(area_)->bad_pages, 0u);
}

TEST_F(PageRecovery, APageAsNewAsReliedOnOrNewerIsTrusted) {
  for (const std::uint64_t sequence : {7u, 8u, 1000u}) {
    encode_page(page(1, 0), sequence, empty(), sb_, block(page(1, 0)));
    test::write_record(area_, sb_, 2, {}, {{page(1, 0), 7}});
    const auto r = recover(area_);
    EXPECT_EQ(r->dirty[1]->dirty_count(), 0u);
    EXPECT_EQ(r->bad_pages, 0u);
    EXPECT_EQ(r->page_sequences[page(1, 0).value()], sequence);
  }
}

TEST_F(PageRecovery, WhatATornRecordReliedOnDoesNotCount) {
  test::write_record(area_, sb_, 2, {}, {{page(1, 0), 7}});
  test::flip_bit(test::record_in(area_, sb_.geometry, 2), 5000);
  test::flip_bit(test::record_in(area_, sb_.geometry, 2), kBlockSize * 8 + 5000);
  EXPECT_EQ(recover(area_)->bad_pages, 0u);
}

TEST_F(PageRecovery, APeerThatNeedsAFullResyncIsDirtyAllOver) {
  sb_.peers[5].needs_full = true;
  test::write_superblock(area_, sb_, 2);
  const auto r = recover(area_);
  EXPECT_EQ(r->dirty[1]->dirty_count(), 0u);
  EXPECT_EQ(r->dirty[5]->dirty_count(), sb_.geometry.region_count());
}

TEST_F(PageRecovery, AllPagesBadIsAllDirtyAndNoError) {
  for (std::uint32_t p = 0; p < sb_.geometry.page_count(); ++p) block(PageIndex{p})[0] ^= std::byte{1};
  const auto r = recover(area_);
  ASSERT_TRUE(r);
  EXPECT_EQ(r->dirty[1]->dirty_count(), sb_.geometry.region_count());
  EXPECT_EQ(r->dirty[5]->dirty_count(), sb_.geometry.region_count());
  EXPECT_EQ(r->bad_pages, sb_.geometry.page_count());
  EXPECT_EQ(r->page_sequences[0], std::uint64_t{1} << 32);
  const std::string text = dump_area(area_);
  EXPECT_NE(text.find("further bad pages are not listed"), std::string::npos);
}

}  // namespace
}  // namespace twinblock::bitmap
