// Who are we after a crash: the two superblock copies torn, rotten, wiped, contradicting or too new.
#include <gtest/gtest.h>

#include <algorithm>

#include "bitmap/codec.hpp"
#include "bitmap/layout.hpp"
#include "tests/unit/bitmap/sample.hpp"

namespace twinblock::bitmap {
namespace {

using test::Area;
using test::sample_superblock;

class SuperblockRecovery : public ::testing::Test {
 protected:
  SuperblockRecovery() : old_{sample_superblock()}, area_{format_area(old_, 0)} {
    test::write_superblock(area_, old_, 10);
    newer_ = old_;
    newer_.push_generation(GenerationId{0x777}, SequenceNumber{5000}, GenerationCause::forced);
    newer_.peers[7] = newer_.peers[5];
    newer_.disk_sample_hash = 1;
    written_ = area_;
    test::write_superblock(written_, newer_, 11);
  }
  std::span<const std::byte> new_copy(std::uint64_t copy) {
    return test::block_in(written_, BlockIndex{copy});
  }
  void expect_old_or_new(const Area& area, bool must_be_new) {
    const auto r = recover(area);
    ASSERT_TRUE(r) << r.error().message();
    if (r->superblock_sequence == 11) {
      EXPECT_EQ(r->superblock, newer_);
    } else {
      EXPECT_FALSE(must_be_new);
      EXPECT_EQ(r->superblock_sequence, 10u);
      EXPECT_EQ(r->superblock, old_);
    }
    EXPECT_GE(r->superblock_good_copies, 1);
    const auto p = peek(std::span{area}.first(2 * kBlockSize));
    ASSERT_TRUE(p);
    EXPECT_EQ(*p, r->superblock);
  }

  Superblock old_;
  Area area_;
  Superblock newer_;
  Area written_;
};

TEST_F(SuperblockRecovery, AnUpdateTornAtEverySectorCutGivesOldOrNew) {
  for (std::uint64_t sectors = 0; sectors <= 8; ++sectors) {
    Area torn = area_;
    test::tear(test::block_in(torn, BlockIndex{0}), new_copy(0), (1u << sectors) - 1);
    expect_old_or_new(torn, sectors == 8);
  }
  Area first_done = area_;
  test::tear(test::block_in(first_done, BlockIndex{0}), new_copy(0), 0xff);
  for (std::uint64_t sectors = 0; sectors <= 8; ++sectors) {
    Area torn = first_done;
    test::tear(test::block_in(torn, BlockIndex{1}), new_copy(1), (1u << sectors) - 1);
    expect_old_or_new(torn, true);
  }
}

TEST_F(SuperblockRecovery, AnUpdateTornAtEverySubsetOfSectorsGivesOldOrNew) {
  for (std::uint64_t landed = 0; landed < 256; ++landed) {
    Area torn = area_;
    test::tear(test::block_in(torn, BlockIndex{0}), new_copy(0), landed);
    expect_old_or_new(torn, landed == 255);
    test::tear(test::block_in(torn, BlockIndex{0}), new_copy(0), 0xff);
    test::tear(test::block_in(torn, BlockIndex{1}), new_copy(1), landed);
    expect_old_or_new(torn, true);
  }
}

TEST_F(SuperblockRecovery, CountsTheCopiesOfTheNewestUpdate) {
  EXPECT_EQ(recover(area_)->superblock_good_copies, 2);
  Area half = area_;
  test::tear(test::block_in(half, BlockIndex{0}), new_copy(0), 0xff);
  EXPECT_EQ(recover(half)->superblock_good_copies, 1);
  EXPECT_EQ(recover(written_)->superblock_good_copies, 2);
}

TEST_F(SuperblockRecovery, OneBadCopyIsCarriedByTheOther) {
  for (std::uint64_t copy = 0; copy < 2; ++copy) {
    for (std::uint64_t byte = 0; byte < kBlockSize; byte += 7) {
      Area rotten = area_;
      test::flip_bit(test::block_in(rotten, BlockIndex{copy}), byte * 8 + byte % 8);
      const auto r = recover(rotten);
      ASSERT_TRUE(r);
      ASSERT_EQ(r->superblock, old_);
      ASSERT_EQ(r->superblock_good_copies, 1);
    }
  }
}

TEST_F(SuperblockRecovery, BothCopiesBadIsRefusedAndNeverFresh) {
  test::flip_bit(test::block_in(area_, BlockIndex{0}), 8 * 100);
  test::flip_bit(test::block_in(area_, BlockIndex{1}), 8 * 4000);
  EXPECT_EQ(recover(area_).error(), errc::superblocks_bad);
  EXPECT_EQ(peek(std::span{area_}.first(2 * kBlockSize)).error(), errc::superblocks_bad);
}

TEST_F(SuperblockRecovery, BothCopiesWipedIsRefusedWhileOtherBlocksAreOurs) {
  std::fill_n(area_.begin(), 2 * kBlockSize, std::byte{0});
  EXPECT_EQ(recover(area_).error(), errc::superblocks_bad);
  EXPECT_EQ(peek(area_).error(), errc::superblocks_bad);
  EXPECT_EQ(peek(std::span{area_}.first(2 * kBlockSize)).error(), errc::no_metadata);
}

TEST(SuperblockAbsent, SomethingElseIsNoMetadata) {
  const Area zero(16 * kBlockSize);
  EXPECT_EQ(recover(zero).error(), errc::no_metadata);
  EXPECT_EQ(peek(zero).error(), errc::no_metadata);
  const Area noise(16 * kBlockSize, std::byte{0x5a});
  EXPECT_EQ(recover(noise).error(), errc::no_metadata);
  EXPECT_EQ(recover({}).error(), errc::no_metadata);
  EXPECT_EQ(peek({}).error(), errc::no_metadata);
}

TEST_F(SuperblockRecovery, ASwappedPairIsRefused) {
  std::swap_ranges(area_.begin(), area_.begin() + kBlockSize, area_.begin() + kBlockSize);
  EXPECT_EQ(recover(area_).error(), errc::superblocks_bad);
}

TEST_F(SuperblockRecovery, GoodCopiesOfTwoAreasAreRefused) {
  Superblock other = old_;
  other.area_id += 1;
  encode_superblock(other, 500, 1, test::block_in(area_, BlockIndex{1}));
  EXPECT_EQ(recover(area_).error(), errc::superblocks_bad);
}

TEST_F(SuperblockRecovery, OneSequenceWithTwoContentsIsRefused) {
  encode_superblock(newer_, 10, 1, test::block_in(area_, BlockIndex{1}));
  EXPECT_EQ(recover(area_).error(), errc::superblocks_bad);
}

TEST_F(SuperblockRecovery, ALoneCopyOfAnEarlierCreationIsRefused) {
  Superblock other = old_;
  other.area_id += 1;
  encode_superblock(other, 500, 0, test::block_in(area_, BlockIndex{0}));
  test::flip_bit(test::block_in(area_, BlockIndex{1}), 9999);
  EXPECT_EQ(recover(area_).error(), errc::superblocks_bad);
}

TEST_F(SuperblockRecovery, AnUnknownRequiredFeatureIsANewerFormat) {
  for (int bit = 0; bit < 64; bit += 9) {
    Superblock sb = old_;
    sb.required_features = std::uint64_t{1} << bit;
    test::write_superblock(area_, sb, 12);
    EXPECT_EQ(recover(area_).error(), errc::newer_format);
    EXPECT_EQ(peek(area_).error(), errc::newer_format);
  }
}

TEST_F(SuperblockRecovery, AnUnknownFeatureWithUnknownEnumValuesIsStillANewerFormat) {
  for (std::uint64_t copy = 0; copy < 2; ++copy) {
    test::forge(test::block_in(area_, BlockIndex{copy}), layout::kDiskState.offset, 1, 9);
    test::forge(test::block_in(area_, BlockIndex{copy}), layout::kRequiredFeatures.offset, 8, 1);
  }
  EXPECT_EQ(recover(area_).error(), errc::newer_format);
}

TEST_F(SuperblockRecovery, AHigherVersionIsANewerFormat) {
  // Also on only the first copy: an upgrade that crashed between the two must not be half undone.
  test::forge(test::block_in(written_, BlockIndex{0}), layout::kVersion.offset, 4, 2);
  Area half = area_;
  test::tear(test::block_in(half, BlockIndex{0}), new_copy(0), 0xff);
  EXPECT_EQ(recover(half).error(), errc::newer_format);
}

TEST_F(SuperblockRecovery, UnknownReadOnlyAndCompatibleFeaturesMayBeRead) {
  Superblock sb = old_;
  sb.compatible_features = UINT64_MAX;
  test::write_superblock(area_, sb, 12);
  EXPECT_FALSE(recover(area_)->read_only);
  sb.read_only_features = 4;
  test::write_superblock(area_, sb, 13);
  EXPECT_TRUE(recover(area_)->read_only);
}

TEST_F(SuperblockRecovery, AnEnumValueOutOfRangeFallsBackToTheOtherCopy) {
  test::forge(test::block_in(written_, BlockIndex{0}), layout::kDiskState.offset, 1, 4);
  Area half = area_;
  test::tear(test::block_in(half, BlockIndex{0}), new_copy(0), 0xff);
  EXPECT_EQ(recover(half)->superblock, old_);
}

TEST_F(SuperblockRecovery, GeometryOutOfLimitsIsRefused) {
  const auto refused = [&](std::uint32_t offset, std::uint32_t size, std::uint64_t value) {
    Area bad = area_;
    for (std::uint64_t c = 0; c < 2; ++c)
      test::forge(test::block_in(bad, BlockIndex{c}), offset, size, value);
    return recover(bad).error() == errc::bad_geometry && peek(bad).error() == errc::bad_geometry;
  };
  EXPECT_TRUE(refused(layout::kSize.offset, 8, 0));
  EXPECT_TRUE(refused(layout::kSize.offset, 8, UINT64_MAX));
  EXPECT_TRUE(refused(layout::kRegionSize.offset, 4, 0));
  EXPECT_TRUE(refused(layout::kRegionSize.offset, 4, 12345));
  EXPECT_TRUE(refused(layout::kLogicalBlockSize.offset, 4, 0));
  EXPECT_TRUE(refused(layout::kHotExtents.offset, 4, 0));
  EXPECT_TRUE(refused(layout::kHotExtents.offset, 4, UINT32_MAX));
}

TEST_F(SuperblockRecovery, AnAreaTruncatedAnywhereIsRefused) {
  for (std::uint64_t blocks = 1; blocks < old_.geometry.block_count(); ++blocks) {
    ASSERT_EQ(recover(std::span{area_}.first(blocks * kBlockSize)).error(), errc::bad_geometry) << blocks;
  }
  EXPECT_TRUE(recover(area_));
  area_.resize(area_.size() + 3 * kBlockSize, std::byte{0x77});
  EXPECT_TRUE(recover(area_)) << "a device larger than needed";
}

TEST_F(SuperblockRecovery, ADumpShowsWhatIsBadAndNeverFails) {
  EXPECT_NE(dump_area(area_).find("superblock A (block 0): good, sequence 10"), std::string::npos);
  test::flip_bit(test::block_in(area_, BlockIndex{0}), 8 * 100);
  const std::string one = dump_area(area_);
  EXPECT_NE(one.find("superblock A (block 0): checksum mismatch"), std::string::npos) << one;
  EXPECT_NE(one.find("generation[0] 00000000000000d3 parent 00000000000000d2"), std::string::npos) << one;
  test::flip_bit(test::block_in(area_, BlockIndex{1}), 8 * 100);
  EXPECT_NE(dump_area(area_).find("recovery: refused"), std::string::npos);
  EXPECT_NE(dump_area({}).find("beyond the end"), std::string::npos);
}

}  // namespace
}  // namespace twinblock::bitmap
