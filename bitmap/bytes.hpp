// Little-endian numbers at the positions that layout.hpp names.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>

#include "base/assert.hpp"
#include "bitmap/codec.hpp"
#include "bitmap/layout.hpp"

namespace twinblock::bitmap {

// With a constant field the assertions fold away and the loop becomes one store. REQUIRES: the field ends
// inside the block; `base` is the offset of the array element the field belongs to.
template <std::unsigned_integral T>
inline void put(Block out, const layout::Field& field, T value, std::uint32_t base = 0) {
  TB_ASSERT(field.size == sizeof(T) && base + field.offset + sizeof(T) <= kBlockSize);
  std::byte* to = out.data() + base + field.offset;
  for (std::size_t i = 0; i < sizeof(T); ++i) to[i] = static_cast<std::byte>(value >> (8 * i) & 0xff);
}

template <std::unsigned_integral T>
[[nodiscard]] inline T get(ConstBlock in, const layout::Field& field, std::uint32_t base = 0) {
  TB_ASSERT(field.size == sizeof(T) && base + field.offset + sizeof(T) <= kBlockSize);
  const std::byte* from = in.data() + base + field.offset;
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) value |= std::to_integer<std::uint64_t>(from[i]) << (8 * i);
  return static_cast<T>(value);
}

}  // namespace twinblock::bitmap
