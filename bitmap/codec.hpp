// Metadata blocks to bytes and back: pure functions, every byte validated. Each block carries a 64-byte
// header {checksum, magic, type, version, area id, block number, sequence}; the checksum is XXH3-64 over
// the other 4088 bytes, so that content, address and sequence are all covered.
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

// `sequence` counts superblock updates; both copies of one update carry the same one.
void encode_superblock(const Superblock&, std::uint64_t sequence, int copy, Block out);

// One intent record: the *complete* set of hot extents, so that the newest good record alone says what a
// crash may have left unequal, and the sequences of the bitmap pages that dropped extents rely on.
struct ReliedPage {
  PageIndex page;
  std::uint64_t sequence = 0;   // the page on disk must have at least this one
};
struct IntentRecord {
  std::uint64_t log_sequence = 0;              // from 1; its place in the ring follows from it
  std::span<const ExtentIndex> hot;            // <= kHotExtentsMax
  std::span<const ReliedPage> relied;          // <= kReliedPagesMax
};
// Both adjacent blocks of the record (8 KiB, one write).
void encode_intent_record(const IntentRecord&, const Superblock&, std::span<std::byte, 2 * kBlockSize> out);

// Page `page` of the bitmap; its bits come from `map` (the dirty map of the page's slot).
void encode_page(PageIndex page, std::uint64_t sequence, const DirtyMap& map, const Superblock&, Block out);

// What a look at the whole area yields. The rules (P11):
//  - superblock: the good copy with the higher sequence; none good but our magic seen: superblocks_bad;
//  - intent log: the newest good record holds. A record neither of whose copies is good is a torn newest
//    write if it is the next in order after the newest good one; anywhere else all extents are hot;
//  - a page that is bad, of another area or address, or older than what a good record relies on: all of its
//    regions are dirty; a good page newer than relied on is fine.
struct Recovered {
  Superblock superblock;
  std::uint64_t superblock_sequence = 0;
  int superblock_good_copies = 0;
  bool all_hot = false;
  std::vector<ExtentIndex> hot;
  std::uint64_t log_sequence = 0;                       // newest good record
  std::array<std::optional<DirtyMap>, kNodeCountMax> dirty;   // by slot; only slots whose peer record is in use
  std::vector<std::uint64_t> page_sequences;            // by PageIndex; 0 for bad pages
  std::uint32_t bad_pages = 0;
  std::uint32_t bad_log_records = 0;
};

// REQUIRES: area is a multiple of kBlockSize. Errors: errc::*.
Result<Recovered> recover(std::span<const std::byte> area);

// Geometry and identity from one good superblock copy in the first two blocks, to learn the area's size.
Result<Superblock> peek(std::span<const std::byte> first_two_blocks);

// A whole new area (superblocks, one empty intent record, all pages clean or all dirty for `dirty_slots`).
std::vector<std::byte> format_area(const Superblock&, std::uint8_t dirty_slots);

// Readable text of an area for `metadata dump`; says what is bad and never fails.
std::string dump_area(std::span<const std::byte> area);

}  // namespace twinblock::bitmap
