// Survival row 11.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(killed_before_the_answer,
                   "the daemon is killed at every step between a write and its answer",
                   "follower_bits_ignored", "boot_alone_if_was_source", "promote_consistent") {
  for (const bool failover : {false, true}) {
    c.each([failover](Script& s, std::uint32_t steps) {
      s.start();
      s.must(s.write(s.a, {0, 16}));
      const core::RequestId request = s.write(s.a, {4, 8});
      s.steps(steps);
      const bool answered = s.answer(request).has_value();
      s.kill(s.a);
      if (failover) s.promote(s.b, {.confirm_dead = true});
      s.boot(s.a);
      s.settle();
      s.read_all();  // what one read shows, every later one shows too
      s.read_all();
      return !answered;
    });
  }
}

}  // namespace twinblock::sim
