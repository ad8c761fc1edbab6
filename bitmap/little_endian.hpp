// Little-endian numbers at unaligned addresses.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace twinblock::bitmap {

// On a little-endian machine one load or store; g++ 12 at -O2 does not merge a loop over the bytes.
template <std::unsigned_integral T>
inline void store_le(std::byte* to, T value) {
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(to, &value, sizeof value);
  } else {
    for (std::size_t i = 0; i < sizeof(T); ++i) to[i] = static_cast<std::byte>(value >> (8 * i) & 0xff);
  }
}

template <std::unsigned_integral T>
[[nodiscard]] inline T load_le(const std::byte* from) {
  if constexpr (std::endian::native == std::endian::little) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
  } else {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) value |= std::to_integer<std::uint64_t>(from[i]) << (8 * i);
    return static_cast<T>(value);
  }
}

}  // namespace twinblock::bitmap
