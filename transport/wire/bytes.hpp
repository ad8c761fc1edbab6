// Little-endian numbers in byte spans, and the two cursors that walk a message body. The writer asserts its
// bound, because every size it writes is ours; the reader turns sticky-bad, because every size it reads is
// the peer's.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/assert.hpp"

namespace twinblock::wire {

// REQUIRES: `from` points to sizeof(T) bytes.
template <std::unsigned_integral T>
[[nodiscard]] inline T load_le(const std::byte* from) {
  if constexpr (std::endian::native == std::endian::little) {
    T value = 0;
    std::memcpy(&value, from, sizeof value);
    return value;
  } else {
    std::uint64_t value = 0;
    for (std::size_t i = sizeof(T); i-- > 0;) value = value << 8 | std::to_integer<std::uint64_t>(from[i]);
    return static_cast<T>(value);
  }
}

// REQUIRES: `to` points to sizeof(T) bytes.
template <std::unsigned_integral T>
inline void store_le(std::byte* to, T value) {
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(to, &value, sizeof value);
  } else {
    for (std::size_t i = 0; i < sizeof value; ++i) {
      to[i] = static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i) & 0xff);
    }
  }
}

class BodyWriter {
 public:
  explicit BodyWriter(std::span<std::byte> out) noexcept : out_{out} {}

  template <std::unsigned_integral T>
  void number(const T& value) {
    store_le(take(sizeof value), value);
  }
  // Two bytes of length, then the bytes. REQUIRES: value.size() <= size_max.
  void text(std::string_view value, std::size_t size_max) {
    TB_ASSERT(value.size() <= size_max && size_max <= UINT16_MAX);
    number(static_cast<std::uint16_t>(value.size()));
    if (!value.empty()) std::memcpy(take(value.size()), value.data(), value.size());
  }
  // One byte. REQUIRES: value <= count_max.
  void count(const std::uint32_t& value, std::uint32_t count_max) {
    TB_ASSERT(value <= count_max && count_max <= UINT8_MAX);
    number(static_cast<std::uint8_t>(value));
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  std::byte* take(std::size_t size) {
    TB_ASSERT(size <= out_.size() - size_);
    std::byte* const at = out_.data() + size_;
    size_ += size;
    return at;
  }

  std::span<std::byte> out_;
  std::size_t size_ = 0;
};

// After the first field that is cut off or out of bounds every further one reads as zero or empty.
class BodyReader {
 public:
  explicit BodyReader(std::span<const std::byte> in) noexcept : in_{in} {}

  template <std::unsigned_integral T>
  void number(T& value) {
    const std::byte* const at = take(sizeof value);
    value = at == nullptr ? T{0} : load_le<T>(at);
  }
  void text(std::string& value, std::size_t size_max) {
    std::uint16_t size = 0;
    number(size);
    if (size > size_max) ok_ = false;
    const std::byte* const at = take(size);
    value.clear();
    if (at != nullptr) value.assign(reinterpret_cast<const char*>(at), size);
  }
  void count(std::uint32_t& value, std::uint32_t count_max) {
    std::uint8_t raw = 0;
    number(raw);
    if (raw > count_max) ok_ = false;
    value = ok_ ? raw : 0;
  }
  [[nodiscard]] bool ok() const noexcept { return ok_; }

 private:
  const std::byte* take(std::size_t size) {
    if (!ok_ || size > in_.size()) {
      ok_ = false;
      return nullptr;
    }
    const std::byte* const at = in_.data();
    in_ = in_.subspan(size);
    return at;
  }

  std::span<const std::byte> in_;
  bool ok_ = true;
};

}  // namespace twinblock::wire
