// Survival row 17.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(clean_flag_too_early,
                   "power is lost at every step of an orderly stop, metadata writes landing in any order",
                   "stable_sequence_too_high", "follower_bits_ignored", "boot_alone_if_was_source") {
  for (const bool source : {true, false}) {
    c.each([source](Script& s, std::uint32_t steps) {
      s.start();
      s.load(25);
      Node& n = source ? s.a : s.b;
      s.ask(n, core::Verb::stop);
      const std::uint32_t life = n.life;
      s.steps(steps);
      const bool stopped = n.life != life;
      s.power_cut(n);
      s.boot(n);
      s.finish();
      s.read_all();
      return !stopped;
    });
  }
}

}  // namespace twinblock::sim
