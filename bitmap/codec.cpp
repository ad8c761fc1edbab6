#include "bitmap/codec.hpp"

#include <algorithm>

#include "base/assert.hpp"
#include "bitmap/bytes.hpp"
#include "bitmap/decode.hpp"
#include "bitmap/layout.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace twinblock::bitmap {
namespace {

struct Header {
  BlockType type;
  std::uint64_t area_id;
  BlockIndex block;
  std::uint64_t sequence;
};

// Leaves the whole block zero but for the header, so that no old byte of the buffer reaches the disk.
void begin_block(Block out, const Header& header) {
  TB_ASSERT(header.area_id != 0 && header.sequence != 0 && header.sequence <= kBlockSequenceMax);
  std::fill(out.begin(), out.end(), std::byte{0});
  put(out, layout::kBlockMagic, layout::kMagic);
  put(out, layout::kType, static_cast<std::uint32_t>(header.type));
  put(out, layout::kVersion, layout::kFormatVersion);
  put(out, layout::kAreaId, header.area_id);
  put(out, layout::kBlockNumber, header.block.value());
  put(out, layout::kSequence, header.sequence);
}

void put_peer(Block out, const PeerRecord& peer, std::uint32_t base) {
  put(out, layout::kPeerIdentity, peer.identity, base);
  put(out, layout::kPeerIncarnation, peer.incarnation, base);
  put(out, layout::kPeerBaseGeneration, peer.base_generation.value(), base);
  put(out, layout::kPeerStableSequence, peer.stable_sequence.value(), base);
  put(out, layout::kPeerData, static_cast<std::uint8_t>(peer.data), base);
  put(out, layout::kPeerNeedsFull, static_cast<std::uint8_t>(peer.needs_full), base);
}

void put_peer_session(Block out, const PeerRecord& peer, std::uint32_t base) {
  put(out, layout::kSessionCount, peer.session.count, base);
  put(out, layout::kSessionId, peer.session.id, base);
  put(out, layout::kSessionCommonCount, peer.session_common.count, base);
  put(out, layout::kSessionCommonId, peer.session_common.id, base);
}

void put_generation(Block out, const GenerationEntry& entry, std::uint32_t base) {
  put(out, layout::kGenerationId, entry.id.value(), base);
  put(out, layout::kGenerationParent, entry.parent.value(), base);
  put(out, layout::kGenerationFirst, entry.first_sequence.value(), base);
  put(out, layout::kGenerationCause, static_cast<std::uint8_t>(entry.cause), base);
}

void put_flags(Block out, const Superblock& sb) {
  put(out, layout::kNode, sb.node.value());
  put(out, layout::kDiskState, static_cast<std::uint8_t>(sb.disk_state));
  put(out, layout::kWasSource, static_cast<std::uint8_t>(sb.was_source));
  put(out, layout::kClean, static_cast<std::uint8_t>(sb.clean));
  put(out, layout::kLostCache, static_cast<std::uint8_t>(sb.lost_cache));
  put(out, layout::kBootId, sb.boot_id);
  put(out, layout::kAckedAhead, static_cast<std::uint8_t>(sb.acked_ahead));
  put(out, layout::kResyncActive, static_cast<std::uint8_t>(sb.resync.active));
  put(out, layout::kResyncFrom, sb.resync.from.value());
  put(out, layout::kResolution, static_cast<std::uint8_t>(sb.resolution));
}

}  // namespace

std::uint64_t block_checksum(ConstBlock block) {
  return XXH3_64bits(block.data() + layout::kChecksummedFrom, kBlockSize - layout::kChecksummedFrom);
}

void seal_block(Block block) {
  put(block, layout::kChecksum, block_checksum(block));
}

void encode_superblock(const Superblock& sb, std::uint64_t sequence, int copy, Block out) {
  TB_ASSERT(copy == 0 || copy == 1);
  TB_ASSERT(sb.generation_count <= sb.generations.size());
  TB_ASSERT(sb.node.value() < kNodeCountMax && sb.resync.from.value() < kNodeCountMax);
  begin_block(out, {BlockType::superblock, sb.area_id, sb.geometry.superblock(copy), sequence});
  put(out, layout::kRequiredFeatures, sb.required_features);
  put(out, layout::kReadOnlyFeatures, sb.read_only_features);
  put(out, layout::kCompatibleFeatures, sb.compatible_features);
  put(out, layout::kGroupId, sb.group_id);
  put(out, layout::kMirrorId, sb.mirror_id);
  put(out, layout::kIdentity, sb.identity);
  put(out, layout::kIncarnation, sb.incarnation);
  put(out, layout::kSize, sb.geometry.size.value());
  put(out, layout::kRegionSize, sb.geometry.region_size);
  put(out, layout::kLogicalBlockSize, sb.geometry.logical_block_size);
  put(out, layout::kHotExtents, sb.geometry.hot_extents);
  put(out, layout::kGenerationCount, sb.generation_count);
  put(out, layout::kTermSeen, sb.term_seen.value());
  put(out, layout::kTermOwn, sb.term_own.value());
  put(out, layout::kSequenceLimit, sb.sequence_limit.value());
  put(out, layout::kStableSequence, sb.stable_sequence.value());
  put(out, layout::kAttachCount, sb.attach_count);
  put(out, layout::kResolutionAgainst, sb.resolution_against.value());
  put(out, layout::kResyncGeneration, sb.resync.generation.value());
  put(out, layout::kResyncCursor, sb.resync.cursor.value());
  put(out, layout::kDiskIdentity, sb.disk_identity);
  put(out, layout::kDiskSampleHash, sb.disk_sample_hash);
  put_flags(out, sb);
  for (std::uint32_t i = 0; i < kNodeCountMax; ++i) {
    put_peer(out, sb.peers[i], layout::kPeers.offset + i * layout::kPeerSize);
    put_peer_session(out, sb.peers[i], layout::kPeerSessions.offset + i * layout::kPeerSessionSize);
  }
  for (std::uint32_t i = 0; i < sb.generation_count; ++i) {
    put_generation(out, sb.generations[i], layout::kGenerations.offset + i * layout::kGenerationSize);
  }
  seal_block(out);
}

void encode_intent_record(const IntentRecord& record, const Superblock& sb,
                          std::span<std::byte, std::size_t{2} * kBlockSize> out) {
  TB_ASSERT(record.hot.size() <= kHotExtentsMax && record.relied.size() <= kReliedPagesMax);
  const BlockIndex first = sb.geometry.intent_record(record.log_sequence);
  const std::uint64_t extent_count = sb.geometry.extent_count();
  const std::uint32_t page_count = sb.geometry.page_count();
  const Block a = out.first<kBlockSize>();
  const Block b = out.last<kBlockSize>();
  begin_block(a, {BlockType::intent, sb.area_id, first, record.log_sequence});
  put(a, layout::kHotCount, static_cast<std::uint32_t>(record.hot.size()));
  put(a, layout::kReliedCount, static_cast<std::uint32_t>(record.relied.size()));
  std::uint32_t at = layout::kHot.offset;
  for (const ExtentIndex extent : record.hot) {
    TB_ASSERT(extent.value() < extent_count);
    put(a, kHotElement, extent.value(), at);
    at += layout::kHotSize;
  }
  at = layout::kReliedArray.offset;
  for (const ReliedPage& relied : record.relied) {
    TB_ASSERT(relied.page.value() < page_count);
    put(a, layout::kReliedSequence, relied.sequence, at);
    put(a, layout::kReliedPage, relied.page.value(), at);
    at += layout::kReliedSize;
  }
  std::copy(a.begin(), a.end(), b.begin());
  put(b, layout::kBlockNumber, first.value() + 1);
  seal_block(a);
  seal_block(b);
}

void encode_page(PageIndex page, std::uint64_t sequence, const DirtyMap& map, const Superblock& sb,
                 Block out) {
  TB_ASSERT(page.value() < sb.geometry.page_count());
  TB_ASSERT(map.region_count() == sb.geometry.region_count());
  begin_block(out, {BlockType::page, sb.area_id, sb.geometry.page(page), sequence});
  map.copy_bytes(page_regions(sb.geometry, page).first,
                 out.subspan<layout::kBits.offset, layout::kBits.size>());
  seal_block(out);
}

std::vector<std::byte> format_area(const Superblock& sb, std::uint8_t dirty_slots) {
  TB_ASSERT(sb.geometry.validate().has_value());
  std::vector<std::byte> area(sb.geometry.area_size().value());
  for (int copy = 0; copy < 2; ++copy) {
    encode_superblock(sb, 1, copy, mutable_block_at(area, sb.geometry.superblock(copy)));
  }
  const std::uint64_t intent = sb.geometry.intent_record(1).value() * kBlockSize;
  encode_intent_record({.log_sequence = 1, .hot = {}, .relied = {}}, sb,
                       std::span{area}.subspan(intent).first<std::size_t{2} * kBlockSize>());
  const DirtyMap clean{sb.geometry.region_count()};
  DirtyMap dirty{sb.geometry.region_count()};
  dirty.set_all();
  for (std::uint32_t p = 0; p < sb.geometry.page_count(); ++p) {
    const std::uint32_t slot = p / sb.geometry.pages_per_slot();
    const DirtyMap& map = (dirty_slots >> slot & 1) != 0 ? dirty : clean;
    encode_page(PageIndex{p}, 1, map, sb, mutable_block_at(area, sb.geometry.page(PageIndex{p})));
  }
  return area;
}

}  // namespace twinblock::bitmap
