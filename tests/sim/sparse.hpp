// An array over all sectors of a device of which only a few hot spots are ever touched: chunks of 64 KiB of
// device appear at the first write. An absent chunk reads as a default value.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <vector>

namespace twinblock::sim {

inline constexpr std::uint32_t kSectorBytes = 512;
inline constexpr std::uint32_t kChunkSectors = 128;

template <class T>
class Sparse {
 public:
  explicit Sparse(std::uint32_t sectors) : chunks_((sectors + kChunkSectors - 1) / kChunkSectors) {}

  [[nodiscard]] const T& get(std::uint32_t sector) const {
    static constexpr T kAbsent{};
    const Chunk* chunk = chunks_[sector / kChunkSectors].get();
    return chunk == nullptr ? kAbsent : (*chunk)[sector % kChunkSectors];
  }
  [[nodiscard]] T& at(std::uint32_t sector) {
    std::unique_ptr<Chunk>& chunk = chunks_[sector / kChunkSectors];
    if (!chunk) chunk = std::make_unique<Chunk>();
    return (*chunk)[sector % kChunkSectors];
  }
  // nullptr: the sector lies in an absent chunk. The rest of its chunk follows it (for_each_part).
  [[nodiscard]] T* find(std::uint32_t sector) {
    Chunk* chunk = chunks_[sector / kChunkSectors].get();
    return chunk == nullptr ? nullptr : &(*chunk)[sector % kChunkSectors];
  }
  [[nodiscard]] const T* find(std::uint32_t sector) const {
    const Chunk* chunk = chunks_[sector / kChunkSectors].get();
    return chunk == nullptr ? nullptr : &(*chunk)[sector % kChunkSectors];
  }
  [[nodiscard]] std::uint32_t chunk_count() const { return static_cast<std::uint32_t>(chunks_.size()); }
  [[nodiscard]] bool has_chunk(std::uint32_t chunk) const { return chunks_[chunk] != nullptr; }

  // visit(sector, T&) over all sectors of present chunks, ascending.
  template <class Visit>
  void for_each(Visit&& visit) {
    for (std::uint32_t c = 0; c < chunks_.size(); ++c) {
      if (!chunks_[c]) continue;
      for (std::uint32_t i = 0; i < kChunkSectors; ++i) visit(c * kChunkSectors + i, (*chunks_[c])[i]);
    }
  }
  // kChunkSectors values; those of an absent chunk are default values.
  [[nodiscard]] const T* chunk(std::uint32_t c) const {
    static constexpr Chunk kAbsent{};
    return chunks_[c] ? chunks_[c]->data() : kAbsent.data();
  }
  void clear() {
    for (auto& chunk : chunks_) chunk.reset();
  }

 private:
  using Chunk = std::array<T, kChunkSectors>;
  std::vector<std::unique_ptr<Chunk>> chunks_;
};

// visit(sector, count) for the parts of a run that lie in one chunk each, ascending.
template <class Visit>
void for_each_part(std::uint32_t first, std::uint32_t count, Visit&& visit) {
  while (count > 0) {
    const std::uint32_t n = std::min(count, kChunkSectors - first % kChunkSectors);
    visit(first, n);
    first += n;
    count -= n;
  }
}

// visit(sector, const A&, const B&) over all sectors of chunks present in one of them, ascending.
// REQUIRES: equal sizes.
template <class A, class B, class Visit>
void for_each_pair(const Sparse<A>& a, const Sparse<B>& b, Visit&& visit) {
  for (std::uint32_t c = 0; c < a.chunk_count(); ++c) {
    if (!a.has_chunk(c) && !b.has_chunk(c)) continue;
    const A* x = a.chunk(c);
    const B* y = b.chunk(c);
    for (std::uint32_t i = 0; i < kChunkSectors; ++i) visit(c * kChunkSectors + i, x[i], y[i]);
  }
}

}  // namespace twinblock::sim
