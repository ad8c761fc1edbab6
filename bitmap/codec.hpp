// Metadata blocks to bytes and back: pure functions, every byte validated. Each block carries a 64-byte
// header {checksum, magic, type, version, area id, block number, sequence}; the checksum is XXH3-64 over
// the other 4088 bytes, so that content, address and sequence are all covered. Byte tables: layout.hpp and
// docs/internals/disk_format.md. The encode functions neither allocate nor fail.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bitmap/dirty_map.hpp"
#include "bitmap/geometry.hpp"
#include "bitmap/superblock.hpp"

namespace twinblock::bitmap {

using Block = std::span<std::byte, kBlockSize>;
using ConstBlock = std::span<const std::byte, kBlockSize>;

enum class BlockType : std::uint32_t { superblock = 1, intent = 2, page = 3 };

struct DecodedBlockInfo {
  BlockType type = BlockType::superblock;
  std::uint32_t version = 0;
  std::uint64_t area_id = 0;
  BlockIndex block;
  std::uint64_t sequence = 0;
};

// Whether `block`, read at `at`, is a good block of its area: magic, checksum, version, address, area, a type
// that belongs there, enum values and counts. Errors: errc::block_*. area_id 0 accepts any area.
[[nodiscard]] Result<DecodedBlockInfo> check_block(ConstBlock block, BlockIndex at, std::uint64_t area_id);

// Writes the checksum of a block whose other bytes are final.
void seal_block(Block block);

// `sequence` counts superblock updates; both copies of one update carry the same one.
// REQUIRES: copy 0 or 1, sequence > 0, area_id != 0, generation_count <= kHistoryMax + 1.
void encode_superblock(const Superblock&, std::uint64_t sequence, int copy, Block out);

// One intent record: the *complete* set of hot extents, so that the newest good record alone says what a
// crash may have left unequal, and the sequences of the bitmap pages that dropped extents rely on.
struct ReliedPage {
  PageIndex page;
  std::uint64_t sequence = 0;   // the page on disk must have at least this one
};
struct IntentRecord {
  // From 1, without gaps; its place in the ring follows from it. REQUIRES: the record before this one is
  // durable when this one is submitted, since recovery takes only one record for torn.
  std::uint64_t log_sequence = 0;
  std::span<const ExtentIndex> hot;            // <= kHotExtentsMax
  std::span<const ReliedPage> relied;          // <= kReliedPagesMax
};
// Both adjacent blocks of the record (8 KiB, one write).
void encode_intent_record(const IntentRecord&, const Superblock&,
                          std::span<std::byte, std::size_t{2} * kBlockSize> out);

// Page `page` of the bitmap; its bits come from `map` (the dirty map of the page's slot).
// REQUIRES: sequence greater than every earlier one of this page (Recovered::page_sequences goes on).
void encode_page(PageIndex page, std::uint64_t sequence, const DirtyMap& map, const Superblock&, Block out);

// What a look at the whole area yields. The rules (P11):
//  - superblock: the good copy with the higher sequence; none good but our magic seen anywhere, two good
//    copies that contradict each other (two areas, or one sequence with two contents), or a copy to which no
//    other good block belongs: superblocks_bad;
//  - intent log: the newest good record holds. A record neither of whose copies is good is a torn newest
//    write if it is the next in order after the newest good one; anywhere else all extents are hot;
//  - a page that is bad, of another area or address, or older than what a good record relies on: all of its
//    regions are dirty; a good page newer than relied on is fine.
// Durability: what was read may still sit in a volatile cache. The first update after recovery rewrites both
// superblock copies before anything is built on it.
struct Recovered {
  Superblock superblock;
  std::uint64_t superblock_sequence = 0;
  int superblock_good_copies = 0;                       // that hold this very update: 2, or 1 after a crash
  bool read_only = false;                               // unknown read-only feature: look, never write
  bool all_hot = false;
  std::vector<ExtentIndex> hot;                         // of the newest good record, in its order
  std::uint64_t log_sequence = 0;                       // newest good record; the next one is this + 1
  std::array<std::optional<DirtyMap>, kNodeCountMax> dirty;   // by slot; only slots whose peer record is in
                                                              // use (identity != 0); needs_full: all dirty
  // By PageIndex: the sequence of a good page; for a bad or stale one the highest that a record relies on
  // plus 2^32, above all that it may have reached. The next write of the page carries a higher one.
  std::vector<std::uint64_t> page_sequences;
  std::uint32_t bad_pages = 0;                          // of all slots, stale ones included
  std::uint32_t bad_log_records = 0;                    // without a torn newest one
  bool torn_newest = false;                             // the record after `log_sequence` is unreadable
};

// Errors: no_metadata, superblocks_bad, newer_format, bad_geometry. An area longer than its geometry needs is
// fine (a device); a shorter one is bad_geometry. Bytes beyond the last whole block are not looked at.
Result<Recovered> recover(std::span<const std::byte> area);

// Geometry and identity from one good superblock copy in the first two blocks, to learn the area's size.
// Given more blocks, it tells a wiped superblock pair (superblocks_bad) from no_metadata better.
Result<Superblock> peek(std::span<const std::byte> first_two_blocks);

// A whole new area (superblocks, one empty intent record, all pages clean or all dirty for `dirty_slots`).
// Superblock, log and pages begin with sequence 1. REQUIRES: a valid geometry. Durability: zero blocks 0
// and 1, flush; write blocks 2 and up, flush; write blocks 0 and 1, flush: a torn creation has no superblock.
std::vector<std::byte> format_area(const Superblock&, std::uint8_t dirty_slots);

// Readable text of an area for `metadata dump`; says what is bad and never fails.
std::string dump_area(std::span<const std::byte> area);

}  // namespace twinblock::bitmap
