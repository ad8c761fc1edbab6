// Survival row 6.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(source_power_loss_mid_resync, "the source loses power in the middle of a resync",
                   "hot_extents_forgotten", "bits_not_set_alone", "resync_before_inconsistent") {
  c.each([](Script& s, std::uint32_t steps) {
    s.start();
    s.lag();
    s.mend();
    s.steps(2 * steps);
    const bool done = s.quiet();
    steps % 2 == 0 ? s.power_cut(s.a) : s.kill(s.a);
    if (s.b.meta.superblock().disk_state == bitmap::DiskState::inconsistent) {
      const core::Refusal why = s.command(s.b, core::Verb::promote, {.confirm_dead = true});
      const bool whole = s.b.meta.superblock().disk_state == bitmap::DiskState::consistent;  // by now
      s.expect(why != core::Refusal::none || whole, "half a resync is never promoted");
    }
    s.boot(s.a);
    s.finish();
    s.expect(s.resynced_bytes <= 2 * kPartial, "no full copy");
    s.read_all();
    return !done;
  });
}

}  // namespace twinblock::sim
