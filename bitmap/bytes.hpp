// Little-endian numbers at the positions that layout.hpp names.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>

#include "base/assert.hpp"
#include "bitmap/codec.hpp"
#include "bitmap/layout.hpp"
#include "bitmap/little_endian.hpp"

namespace twinblock::bitmap {

// With a constant field the assertions fold away. REQUIRES: the field ends inside the block; `base` is the
// offset of the array element the field belongs to.
template <std::unsigned_integral T>
inline void put(Block out, const layout::Field& field, T value, std::uint32_t base = 0) {
  TB_ASSERT(field.size == sizeof(T) && base + field.offset + sizeof(T) <= kBlockSize);
  store_le(out.data() + base + field.offset, value);
}

template <std::unsigned_integral T>
[[nodiscard]] inline T get(ConstBlock in, const layout::Field& field, std::uint32_t base = 0) {
  TB_ASSERT(field.size == sizeof(T) && base + field.offset + sizeof(T) <= kBlockSize);
  return load_le<T>(in.data() + base + field.offset);
}

}  // namespace twinblock::bitmap
