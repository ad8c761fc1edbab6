#include "bitmap/geometry.hpp"

#include <bit>

namespace twinblock::bitmap {
namespace {

constexpr std::uint64_t kSizeMax = std::uint64_t{1} << 54;  // 16 PiB
constexpr std::uint32_t kRegionSizeMin = 4u << 10;
constexpr std::uint32_t kRegionSizeMax = 1u << 20;

// The largest mirror with the smallest regions must still fit the index types.
static_assert(kSizeMax / kExtentSize.value() - 1 <= UINT32_MAX);
static_assert((kSizeMax / kRegionSizeMin / kPageBits + 1) * kNodeCountMax <= UINT32_MAX);
static_assert(kExtentSize.value() % kRegionSizeMax == 0);
static_assert(kPageBits % 64 == 0, "a page begins at a whole word of the dirty map");

}  // namespace

Result<void> Geometry::validate() const {
  if (logical_block_size != 512 && logical_block_size != 4096) return errc::bad_geometry;
  if (size.value() == 0 || size.value() > kSizeMax) return errc::bad_geometry;
  if (size.value() % logical_block_size != 0) return errc::bad_geometry;
  if (!std::has_single_bit(region_size)) return errc::bad_geometry;
  if (region_size < kRegionSizeMin || region_size > kRegionSizeMax) return errc::bad_geometry;
  if (hot_extents < kHotExtentsMin || hot_extents > kHotExtentsMax) return errc::bad_geometry;
  return {};
}

}  // namespace twinblock::bitmap
