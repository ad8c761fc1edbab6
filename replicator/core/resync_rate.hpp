// How fast a resync may go: a token bucket whose rate depends on what the application does.
//
//   the application is idle     as fast as disks and links allow, at most the ceiling
//   the application is active   the guaranteed minimum, so that the resync always ends
//
// The application counts as active from the arrival of a request until kIdleAfter after its last answer. So a
// program that does one small write after the other, without a pause, has the disks to itself but for the
// minimum; one that writes now and then costs the resync next to nothing. Rejected: sharing by measured
// latency, because what is normal for a disk is not known, and a resync that adapts to a wrong guess either
// hurts or never ends.
//
// Integers and the time that the core is given; nothing is lost to rounding.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/units.hpp"

namespace twinblock::core {

class ResyncRate {
 public:
  static constexpr Duration kIdleAfter = Duration::milliseconds(20);
  // A minimum of 0 means this, in bytes per second: what waits for the resync must not wait for ever.
  static constexpr std::uint64_t kLeastRate = 1u << 20;

  struct Limits {
    std::uint64_t rate_min = 0;  // bytes per second while the application is active
    std::uint64_t rate_max = 0;  // bytes per second; 0: none
  };

  // Bytes per second; 0: no limit.
  [[nodiscard]] static std::uint64_t rate(Limits limits, bool active) {
    if (!active) return limits.rate_max;
    const std::uint64_t least = std::max(limits.rate_min, kLeastRate);
    return limits.rate_max == 0 ? least : std::min(least, limits.rate_max);
  }

  void start(Instant now) {
    at_ = now;
    balance_ = 0;
    fraction_ = 0;
  }
  // From now on this rate; what the one before it earned is kept. REQUIRES: time does not go back;
  // rate <= 1 TiB/s.
  void set_rate(Instant now, std::uint64_t rate) {
    earn(now);
    rate_ = rate;
    balance_ = rate == 0 ? 0 : std::min(balance_, burst());
  }
  [[nodiscard]] bool may_go() const { return rate_ == 0 || balance_ > 0; }
  // A piece goes as soon as anything is there and the debt is paid afterwards: over time the rate is exact.
  void take(std::uint64_t bytes) {
    if (rate_ != 0) balance_ -= static_cast<std::int64_t>(bytes);
  }
  // When may_go() becomes true.
  [[nodiscard]] Instant ready_at() const {
    if (may_go()) return at_;
    const std::uint64_t missing = (static_cast<std::uint64_t>(-balance_) + 1) * kMicrosPerSecond - fraction_;
    const std::uint64_t micros = (missing + rate_ - 1) / rate_;
    return at_ + Duration{static_cast<std::int64_t>(micros) * 1000};
  }

 private:
  static constexpr std::uint64_t kMicrosPerSecond = 1'000'000;

  // Kept of what was not used: enough that a late timer costs nothing, too little to be a burst.
  [[nodiscard]] std::int64_t burst() const { return static_cast<std::int64_t>(rate_ / 4 + 1); }

  void earn(Instant now) {
    const std::int64_t elapsed = (now - at_).nanoseconds() / 1000;  // microseconds; the rest stays
    at_ = at_ + Duration{elapsed * 1000};
    if (rate_ == 0) return;
    const auto micros = static_cast<std::uint64_t>(elapsed);
    // Whole seconds apart, so that no product exceeds 2^60.
    const std::uint64_t seconds = std::min<std::uint64_t>(micros / kMicrosPerSecond, kSecondsMax);
    const std::uint64_t part = micros % kMicrosPerSecond * rate_ + fraction_;
    fraction_ = part % kMicrosPerSecond;
    balance_ += static_cast<std::int64_t>(seconds * rate_ + part / kMicrosPerSecond);
    balance_ = std::min(balance_, burst());
  }
  static constexpr std::uint64_t kSecondsMax = 1u << 20;

  std::uint64_t rate_ = 0;
  std::int64_t balance_ = 0;    // bytes; below 0: owed
  std::uint64_t fraction_ = 0;  // of a byte, in millionths
  Instant at_;                  // balance_ is as of then
};

}  // namespace twinblock::core
