// Metadata as an attacker or a dying disk might present it. The first byte chooses: raw bytes as an area, or
// patches {offset, value} onto a good area whose checksums are then made good, so that the content checks
// behind the checksum are reached.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "base/assert.hpp"
#include "bitmap/codec.hpp"

namespace {

namespace bitmap = twinblock::bitmap;

std::vector<std::byte> good_area() {
  bitmap::Superblock sb;
  sb.area_id = 0x1234;
  sb.geometry.size = twinblock::ByteCount{64u << 20};
  sb.peers[1].identity = 5;
  sb.push_generation(twinblock::GenerationId{7}, twinblock::SequenceNumber{1},
                     bitmap::GenerationCause::created);
  return bitmap::format_area(sb, 0);
}

void check(std::span<const std::byte> area) {
  static_cast<void>(bitmap::dump_area(area));
  const auto peeked = bitmap::peek(area);
  const auto r = bitmap::recover(area);
  if (!r) return;
  const bitmap::Geometry& g = r->superblock.geometry;
  TB_ASSERT(peeked.has_value() && *peeked == r->superblock);
  TB_ASSERT(g.validate().has_value());
  TB_ASSERT(area.size() >= g.area_size().value());
  TB_ASSERT(r->hot.size() <= bitmap::kHotExtentsMax);
  for (const auto extent : r->hot) TB_ASSERT(extent.value() < g.extent_count());
  TB_ASSERT(r->page_sequences.size() == g.page_count());
  for (const auto& map : r->dirty) TB_ASSERT(!map || map->region_count() == g.region_count());
  // What was accepted can be written again and is then the same.
  std::vector<std::byte> again(area.begin(), area.end());
  for (int copy = 0; copy < 2; ++copy) {
    const auto out = std::span{again}.subspan(static_cast<std::size_t>(copy) * bitmap::kBlockSize);
    bitmap::encode_superblock(r->superblock, r->superblock_sequence, copy, out.first<bitmap::kBlockSize>());
  }
  const auto back = bitmap::peek(again);
  TB_ASSERT(back.has_value() && *back == r->superblock);
}

void patched(std::span<const std::uint8_t> patches) {
  static const std::vector<std::byte> good = good_area();
  std::vector<std::byte> area = good;
  for (; patches.size() >= 4; patches = patches.subspan(4)) {
    const std::size_t at = patches[0] + 256u * patches[1] + 65536u * patches[2];
    area[at % area.size()] = static_cast<std::byte>(patches[3]);
    const std::size_t block = at % area.size() / bitmap::kBlockSize * bitmap::kBlockSize;
    bitmap::seal_block(std::span{area}.subspan(block).first<bitmap::kBlockSize>());
  }
  check(area);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::span<const std::uint8_t> rest{data + 1, size - 1};
  if (data[0] % 2 == 0) {
    patched(rest);
  } else {
    check(std::as_bytes(rest));
  }
  return 0;
}
