// How long to wait before the next attempt: doubles from a minimum to a maximum, with jitter so that two
// nodes that lost each other at one moment do not dial in step for ever.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/assert.hpp"
#include "base/random.hpp"
#include "base/units.hpp"

namespace twinblock::link {

struct BackoffOptions {
  Duration delay_min = Duration::milliseconds(100);
  Duration delay_max = Duration::seconds(5);
};

class Backoff {
 public:
  Backoff(const BackoffOptions& options, std::uint64_t seed) noexcept
      : options_{options}, random_{seed}, next_{options.delay_min} {
    TB_ASSERT(options.delay_min > Duration{} && options.delay_min <= options.delay_max);
  }
  // Half of the current delay for certain, the other half by chance; never above delay_max.
  [[nodiscard]] Duration next() {
    const std::int64_t half = std::max<std::int64_t>(1, next_.nanoseconds() / 2);
    const Duration delay{half +
                         static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(half) + 1))};
    next_ = std::min(next_ * 2, options_.delay_max);
    return std::min(delay, options_.delay_max);
  }
  // After success (of the session, not of the mere connection).
  void reset() noexcept { next_ = options_.delay_min; }

 private:
  BackoffOptions options_;
  Random random_;
  Duration next_;
};

}  // namespace twinblock::link
