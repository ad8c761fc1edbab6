#include "bitmap/decode.hpp"

#include <algorithm>

#include "base/assert.hpp"

namespace twinblock::bitmap {
namespace {

constexpr std::uint64_t kFirstIntentBlock = 2;
constexpr std::uint64_t kFirstPageBlock = 2 + 2 * kIntentRecords;

bool belongs_at(BlockType type, BlockIndex at) {
  switch (type) {
    case BlockType::superblock:
      return at.value() < kFirstIntentBlock;
    case BlockType::intent:
      return at.value() >= kFirstIntentBlock && at.value() < kFirstPageBlock;
    case BlockType::page:
      return at.value() >= kFirstPageBlock;
  }
  return false;
}

// Magic, checksum, version, address and area; the type only as far as it belongs to the address.
Result<DecodedBlockInfo> check_header(ConstBlock block, BlockIndex at, std::uint64_t area_id) {
  if (!has_magic(block)) return errc::block_not_ours;
  if (get<std::uint64_t>(block, layout::kChecksum) != block_checksum(block)) return errc::block_checksum;
  DecodedBlockInfo info;
  info.type = static_cast<BlockType>(get<std::uint32_t>(block, layout::kType));
  info.version = get<std::uint32_t>(block, layout::kVersion);
  info.area_id = get<std::uint64_t>(block, layout::kAreaId);
  info.block = BlockIndex{get<std::uint64_t>(block, layout::kBlockNumber)};
  info.sequence = get<std::uint64_t>(block, layout::kSequence);
  if (info.block != at) return errc::block_misplaced;
  if (area_id != 0 && info.area_id != area_id) return errc::block_other_area;
  if (info.version > layout::kFormatVersion) return errc::block_newer;
  if (!belongs_at(info.type, at)) return errc::block_misplaced;
  if (info.version == 0 || info.area_id == 0) return errc::block_malformed;
  if (info.sequence == 0 || info.sequence > kBlockSequenceMax) return errc::block_malformed;
  return info;
}

// Decodes fields and remembers whether one of them was out of range.
class Checked {
 public:
  explicit Checked(ConstBlock block) : block_{block} {}
  [[nodiscard]] bool good() const { return good_; }

  std::uint64_t u64(const layout::Field& f, std::uint32_t base = 0) {
    return get<std::uint64_t>(block_, f, base);
  }
  std::uint32_t u32(const layout::Field& f, std::uint32_t base = 0) {
    return get<std::uint32_t>(block_, f, base);
  }
  bool flag(const layout::Field& f, std::uint32_t base = 0) { return byte_up_to(1, f, base) != 0; }
  NodeIndex node(const layout::Field& f) { return NodeIndex{byte_up_to(kNodeCountMax - 1, f, 0)}; }
  template <class Enum>
  Enum enumeration(const layout::Field& f, Enum last, std::uint32_t base = 0) {
    return static_cast<Enum>(byte_up_to(static_cast<std::uint8_t>(last), f, base));
  }
  void require(bool condition) { good_ = good_ && condition; }

 private:
  // 0 when out of range: no invalid value ever gets into an enum or a bool.
  std::uint8_t byte_up_to(std::uint8_t last, const layout::Field& f, std::uint32_t base) {
    const auto value = get<std::uint8_t>(block_, f, base);
    require(value <= last);
    return value <= last ? value : std::uint8_t{0};
  }

  ConstBlock block_;
  bool good_ = true;
};

PeerRecord decode_peer(Checked& in, std::uint32_t slot) {
  const std::uint32_t base = layout::kPeers.offset + slot * layout::kPeerSize;
  const std::uint32_t session = layout::kPeerSessions.offset + slot * layout::kPeerSessionSize;
  PeerRecord peer;
  peer.identity = in.u64(layout::kPeerIdentity, base);
  peer.incarnation = in.u64(layout::kPeerIncarnation, base);
  peer.base_generation = GenerationId{in.u64(layout::kPeerBaseGeneration, base)};
  peer.stable_sequence = SequenceNumber{in.u64(layout::kPeerStableSequence, base)};
  peer.data = in.enumeration(layout::kPeerData, PeerData::lacked, base);
  peer.needs_full = in.flag(layout::kPeerNeedsFull, base);
  peer.session = {in.u64(layout::kSessionCount, session), in.u64(layout::kSessionId, session)};
  peer.session_common = {in.u64(layout::kSessionCommonCount, session),
                         in.u64(layout::kSessionCommonId, session)};
  return peer;
}

GenerationEntry decode_generation(Checked& in, std::uint32_t base) {
  GenerationEntry entry;
  entry.id = GenerationId{in.u64(layout::kGenerationId, base)};
  entry.parent = GenerationId{in.u64(layout::kGenerationParent, base)};
  entry.first_sequence = SequenceNumber{in.u64(layout::kGenerationFirst, base)};
  entry.cause = in.enumeration(layout::kGenerationCause, GenerationCause::rewind, base);
  in.require(entry.id != GenerationId{});
  return entry;
}

void decode_arrays(Checked& in, Superblock& sb) {
  for (std::uint32_t i = 0; i < kNodeCountMax; ++i) {
    sb.peers[i] = decode_peer(in, i);
  }
  const std::uint32_t count = in.u32(layout::kGenerationCount);
  in.require(count <= sb.generations.size());
  sb.generation_count = std::min(count, static_cast<std::uint32_t>(sb.generations.size()));
  for (std::uint32_t i = 0; i < sb.generation_count; ++i) {
    sb.generations[i] = decode_generation(in, layout::kGenerations.offset + i * layout::kGenerationSize);
  }
}

void decode_flags(Checked& in, Superblock& sb) {
  sb.node = in.node(layout::kNode);
  sb.disk_state = in.enumeration(layout::kDiskState, DiskState::failed);
  sb.was_source = in.flag(layout::kWasSource);
  sb.clean = in.flag(layout::kClean);
  sb.lost_cache = in.flag(layout::kLostCache);
  sb.boot_id = in.u64(layout::kBootId);
  sb.acked_ahead = in.flag(layout::kAckedAhead);
  sb.resync.active = in.flag(layout::kResyncActive);
  sb.resync.from = in.node(layout::kResyncFrom);
  sb.resolution = in.enumeration(layout::kResolution, Resolution::discard);
}

bool decode_content(ConstBlock block, Superblock& sb) {
  Checked in{block};
  sb.required_features = in.u64(layout::kRequiredFeatures);
  sb.read_only_features = in.u64(layout::kReadOnlyFeatures);
  sb.compatible_features = in.u64(layout::kCompatibleFeatures);
  sb.area_id = in.u64(layout::kAreaId);
  sb.group_id = in.u64(layout::kGroupId);
  sb.mirror_id = in.u64(layout::kMirrorId);
  sb.identity = in.u64(layout::kIdentity);
  sb.incarnation = in.u64(layout::kIncarnation);
  sb.geometry.size = ByteCount{in.u64(layout::kSize)};
  sb.geometry.region_size = in.u32(layout::kRegionSize);
  sb.geometry.logical_block_size = in.u32(layout::kLogicalBlockSize);
  sb.geometry.hot_extents = in.u32(layout::kHotExtents);
  sb.term_seen = Term{in.u64(layout::kTermSeen)};
  sb.term_own = Term{in.u64(layout::kTermOwn)};
  sb.sequence_limit = SequenceNumber{in.u64(layout::kSequenceLimit)};
  sb.stable_sequence = SequenceNumber{in.u64(layout::kStableSequence)};
  sb.attach_count = in.u64(layout::kAttachCount);
  sb.resolution_against = GenerationId{in.u64(layout::kResolutionAgainst)};
  sb.resync.generation = GenerationId{in.u64(layout::kResyncGeneration)};
  sb.resync.cursor = ByteOffset{in.u64(layout::kResyncCursor)};
  sb.disk_identity = in.u64(layout::kDiskIdentity);
  sb.disk_sample_hash = in.u64(layout::kDiskSampleHash);
  decode_flags(in, sb);
  decode_arrays(in, sb);
  return in.good();
}

}  // namespace

Block mutable_block_at(std::span<std::byte> area, BlockIndex index) {
  TB_ASSERT(index.value() < area.size() / kBlockSize);
  return area.subspan(index.value() * kBlockSize).first<kBlockSize>();
}

ConstBlock block_at(std::span<const std::byte> area, BlockIndex index) {
  TB_ASSERT(index.value() < area.size() / kBlockSize);
  return area.subspan(index.value() * kBlockSize).first<kBlockSize>();
}

bool has_magic(ConstBlock block) {
  return get<std::uint64_t>(block, layout::kBlockMagic) == layout::kMagic;
}

RegionRun page_regions(const Geometry& geometry, PageIndex page) {
  const std::uint64_t first = page.value() % geometry.pages_per_slot() * kPageBits;
  return {.first = RegionIndex{first}, .count = std::min(kPageBits, geometry.region_count() - first)};
}

SuperblockCopy decode_superblock(ConstBlock block, BlockIndex at) {
  SuperblockCopy copy;
  const Result<DecodedBlockInfo> info = check_header(block, at, 0);
  if (!info) {
    copy.error = info.error();
    if (copy.error == errc::block_newer) {
      copy.error = errc::newer_format;
      copy.sequence = get<std::uint64_t>(block, layout::kSequence);
    }
    return copy;
  }
  copy.sequence = info->sequence;
  // Before the content: a new feature may have brought new enum values.
  if ((get<std::uint64_t>(block, layout::kRequiredFeatures) & ~kRequiredFeaturesKnown) != 0) {
    copy.error = errc::newer_format;
  } else if (!decode_content(block, copy.superblock)) {
    copy.error = errc::block_malformed;
  }
  return copy;
}

Result<DecodedBlockInfo> check_block(ConstBlock block, BlockIndex at, std::uint64_t area_id) {
  const Result<DecodedBlockInfo> info = check_header(block, at, area_id);
  if (!info) return info.error();
  switch (info->type) {
    case BlockType::superblock: {
      const SuperblockCopy copy = decode_superblock(block, at);
      if (copy.error == errc::newer_format) return errc::block_newer;
      if (copy.error) return copy.error;
      break;
    }
    case BlockType::intent:
      if (get<std::uint32_t>(block, layout::kHotCount) > kHotExtentsMax) return errc::block_malformed;
      if (get<std::uint32_t>(block, layout::kReliedCount) > kReliedPagesMax) return errc::block_malformed;
      break;
    case BlockType::page:
      break;
  }
  return info;
}

bool IntentView::same_content(const IntentView& other) const {
  constexpr std::size_t kContent = layout::kSequence.offset;
  return std::ranges::equal(block_.subspan<kContent>(), other.block_.subspan<kContent>());
}

Result<IntentView> decode_intent(ConstBlock block, BlockIndex at, const Superblock& superblock) {
  const Result<DecodedBlockInfo> info = check_block(block, at, superblock.area_id);
  if (!info) return info.error();
  const Geometry& geometry = superblock.geometry;
  const std::uint64_t first = geometry.intent_record(info->sequence).value();
  if (at.value() != first && at.value() != first + 1) return errc::block_misplaced;
  const IntentView view{block, info->sequence};
  for (std::uint32_t i = 0; i < view.hot_count(); ++i) {
    if (view.hot(i).value() >= geometry.extent_count()) return errc::block_malformed;
  }
  for (std::uint32_t i = 0; i < view.relied_count(); ++i) {
    const ReliedPage relied = view.relied(i);
    if (relied.page.value() >= geometry.page_count()) return errc::block_malformed;
    // Half of the range stays free, so that a rewritten page can always be numbered above it.
    if (relied.sequence > kBlockSequenceMax / 2) return errc::block_malformed;
  }
  return view;
}

Result<std::uint64_t> decode_page(ConstBlock block, PageIndex page, const Superblock& superblock) {
  const Result<DecodedBlockInfo> info =
      check_block(block, superblock.geometry.page(page), superblock.area_id);
  if (!info) return info.error();
  return info->sequence;
}

}  // namespace twinblock::bitmap
