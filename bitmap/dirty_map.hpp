// One bit per region: "this peer may differ from me here". Kept wholly in memory (2 MiB per TiB and peer at
// 64 KiB regions); bitmap pages are its durable image.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/units.hpp"
#include "bitmap/geometry.hpp"

namespace twinblock::bitmap {

struct RegionRun {                 // half-open [first, first + count)
  RegionIndex first;
  std::uint64_t count = 0;
  friend bool operator==(const RegionRun&, const RegionRun&) = default;
};

class DirtyMap {
 public:
  explicit DirtyMap(std::uint64_t region_count);

  [[nodiscard]] std::uint64_t region_count() const { return region_count_; }
  [[nodiscard]] std::uint64_t dirty_count() const { return dirty_count_; }
  [[nodiscard]] bool test(RegionIndex region) const;
  // True if any region of the run is dirty.
  [[nodiscard]] bool any(RegionRun run) const;

  // Return how many regions changed. REQUIRES: the run lies inside the map.
  std::uint64_t set(RegionRun run);
  std::uint64_t clear(RegionRun run);
  void set_all();
  void clear_all();
  // Union with another map of the same size.
  void merge(const DirtyMap& other);

  // First dirty run at or after `from`, at most `count_max` long. O(words). nullopt: none up to the end.
  [[nodiscard]] std::optional<RegionRun> next_dirty(RegionIndex from, std::uint64_t count_max) const;

  // Bits as 64-bit words, region r at bit r % 64 of word r / 64; unused bits of the last word are zero.
  [[nodiscard]] std::span<const std::uint64_t> words() const { return words_; }
  // ORs raw bytes (little-endian bit order) received or read into the map starting at `first`
  // (REQUIRES: first is a multiple of 8); bits beyond the end are ignored.
  void merge_bytes(RegionIndex first, std::span<const std::byte> bytes);
  // Copies bits [first, first + 8 * out.size()) as bytes; bits beyond the end are zero. first % 8 == 0.
  void copy_bytes(RegionIndex first, std::span<std::byte> out) const;

 private:
  std::uint64_t region_count_;
  std::uint64_t dirty_count_ = 0;
  std::vector<std::uint64_t> words_;
};

}  // namespace twinblock::bitmap
