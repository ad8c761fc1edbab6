// Blocks to bytes and back, and every way a single block can be wrong.
#include "bitmap/codec.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>
#include <set>

#include "bitmap/decode.hpp"
#include "bitmap/layout.hpp"
#include "tests/unit/bitmap/sample.hpp"

namespace twinblock::bitmap {
namespace {

using test::Area;
using test::sample_superblock;

// One good block of each type with its address.
struct Sample {
  const char* name;
  BlockIndex at;
};
std::ostream& operator<<(std::ostream& out, const Sample& sample) {
  return out << sample.name;
}

class EveryBlockType : public ::testing::TestWithParam<Sample> {
 protected:
  EveryBlockType() : sb_{sample_superblock()}, area_{format_area(sb_, 0x02)} {
    test::write_log(area_, sb_, 5);
  }
  Block block() { return test::block_in(area_, GetParam().at); }

  Superblock sb_;
  Area area_;
};

TEST_P(EveryBlockType, IsGoodAsWritten) {
  const auto info = check_block(block(), GetParam().at, sb_.area_id);
  ASSERT_TRUE(info) << info.error().message();
  EXPECT_EQ(info->block, GetParam().at);
  EXPECT_EQ(info->area_id, sb_.area_id);
  EXPECT_EQ(info->version, layout::kFormatVersion);
}

TEST_P(EveryBlockType, EverySingleFlippedBitIsFound) {
  for (std::uint64_t bit = 0; bit < kBlockSize * 8; ++bit) {
    test::flip_bit(block(), bit);
    ASSERT_FALSE(check_block(block(), GetParam().at, sb_.area_id)) << "bit " << bit;
    test::flip_bit(block(), bit);
  }
}

TEST_P(EveryBlockType, IsNoGoodAnywhereElse) {
  for (std::uint64_t other = 0; other < sb_.geometry.block_count(); ++other) {
    if (other == GetParam().at.value()) continue;
    const auto info = check_block(block(), BlockIndex{other}, sb_.area_id);
    ASSERT_FALSE(info) << "at block " << other;
    ASSERT_EQ(info.error(), errc::block_misplaced);
  }
}

TEST_P(EveryBlockType, OfAnOlderAreaIsFound) {
  EXPECT_EQ(check_block(block(), GetParam().at, sb_.area_id + 1).error(), errc::block_other_area);
  EXPECT_TRUE(check_block(block(), GetParam().at, 0));
}

TEST_P(EveryBlockType, TornAtEverySubsetOfSectorsIsFound) {
  // The second version differs in every sector: in the header, and beyond it in bits, hot extents or peers.
  Superblock after = sb_;
  for (PeerRecord& peer : after.peers) peer.stable_sequence = SequenceNumber{77};
  for (std::uint64_t i = 0; i < 40; ++i) {
    after.push_generation(GenerationId{0x100 + i}, SequenceNumber{i}, GenerationCause::forced);
  }
  Area written = format_area(after, 0xff);
  std::vector<ExtentIndex> hot;
  for (std::uint32_t i = 0; i < 768; ++i) hot.push_back(ExtentIndex{i % 64});
  test::write_record(written, after, 5, hot);
  test::write_record(written, after, 4, hot);
  Block to = test::block_in(written, GetParam().at);
  const Area old_block{block().begin(), block().end()};
  const Area new_block{to.begin(), to.end()};
  for (std::uint64_t landed = 1; landed < 255; ++landed) {
    Area torn = old_block;
    test::tear(torn, new_block, landed);
    if (torn == old_block || torn == new_block) continue;
    ASSERT_FALSE(check_block(std::span{torn}.first<kBlockSize>(), GetParam().at, sb_.area_id)) << landed;
  }
}

TEST_P(EveryBlockType, OfANewerVersionIsFound) {
  test::forge(block(), layout::kVersion.offset, 4, 2);
  EXPECT_EQ(check_block(block(), GetParam().at, sb_.area_id).error(), errc::block_newer);
  test::forge(block(), layout::kVersion.offset, 4, 0);
  EXPECT_EQ(check_block(block(), GetParam().at, sb_.area_id).error(), errc::block_malformed);
}

TEST_P(EveryBlockType, OfAnUnknownTypeOrSequenceIsFound) {
  const Area good{block().begin(), block().end()};
  for (const std::uint64_t type : {0u, 4u, 0xffffffffu}) {
    test::forge(block(), layout::kType.offset, 4, type);
    EXPECT_EQ(check_block(block(), GetParam().at, sb_.area_id).error(), errc::block_misplaced);
  }
  for (const std::uint64_t sequence : {std::uint64_t{0}, kBlockSequenceMax + 1, UINT64_MAX}) {
    std::ranges::copy(good, block().begin());
    test::forge(block(), layout::kSequence.offset, 8, sequence);
    EXPECT_EQ(check_block(block(), GetParam().at, sb_.area_id).error(), errc::block_malformed);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Types, EveryBlockType,
    ::testing::Values(Sample{"superblock_a", BlockIndex{0}}, Sample{"superblock_b", BlockIndex{1}},
                      Sample{"intent_a", BlockIndex{12}}, Sample{"intent_b", BlockIndex{13}},
                      Sample{"page_clean", BlockIndex{66}}, Sample{"page_dirty", BlockIndex{67}}),
    [](const auto& row) { return std::string{row.param.name}; });

TEST(CheckBlock, AZeroBlockIsNotOurs) {
  const Area zero(kBlockSize);
  EXPECT_EQ(check_block(std::span{zero}.first<kBlockSize>(), BlockIndex{0}, 0).error(), errc::block_not_ours);
}

TEST(SuperblockCodec, EveryFieldComesBack) {
  const Superblock sb = sample_superblock();
  Area bytes(kBlockSize, std::byte{0xee});
  const Block block = std::span{bytes}.first<kBlockSize>();
  for (int copy = 0; copy < 2; ++copy) {
    encode_superblock(sb, 99, copy, block);
    const SuperblockCopy back = decode_superblock(block, sb.geometry.superblock(copy));
    ASSERT_FALSE(back.error);
    EXPECT_EQ(back.sequence, 99u);
    EXPECT_EQ(back.superblock, sb);
  }
}

TEST(SuperblockCodec, AFullHistoryComesBack) {
  Superblock sb = sample_superblock();
  for (std::uint64_t i = 1; i < 50; ++i) {
    sb.push_generation(GenerationId{i}, SequenceNumber{i}, static_cast<GenerationCause>(i % 5));
  }
  Area bytes(kBlockSize);
  encode_superblock(sb, 1, 0, std::span{bytes}.first<kBlockSize>());
  EXPECT_EQ(decode_superblock(std::span{bytes}.first<kBlockSize>(), BlockIndex{0}).superblock, sb);
}

TEST(SuperblockCodec, EveryFieldHasBytesOfItsOwn) {
  // Changing any byte outside reserved space and checksum changes what is decoded, or is refused.
  const Superblock sb = sample_superblock();
  Area bytes(kBlockSize);
  const Block block = std::span{bytes}.first<kBlockSize>();
  encode_superblock(sb, 9, 0, block);
  const std::uint32_t end = layout::kGenerations.offset + sb.generation_count * layout::kGenerationSize;
  const std::uint32_t behind = layout::kPeerSessions.offset + layout::kPeerSessions.size;
  int unchanged = 0;
  for (std::uint32_t at = layout::kAreaId.offset; at < behind; ++at) {
    if (at == end) at = layout::kPeerSessions.offset;  // entries beyond the count
    const auto before = std::to_integer<std::uint64_t>(block[at]);
    test::forge(block, at, 1, before ^ 1);
    const SuperblockCopy back = decode_superblock(block, BlockIndex{0});
    if (!back.error && back.superblock == sb && back.sequence == 9) ++unchanged;
    test::forge(block, at, 1, before);
  }
  // The reserved bytes: header 16, after the flags 15, 30 in each peer, 7 in each of three generations.
  EXPECT_EQ(unchanged, 16 + 15 + 8 * 30 + 3 * 7);
}

TEST(SuperblockCodec, OfAVersionWithoutSessionMarksItHasNone) {
  // Where the marks are, that version wrote zeroes; where it had the peer's attach count, nobody looks now.
  Area bytes(kBlockSize);
  const Block block = std::span{bytes}.first<kBlockSize>();
  Superblock sb = sample_superblock();
  for (PeerRecord& peer : sb.peers) peer.session = peer.session_common = {};
  encode_superblock(sb, 9, 0, block);
  test::forge(block, layout::kPeers.offset + layout::kPeerSize + 24, 8, 7);
  const SuperblockCopy back = decode_superblock(block, BlockIndex{0});
  ASSERT_FALSE(back.error);
  EXPECT_EQ(back.superblock, sb);
}

struct BadValue {
  const char* what;
  std::uint32_t offset;
  std::uint32_t size;
  std::uint64_t first_bad;
};

TEST(SuperblockCodec, ValuesOutOfRangeMakeTheBlockBad) {
  const std::uint32_t peer = layout::kPeers.offset + layout::kPeerSize;
  const std::uint32_t generation = layout::kGenerations.offset;
  const BadValue table[] = {
      {"node", layout::kNode.offset, 1, 8},
      {"disk state", layout::kDiskState.offset, 1, 4},
      {"was source", layout::kWasSource.offset, 1, 2},
      {"clean", layout::kClean.offset, 1, 2},
      {"resync active", layout::kResyncActive.offset, 1, 2},
      {"resync from", layout::kResyncFrom.offset, 1, 8},
      {"resolution", layout::kResolution.offset, 1, 3},
      {"peer data", peer + layout::kPeerData.offset, 1, 5},
      {"peer needs full", peer + layout::kPeerNeedsFull.offset, 1, 2},
      {"generation cause", generation + layout::kGenerationCause.offset, 1, 5},
      {"generation count", layout::kGenerationCount.offset, 4, 34},
  };
  const Superblock sb = sample_superblock();
  Area bytes(kBlockSize);
  const Block block = std::span{bytes}.first<kBlockSize>();
  for (const BadValue& row : table) {
    const std::uint64_t top = row.size == 1 ? 0xff : 0xffffffff;
    for (const std::uint64_t value : {row.first_bad, row.first_bad + 1, top}) {
      encode_superblock(sb, 9, 0, block);
      test::forge(block, row.offset, row.size, value);
      EXPECT_EQ(decode_superblock(block, BlockIndex{0}).error, errc::block_malformed) << row.what;
      EXPECT_EQ(check_block(block, BlockIndex{0}, 0).error(), errc::block_malformed) << row.what;
    }
    encode_superblock(sb, 9, 0, block);
    test::forge(block, row.offset, row.size, row.size == 1 ? row.first_bad - 1 : 3);
    EXPECT_FALSE(decode_superblock(block, BlockIndex{0}).error) << row.what;
  }
}

TEST(IntentCodec, AFullRecordComesBackFromBothCopies) {
  Superblock sb = sample_superblock();
  sb.geometry.size = ByteCount{std::uint64_t{1} << 40};
  std::vector<ExtentIndex> hot;
  for (std::uint32_t i = 0; i < kHotExtentsMax; ++i) hot.push_back(ExtentIndex{i * 341});
  std::vector<ReliedPage> relied;
  for (std::uint32_t i = 0; i < kReliedPagesMax; ++i) relied.push_back({PageIndex{i * 65}, i + (1ull << 40)});
  Area bytes(2 * kBlockSize, std::byte{0xee});
  encode_intent_record({.log_sequence = 70, .hot = hot, .relied = relied}, sb,
                       std::span{bytes}.first<2 * kBlockSize>());
  for (std::uint64_t copy = 0; copy < 2; ++copy) {
    const ConstBlock block = std::span<const std::byte>{bytes}.subspan(copy * kBlockSize).first<kBlockSize>();
    const auto view = decode_intent(block, BlockIndex{2 + 2 * 6 + copy}, sb);
    ASSERT_TRUE(view) << view.error().message();
    EXPECT_EQ(view->log_sequence(), 70u);
    ASSERT_EQ(view->hot_count(), kHotExtentsMax);
    ASSERT_EQ(view->relied_count(), kReliedPagesMax);
    for (std::uint32_t i = 0; i < kHotExtentsMax; ++i) EXPECT_EQ(view->hot(i), hot[i]);
    for (std::uint32_t i = 0; i < kReliedPagesMax; ++i) {
      EXPECT_EQ(view->relied(i).page, relied[i].page);
      EXPECT_EQ(view->relied(i).sequence, relied[i].sequence);
    }
  }
}

TEST(IntentCodec, CountsAndIndicesOutOfRangeMakeTheBlockBad) {
  const Superblock sb = sample_superblock();
  Area area = format_area(sb, 0);
  const std::vector<ReliedPage> relied{{PageIndex{7}, 1}};
  const BlockIndex at = sb.geometry.intent_record(2);
  const BadValue table[] = {
      {"hot count", layout::kHotCount.offset, 4, kHotExtentsMax + 1},
      {"hot count", layout::kHotCount.offset, 4, 0xffffffff},
      {"relied count", layout::kReliedCount.offset, 4, kReliedPagesMax + 1},
      {"relied count", layout::kReliedCount.offset, 4, 0xffffffff},
      {"hot extent", layout::kHot.offset + 4, 4, sb.geometry.extent_count()},
      {"relied sequence", layout::kReliedArray.offset, 8, UINT64_MAX},
      {"relied page", layout::kReliedArray.offset + layout::kReliedPage.offset, 4, sb.geometry.page_count()},
  };
  for (const BadValue& row : table) {
    test::write_record(area, sb, 2, test::hot_of(2), relied);
    ASSERT_TRUE(decode_intent(test::block_in(area, at), at, sb));
    test::forge(test::block_in(area, at), row.offset, row.size, row.first_bad);
    const auto view = decode_intent(test::block_in(area, at), at, sb);
    ASSERT_FALSE(view) << row.what;
    EXPECT_EQ(view.error(), errc::block_malformed) << row.what;
  }
}

TEST(IntentCodec, ARecordOutsideItsPlaceInTheRingIsMisplaced) {
  const Superblock sb = sample_superblock();
  Area area = format_area(sb, 0);
  const BlockIndex at = sb.geometry.intent_record(1);
  test::forge(test::block_in(area, at), layout::kSequence.offset, 8, 2);
  EXPECT_EQ(decode_intent(test::block_in(area, at), at, sb).error(), errc::block_misplaced);
}

TEST(PageCodec, PagesTogetherHoldTheWholeMap) {
  Superblock sb = sample_superblock();
  sb.geometry = test::several_pages_geometry();
  DirtyMap map{sb.geometry.region_count()};
  for (std::uint64_t r = 0; r < map.region_count(); r += 97) map.set({RegionIndex{r}, 1 + r % 5 % (97)});
  DirtyMap back{map.region_count()};
  Area bytes(kBlockSize, std::byte{0xee});
  const Block block = std::span{bytes}.first<kBlockSize>();
  ASSERT_EQ(sb.geometry.pages_per_slot(), 4u);
  for (std::uint32_t p = 0; p < sb.geometry.pages_per_slot(); ++p) {
    const PageIndex page{5 * sb.geometry.pages_per_slot() + p};
    encode_page(page, 8, map, sb, block);
    ASSERT_EQ(decode_page(block, page, sb).value(), 8u);
    back.merge_bytes(page_regions(sb.geometry, page).first,
                     block.subspan<layout::kBits.offset, layout::kBits.size>());
  }
  EXPECT_EQ(back, map);
}

TEST(Errors, EveryCodeHasATextOfItsOwn) {
  std::set<std::string> texts;
  for (int e = 0; e <= static_cast<int>(errc::block_malformed); ++e) texts.insert(category().message(e));
  EXPECT_EQ(texts.size(), static_cast<std::size_t>(errc::block_malformed) + 1);
  EXPECT_FALSE(texts.contains(category().message(1000)));
}

}  // namespace
}  // namespace twinblock::bitmap
