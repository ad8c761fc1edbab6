// Deterministic random numbers (splitmix64): the simulator's source, and the seam through which the daemon
// feeds operating-system randomness into generation ids. Not for secrets.
#pragma once

#include <cstdint>

#include "base/assert.hpp"

namespace twinblock {

class Random {
 public:
  explicit constexpr Random(std::uint64_t seed) noexcept : state_{seed} {}

  constexpr std::uint64_t next() noexcept {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // Uniform enough in [0, bound). REQUIRES: bound > 0.
  constexpr std::uint64_t below(std::uint64_t bound) {
    TB_ASSERT(bound > 0);
    return next() % bound;
  }
  constexpr bool one_in(std::uint64_t n) { return below(n) == 0; }
  // True with probability per_mille / 1000.
  constexpr bool chance(std::uint64_t per_mille) { return below(1000) < per_mille; }
  // A non-zero 64-bit name (generation, incarnation, session).
  constexpr std::uint64_t name() {
    for (;;) {
      if (const std::uint64_t v = next(); v != 0) return v;
    }
  }

 private:
  std::uint64_t state_;
};

}  // namespace twinblock
