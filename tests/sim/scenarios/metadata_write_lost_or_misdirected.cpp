// Survival row 21.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(metadata_write_lost_or_misdirected,
                   "a metadata write did not land, or landed elsewhere, at every step of a degraded phase",
                   "hot_extents_forgotten", "bump_after_ack", "bits_not_set_alone") {
  for (const bool source : {true, false}) {
    c.each([source](Script& s, std::uint32_t steps) {
      s.start();
      s.load(15);
      s.drain();
      s.lag();
      s.mend();
      s.steps(4 * steps);
      const bool done = s.quiet();
      Node& n = source ? s.a : s.b;
      s.kill(n);
      s.lie_metadata(n);  // its checker: what differs has a mark all the same
      s.boot(n);
      s.finish();
      s.read_all();
      return !done;
    });
  }
}

}  // namespace twinblock::sim
