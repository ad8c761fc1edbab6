// Survival row 67.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(switchover_mid_resync, "roles are swapped in the middle of a resync", "bits_not_set_alone",
                   "resync_before_inconsistent", "no_bump") {
  for (const bool at_target : {true, false}) {
    c.each([at_target](Script& s, std::uint32_t steps) {
      s.start();
      s.lag();
      s.mend();
      s.steps(3 * steps);
      const bool done = s.quiet();
      const core::Refusal why = s.command(at_target ? s.b : s.a, core::Verb::switchover);
      if (s.b.export_open)
        s.expect(s.status(s.b).replica == core::ReplicaState::uptodate, "never with stale blocks");
      if (why == core::Refusal::none) s.until("the target has taken over", [&] { return s.b.export_open; });
      s.finish();
      s.read_all();
      return !done;
    });
  }
}

}  // namespace twinblock::sim
