// One bit per region: "this peer may differ from me here". Kept wholly in memory (2 MiB per TiB and peer at
// 64 KiB regions); bitmap pages are its durable image. Above the words lies a summary, one bit per word
// that is not zero, so that a search through a clean terabyte reads 32 KiB instead of 2 MiB.
#pragma once

#include <cstddef>
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
  // REQUIRES: the region lies inside the map.
  [[nodiscard]] bool test(RegionIndex region) const;
  // True if any region of the run is dirty. REQUIRES: the run lies inside the map.
  [[nodiscard]] bool any(RegionRun run) const;

  // Return how many regions changed. REQUIRES: the run lies inside the map.
  std::uint64_t set(RegionRun run);
  std::uint64_t clear(RegionRun run);
  void set_all();
  void clear_all();
  // Union with another map. REQUIRES: the same size.
  void merge(const DirtyMap& other);

  // First dirty run at or after `from`, at most `count_max` long. O(words / 64 + length of the run / 64).
  // nullopt: none up to the end. REQUIRES: count_max > 0.
  [[nodiscard]] std::optional<RegionRun> next_dirty(RegionIndex from, std::uint64_t count_max) const;

  // Bits as 64-bit words, region r at bit r % 64 of word r / 64; unused bits of the last word are zero.
  [[nodiscard]] std::span<const std::uint64_t> words() const { return words_; }
  // ORs raw bytes (little-endian bit order) received or read into the map starting at `first`
  // (REQUIRES: first is a multiple of 8); bits beyond the end are ignored.
  void merge_bytes(RegionIndex first, std::span<const std::byte> bytes);
  // Copies bits [first, first + 8 * out.size()) as bytes; bits beyond the end are zero.
  // REQUIRES: first is a multiple of 8.
  void copy_bytes(RegionIndex first, std::span<std::byte> out) const;

  friend bool operator==(const DirtyMap&, const DirtyMap&) = default;

 private:
  // Replaces one word and keeps count and summary true. Invariant: dirty_count_ is the number of set bits,
  // bit w % 64 of summary_[w / 64] is set exactly when words_[w] is not zero.
  void store(std::uint64_t word, std::uint64_t bits);
  // Bits of `word` that lie inside the map.
  [[nodiscard]] std::uint64_t valid_bits(std::uint64_t word) const;
  // First word at or after `word` that is not zero; words_.size() if none.
  [[nodiscard]] std::uint64_t next_nonzero_word(std::uint64_t word) const;
  void require_inside(RegionRun run) const;

  std::uint64_t region_count_;
  std::uint64_t dirty_count_ = 0;
  std::vector<std::uint64_t> words_;
  std::vector<std::uint64_t> summary_;
};

}  // namespace twinblock::bitmap
