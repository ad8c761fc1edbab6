// Where everything lies in the metadata area. All positions are 4 KiB blocks from the start of the area:
//
//   block 0, 1                superblock copies A and B
//   block 2 .. 2 + 2 R        intent log: ring of R records, each written twice in two adjacent blocks
//   then 8 x P                bitmap pages, P per peer slot (node index); one bit per region
//
// A bitmap page holds kPageBits bits after its 64-byte block header.
#pragma once

#include <cstdint>

#include "base/units.hpp"
#include "bitmap/error.hpp"

namespace twinblock::bitmap {

inline constexpr std::uint32_t kBlockSize = 4096;
inline constexpr std::uint32_t kBlockHeaderSize = 64;
inline constexpr std::uint32_t kBlockPayloadSize = kBlockSize - kBlockHeaderSize;
inline constexpr std::uint64_t kPageBits = std::uint64_t{kBlockPayloadSize} * 8;   // 32256 regions
inline constexpr std::uint32_t kIntentRecords = 32;        // R
inline constexpr std::uint32_t kHotExtentsMax = 768;       // what one record can name
inline constexpr std::uint32_t kHotExtentsMin = 8;
inline constexpr std::uint32_t kReliedPagesMax = 64;       // page sequences one record can carry
inline constexpr std::uint32_t kHistoryMax = 32;           // past generations
// Of superblock updates, intent records and pages; a higher one on disk is damage, and so no increment wraps.
inline constexpr std::uint64_t kBlockSequenceMax = std::uint64_t{1} << 62;

using BlockIndex = Quantity<struct BlockIndexTag>;
using PageIndex = Quantity<struct PageIndexTag, std::uint32_t>;   // slot * P + page within the slot

struct Geometry {
  ByteCount size;                        // agreed size of the mirror; a multiple of logical_block_size
  std::uint32_t region_size = 64 << 10;  // power of two, 4 KiB to 1 MiB
  std::uint32_t logical_block_size = 512;
  std::uint32_t hot_extents = 256;       // bound of the intent log

  friend bool operator==(const Geometry&, const Geometry&) = default;

  [[nodiscard]] std::uint64_t region_count() const { return (size.value() + region_size - 1) / region_size; }
  [[nodiscard]] std::uint64_t extent_count() const {
    return (size.value() + kExtentSize.value() - 1) / kExtentSize.value();
  }
  [[nodiscard]] std::uint32_t regions_per_extent() const {
    return static_cast<std::uint32_t>(kExtentSize.value() / region_size);
  }
  [[nodiscard]] std::uint32_t pages_per_slot() const {
    return static_cast<std::uint32_t>((region_count() + kPageBits - 1) / kPageBits);
  }
  [[nodiscard]] std::uint32_t page_count() const { return pages_per_slot() * kNodeCountMax; }

  [[nodiscard]] BlockIndex superblock(int copy) const { return BlockIndex{static_cast<std::uint64_t>(copy)}; }
  // First of the two adjacent blocks of the record with this log sequence number.
  [[nodiscard]] BlockIndex intent_record(std::uint64_t log_sequence) const {
    return BlockIndex{2 + 2 * (log_sequence % kIntentRecords)};
  }
  [[nodiscard]] BlockIndex page(PageIndex p) const { return BlockIndex{2 + 2 * kIntentRecords + p.value()}; }
  [[nodiscard]] std::uint64_t block_count() const { return 2 + 2 * kIntentRecords + page_count(); }
  [[nodiscard]] ByteCount area_size() const { return ByteCount{block_count() * kBlockSize}; }

  [[nodiscard]] RegionIndex region_of(ByteOffset o) const { return RegionIndex{o.value() / region_size}; }
  [[nodiscard]] ExtentIndex extent_of(ByteOffset o) const {
    return ExtentIndex{static_cast<std::uint32_t>(o.value() / kExtentSize.value())};
  }
  [[nodiscard]] PageIndex page_of(NodeIndex slot, RegionIndex r) const {
    return PageIndex{slot.value() * pages_per_slot() + static_cast<std::uint32_t>(r.value() / kPageBits)};
  }

  // errc::bad_geometry when a limit is broken: size 0, above 2^54, or no multiple of the logical block;
  // region size no power of two in 4 KiB..1 MiB; logical block not 512 or 4096; hot_extents not 8..768.
  [[nodiscard]] Result<void> validate() const;
};

}  // namespace twinblock::bitmap
