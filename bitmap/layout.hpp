// Every byte of the metadata blocks by name. The tables of docs/internals/disk_format.md are these arrays;
// a test compares them, and the static_asserts keep them free of gaps and overlaps.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "bitmap/geometry.hpp"
#include "bitmap/superblock.hpp"

namespace twinblock::bitmap::layout {

// A little-endian number (size 1, 4 or 8) or, with another size, an array or reserved bytes.
struct Field {
  std::string_view name;
  std::uint32_t offset = 0;    // from the start of the block, or of the array element
  std::uint32_t size = 0;
};

inline constexpr std::uint64_t kMagic = 0x314b4c424e495754;   // the bytes "TWINBLK1"
inline constexpr std::uint32_t kFormatVersion = 1;
inline constexpr std::uint32_t kChecksummedFrom = 8;          // XXH3-64 of [8, 4096)

// Block header.
inline constexpr Field kChecksum{"checksum", 0, 8};
inline constexpr Field kBlockMagic{"magic", 8, 8};
inline constexpr Field kType{"type", 16, 4};
inline constexpr Field kVersion{"version", 20, 4};
inline constexpr Field kAreaId{"area_id", 24, 8};
inline constexpr Field kBlockNumber{"block_number", 32, 8};
inline constexpr Field kSequence{"sequence", 40, 8};
inline constexpr std::array kHeader{kChecksum, kBlockMagic,  kType,     kVersion,
                                    kAreaId,   kBlockNumber, kSequence, Field{"reserved", 48, 16}};

// Superblock.
inline constexpr Field kRequiredFeatures{"required_features", 64, 8};
inline constexpr Field kReadOnlyFeatures{"read_only_features", 72, 8};
inline constexpr Field kCompatibleFeatures{"compatible_features", 80, 8};
inline constexpr Field kGroupId{"group_id", 88, 8};
inline constexpr Field kMirrorId{"mirror_id", 96, 8};
inline constexpr Field kIdentity{"identity", 104, 8};
inline constexpr Field kIncarnation{"incarnation", 112, 8};
inline constexpr Field kSize{"size", 120, 8};
inline constexpr Field kRegionSize{"region_size", 128, 4};
inline constexpr Field kLogicalBlockSize{"logical_block_size", 132, 4};
inline constexpr Field kHotExtents{"hot_extents", 136, 4};
inline constexpr Field kGenerationCount{"generation_count", 140, 4};
inline constexpr Field kTermSeen{"term_seen", 144, 8};
inline constexpr Field kTermOwn{"term_own", 152, 8};
inline constexpr Field kSequenceLimit{"sequence_limit", 160, 8};
inline constexpr Field kStableSequence{"stable_sequence", 168, 8};
inline constexpr Field kAttachCount{"attach_count", 176, 8};
inline constexpr Field kResolutionAgainst{"resolution_against", 184, 8};
inline constexpr Field kResyncGeneration{"resync_generation", 192, 8};
inline constexpr Field kResyncCursor{"resync_cursor", 200, 8};
inline constexpr Field kDiskIdentity{"disk_identity", 208, 8};
inline constexpr Field kDiskSampleHash{"disk_sample_hash", 216, 8};
inline constexpr Field kNode{"node", 224, 1};
inline constexpr Field kDiskState{"disk_state", 225, 1};
inline constexpr Field kWasSource{"was_source", 226, 1};
inline constexpr Field kClean{"clean", 227, 1};
inline constexpr Field kLostCache{"lost_cache", 231, 1};
inline constexpr Field kBootId{"boot_id", 232, 8};
inline constexpr Field kAckedAhead{"acked_ahead", 240, 1};
inline constexpr Field kResyncActive{"resync_active", 228, 1};
inline constexpr Field kResyncFrom{"resync_from", 229, 1};
inline constexpr Field kResolution{"resolution", 230, 1};
inline constexpr std::uint32_t kPeerSize = 64;
inline constexpr std::uint32_t kGenerationSize = 32;
inline constexpr Field kPeers{"peers", 256, kNodeCountMax * kPeerSize};
inline constexpr Field kGenerations{"generations", 768, (kHistoryMax + 1) * kGenerationSize};
inline constexpr std::uint32_t kPeerSessionSize = 32;
inline constexpr Field kPeerSessions{"peer_sessions", 1824, kNodeCountMax * kPeerSessionSize};
inline constexpr std::array kSuperblock{
    kRequiredFeatures, kReadOnlyFeatures, kCompatibleFeatures, kGroupId,          kMirrorId,
    kIdentity,         kIncarnation,      kSize,               kRegionSize,       kLogicalBlockSize,
    kHotExtents,       kGenerationCount,  kTermSeen,           kTermOwn,          kSequenceLimit,
    kStableSequence,   kAttachCount,      kResolutionAgainst,  kResyncGeneration, kResyncCursor,
    kDiskIdentity,     kDiskSampleHash,   kNode,               kDiskState,        kWasSource,
    kClean,            kResyncActive,     kResyncFrom,         kResolution,       kLostCache,
    kBootId,           kAckedAhead,       Field{"reserved", 241, 15},
    kPeers,            kGenerations,      kPeerSessions, Field{"reserved", 2080, 2016}};

// One element of `peers`.
inline constexpr Field kPeerIdentity{"identity", 0, 8};
inline constexpr Field kPeerIncarnation{"incarnation", 8, 8};
inline constexpr Field kPeerBaseGeneration{"base_generation", 16, 8};
inline constexpr Field kPeerStableSequence{"stable_sequence", 32, 8};
inline constexpr Field kPeerData{"data", 40, 1};
inline constexpr Field kPeerNeedsFull{"needs_full", 41, 1};
inline constexpr std::array kPeer{kPeerIdentity,
                                  kPeerIncarnation,
                                  kPeerBaseGeneration,
                                  Field{"reserved", 24, 8},
                                  kPeerStableSequence,
                                  kPeerData,
                                  kPeerNeedsFull,
                                  Field{"reserved", 42, 22}};

// One element of `peer_sessions`, by slot: {0, 0} where no session was held, or by a version without them.
inline constexpr Field kSessionCount{"count", 0, 8};
inline constexpr Field kSessionId{"id", 8, 8};
inline constexpr Field kSessionCommonCount{"common_count", 16, 8};
inline constexpr Field kSessionCommonId{"common_id", 24, 8};
inline constexpr std::array kPeerSession{kSessionCount, kSessionId, kSessionCommonCount, kSessionCommonId};

// One element of `generations`.
inline constexpr Field kGenerationId{"id", 0, 8};
inline constexpr Field kGenerationParent{"parent", 8, 8};
inline constexpr Field kGenerationFirst{"first_sequence", 16, 8};
inline constexpr Field kGenerationCause{"cause", 24, 1};
inline constexpr std::array kGeneration{kGenerationId, kGenerationParent, kGenerationFirst, kGenerationCause,
                                        Field{"reserved", 25, 7}};

// Intent record (the header's sequence is its log sequence).
inline constexpr std::uint32_t kHotSize = 4;
inline constexpr std::uint32_t kReliedSize = 12;
inline constexpr Field kHotCount{"hot_count", 64, 4};
inline constexpr Field kReliedCount{"relied_count", 68, 4};
inline constexpr Field kHot{"hot", 128, kHotExtentsMax * kHotSize};
inline constexpr Field kReliedArray{"relied", 3200, kReliedPagesMax * kReliedSize};
inline constexpr std::array kIntent{kHotCount, kReliedCount, Field{"reserved", 72, 56}, kHot, kReliedArray,
                                    Field{"reserved", 3968, 128}};

// One element of `relied`.
inline constexpr Field kReliedSequence{"sequence", 0, 8};
inline constexpr Field kReliedPage{"page", 8, 4};
inline constexpr std::array kRelied{kReliedSequence, kReliedPage};

// Bitmap page (the header's sequence is the page's).
inline constexpr Field kBits{"bits", 64, kBlockPayloadSize};
inline constexpr std::array kPage{kBits};

// True if the fields cover [begin, end) one after the other.
consteval bool covers(std::span<const Field> fields, std::uint32_t begin, std::uint32_t end) {
  for (const Field& f : fields) {
    if (f.offset != begin || f.size == 0) return false;
    begin += f.size;
  }
  return begin == end;
}
static_assert(covers(kHeader, 0, kBlockHeaderSize));
static_assert(covers(kSuperblock, kBlockHeaderSize, kBlockSize));
static_assert(covers(kPeer, 0, kPeerSize));
static_assert(covers(kPeerSession, 0, kPeerSessionSize));
static_assert(covers(kGeneration, 0, kGenerationSize));
static_assert(covers(kIntent, kBlockHeaderSize, kBlockSize));
static_assert(covers(kRelied, 0, kReliedSize));
static_assert(covers(kPage, kBlockHeaderSize, kBlockSize));
static_assert(kPageBits == std::uint64_t{kBits.size} * 8);

}  // namespace twinblock::bitmap::layout
