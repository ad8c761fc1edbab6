// Single metadata blocks from bytes. Everything here came from a disk: nothing is asserted, all is checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "bitmap/bytes.hpp"
#include "bitmap/codec.hpp"
#include "bitmap/layout.hpp"

namespace twinblock::bitmap {

// An element of the array `hot`.
inline constexpr layout::Field kHotElement{"hot", 0, layout::kHotSize};

// XXH3-64 over everything but the checksum itself.
[[nodiscard]] std::uint64_t block_checksum(ConstBlock block);

// REQUIRES: the block lies inside the area.
[[nodiscard]] Block mutable_block_at(std::span<std::byte> area, BlockIndex index);
[[nodiscard]] ConstBlock block_at(std::span<const std::byte> area, BlockIndex index);
[[nodiscard]] bool has_magic(ConstBlock block);

// The regions whose bits the page holds.
[[nodiscard]] RegionRun page_regions(const Geometry& geometry, PageIndex page);

// A superblock that passed checksum, address and enum checks. Its geometry is not validated yet. Unknown
// required features or a newer version: newer_format, with `sequence` filled so that the copies compare.
struct SuperblockCopy {
  ErrorCode error;             // success, newer_format, or errc::block_*
  std::uint64_t sequence = 0;  // valid with success and newer_format
  Superblock superblock;       // valid with success
};
[[nodiscard]] SuperblockCopy decode_superblock(ConstBlock block, BlockIndex at);

// A checked intent record; reads its arrays from the block, which must outlive it.
class IntentView {
 public:
  IntentView(ConstBlock block, std::uint64_t log_sequence) : block_{block}, log_sequence_{log_sequence} {}
  [[nodiscard]] std::uint64_t log_sequence() const { return log_sequence_; }
  [[nodiscard]] std::uint32_t hot_count() const { return get<std::uint32_t>(block_, layout::kHotCount); }
  [[nodiscard]] std::uint32_t relied_count() const {
    return get<std::uint32_t>(block_, layout::kReliedCount);
  }
  // REQUIRES: i < hot_count().
  [[nodiscard]] ExtentIndex hot(std::uint32_t i) const {
    return ExtentIndex{get<std::uint32_t>(block_, kHotElement, layout::kHot.offset + i * layout::kHotSize)};
  }
  // REQUIRES: i < relied_count().
  [[nodiscard]] ReliedPage relied(std::uint32_t i) const {
    const std::uint32_t base = layout::kReliedArray.offset + i * layout::kReliedSize;
    return {.page = PageIndex{get<std::uint32_t>(block_, layout::kReliedPage, base)},
            .sequence = get<std::uint64_t>(block_, layout::kReliedSequence, base)};
  }
  // The same record but for the block's own address.
  [[nodiscard]] bool same_content(const IntentView& other) const;

 private:
  ConstBlock block_;
  std::uint64_t log_sequence_;
};
// check_block plus: the record belongs to this place of the ring, and its indices lie inside the geometry.
[[nodiscard]] Result<IntentView> decode_intent(ConstBlock block, BlockIndex at, const Superblock& superblock);

// Sequence of a good page.
[[nodiscard]] Result<std::uint64_t> decode_page(ConstBlock block, PageIndex page,
                                                const Superblock& superblock);

}  // namespace twinblock::bitmap
