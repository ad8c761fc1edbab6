// Strong units. Offsets, counts and indices that are all "a number" are how block devices get corrupted:
// a quantity here never converts to another one or to an integer without being asked (`value()`).
#pragma once

#include <compare>
#include <concepts>
#include <cstdint>

namespace twinblock {

// A tagged unsigned number without arithmetic: names and sequence-like things.
template <class Tag, std::unsigned_integral Rep = std::uint64_t>
class Quantity {
 public:
  using rep = Rep;
  constexpr Quantity() = default;
  constexpr explicit Quantity(Rep value) noexcept : value_{value} {}
  [[nodiscard]] constexpr Rep value() const noexcept { return value_; }
  friend constexpr auto operator<=>(Quantity, Quantity) = default;

 private:
  Rep value_{};
};

// A length in bytes. Counts add and subtract; an offset plus a count is an offset.
class ByteCount {
 public:
  constexpr ByteCount() = default;
  constexpr explicit ByteCount(std::uint64_t value) noexcept : value_{value} {}
  [[nodiscard]] constexpr std::uint64_t value() const noexcept { return value_; }
  friend constexpr auto operator<=>(ByteCount, ByteCount) = default;
  friend constexpr ByteCount operator+(ByteCount a, ByteCount b) { return ByteCount{a.value_ + b.value_}; }
  friend constexpr ByteCount operator-(ByteCount a, ByteCount b) { return ByteCount{a.value_ - b.value_}; }
  constexpr ByteCount& operator+=(ByteCount b) {
    value_ += b.value_;
    return *this;
  }
  constexpr ByteCount& operator-=(ByteCount b) {
    value_ -= b.value_;
    return *this;
  }

 private:
  std::uint64_t value_{};
};

// A position in bytes from the start of the mirror (or of the metadata area, where said).
class ByteOffset {
 public:
  constexpr ByteOffset() = default;
  constexpr explicit ByteOffset(std::uint64_t value) noexcept : value_{value} {}
  [[nodiscard]] constexpr std::uint64_t value() const noexcept { return value_; }
  friend constexpr auto operator<=>(ByteOffset, ByteOffset) = default;
  friend constexpr ByteOffset operator+(ByteOffset a, ByteCount b) {
    return ByteOffset{a.value_ + b.value()};
  }
  friend constexpr ByteOffset operator-(ByteOffset a, ByteCount b) {
    return ByteOffset{a.value_ - b.value()};
  }
  friend constexpr ByteCount operator-(ByteOffset a, ByteOffset b) { return ByteCount{a.value_ - b.value_}; }

 private:
  std::uint64_t value_{};
};

// A half-open range [offset, offset + length) of the mirror.
struct ByteRange {
  ByteOffset offset;
  ByteCount length;
  [[nodiscard]] constexpr ByteOffset end() const { return offset + length; }
  [[nodiscard]] constexpr bool empty() const { return length.value() == 0; }
  [[nodiscard]] constexpr bool overlaps(const ByteRange& o) const {
    return offset < o.end() && o.offset < end();
  }
  [[nodiscard]] constexpr bool contains(const ByteRange& o) const {
    return offset <= o.offset && o.end() <= end();
  }
  friend constexpr bool operator==(const ByteRange&, const ByteRange&) = default;
};

// Length of time, nanoseconds.
class Duration {
 public:
  constexpr Duration() = default;
  constexpr explicit Duration(std::int64_t nanoseconds) noexcept : ns_{nanoseconds} {}
  [[nodiscard]] static constexpr Duration milliseconds(std::int64_t n) { return Duration{n * 1'000'000}; }
  [[nodiscard]] static constexpr Duration seconds(std::int64_t n) { return Duration{n * 1'000'000'000}; }
  [[nodiscard]] constexpr std::int64_t nanoseconds() const noexcept { return ns_; }
  friend constexpr auto operator<=>(Duration, Duration) = default;
  friend constexpr Duration operator+(Duration a, Duration b) { return Duration{a.ns_ + b.ns_}; }
  friend constexpr Duration operator-(Duration a, Duration b) { return Duration{a.ns_ - b.ns_}; }
  friend constexpr Duration operator*(Duration a, std::int64_t k) { return Duration{a.ns_ * k}; }
  friend constexpr Duration operator/(Duration a, std::int64_t k) { return Duration{a.ns_ / k}; }

 private:
  std::int64_t ns_{};
};

// A point on the local monotonic clock (CLOCK_BOOTTIME in the daemon, virtual time in the simulator).
// Never a wall clock, never compared between machines.
class Instant {
 public:
  constexpr Instant() = default;
  constexpr explicit Instant(std::int64_t nanoseconds) noexcept : ns_{nanoseconds} {}
  [[nodiscard]] static constexpr Instant never() { return Instant{INT64_MAX}; }
  [[nodiscard]] constexpr std::int64_t nanoseconds() const noexcept { return ns_; }
  friend constexpr auto operator<=>(Instant, Instant) = default;
  friend constexpr Instant operator+(Instant a, Duration d) { return Instant{a.ns_ + d.nanoseconds()}; }
  friend constexpr Duration operator-(Instant a, Instant b) { return Duration{a.ns_ - b.ns_}; }

 private:
  std::int64_t ns_{};
};

using RegionIndex = Quantity<struct RegionIndexTag>;                 // unit of dirty tracking
using ExtentIndex = Quantity<struct ExtentIndexTag, std::uint32_t>;  // unit of the intent log, 4 MiB
using SequenceNumber = Quantity<struct SequenceNumberTag>;           // 0: none yet
using GenerationId = Quantity<struct GenerationIdTag>;               // random name of a history; 0: none
using Term = Quantity<struct TermTag>;                               // fencing token, see next_term; 0: none
using NodeIndex = Quantity<struct NodeIndexTag, std::uint8_t>;       // 0 to 7

inline constexpr std::uint8_t kNodeCountMax = 8;
inline constexpr ByteCount kExtentSize{4u << 20};
inline constexpr ByteCount kSectorSize{512};

// The least term that `node` may take after having seen `seen`: greater than it, with the node's index in
// the low byte so that two nodes never take the same one.
[[nodiscard]] constexpr Term next_term(Term seen, NodeIndex node) {
  return Term{((seen.value() >> 8) + 1) << 8 | node.value()};
}
[[nodiscard]] constexpr NodeIndex term_owner(Term term) {
  return NodeIndex{static_cast<std::uint8_t>(term.value() & 0xff)};
}

}  // namespace twinblock
