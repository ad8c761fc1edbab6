// Big-endian loads, and a writer into a caller's buffer. The writer asserts its bound: every size written
// here is ours, never a client's.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "base/assert.hpp"

namespace twinblock::nbd {

// REQUIRES: `at + sizeof(T) <= bytes.size()`.
template <std::unsigned_integral T>
[[nodiscard]] constexpr T load_be(std::span<const std::byte> bytes, std::size_t at) {
  TB_ASSERT(at <= bytes.size() && bytes.size() - at >= sizeof(T));
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    value = value << 8 | std::to_integer<std::uint64_t>(bytes[at + i]);
  return static_cast<T>(value);
}

[[nodiscard]] inline std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class ByteWriter {
 public:
  explicit ByteWriter(std::span<std::byte> out) noexcept : out_{out} {}

  void u16(std::uint16_t v) { put(v); }
  void u32(std::uint32_t v) { put(v); }
  void u64(std::uint64_t v) { put(v); }
  void zeroes(std::size_t count) {
    reserve(count);
    std::memset(out_.data() + size_, 0, count);
    size_ += count;
  }
  void text(std::string_view v) {
    reserve(v.size());
    if (!v.empty()) std::memcpy(out_.data() + size_, v.data(), v.size());
    size_ += v.size();
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t room() const noexcept { return out_.size() - size_; }

 private:
  template <std::unsigned_integral T>
  void put(T v) {
    reserve(sizeof v);
    for (std::size_t i = 0; i < sizeof v; ++i) {
      out_[size_ + i] = static_cast<std::byte>(v >> (8 * (sizeof v - 1 - i)) & 0xff);
    }
    size_ += sizeof v;
  }
  void reserve(std::size_t count) { TB_ASSERT(count <= room()); }

  std::span<std::byte> out_;
  std::size_t size_ = 0;
};

}  // namespace twinblock::nbd
