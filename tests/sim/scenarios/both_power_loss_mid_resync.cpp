// Survival row 9.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(both_power_loss_mid_resync, "both nodes lose power in the middle of a resync",
                   "promote_inconsistent", "hot_extents_forgotten", "bits_not_set_alone") {
  c.each([](Script& s, std::uint32_t steps) {
    s.start();
    s.lag();
    s.mend();
    s.steps(2 * steps);
    const bool done = s.quiet();
    s.power_cut_all();
    const bool mixed = s.b.meta.superblock().disk_state == bitmap::DiskState::inconsistent;
    if (mixed) {
      s.boot(s.b);
      const core::Refusal why = s.command(s.b, core::Verb::promote, {.confirm_dead = true});
      s.expect(why == core::Refusal::replica_inconsistent, "the inconsistent side is no source");
    }
    s.boot(s.b);
    s.boot(s.a);
    s.finish();
    s.expect(s.resynced_bytes <= 2 * kPartial, "it resumes");
    s.read_all();
    return !done;
  });
}

}  // namespace twinblock::sim
