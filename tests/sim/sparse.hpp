// An array over all sectors of a device of which only a few hot spots are ever touched: chunks of 64 KiB of
// device appear at the first write. An absent chunk reads as a default value.
#pragma once

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
  void clear() {
    for (auto& chunk : chunks_) chunk.reset();
  }

 private:
  using Chunk = std::array<T, kChunkSectors>;
  std::vector<std::unique_ptr<Chunk>> chunks_;
};

}  // namespace twinblock::sim
