// Survival row 5.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(target_power_loss_mid_resync, "the target loses power in the middle of a resync",
                   "promote_inconsistent", "target_flush_is_no_barrier", "bit_cleared_at_completion") {
  c.each([](Script& s, std::uint32_t steps) {
    s.start();
    s.lag();
    s.mend();
    s.steps(2 * steps);
    const bool done = s.quiet();
    s.power_cut(s.b);
    const bool mixed = s.b.meta.superblock().disk_state == bitmap::DiskState::inconsistent;
    s.boot(s.b);
    if (mixed && steps % 2 == 0) {
      s.kill(s.a);
      const core::Refusal why = s.command(s.b, core::Verb::promote, {.confirm_dead = true});
      s.expect(why == core::Refusal::replica_inconsistent, "half a resync is never promoted");
      s.boot(s.a);
    }
    s.settle();
    s.expect(s.resynced_bytes <= 2 * kPartial, "it goes on with the bits that remain");
    return !done;
  });
}

}  // namespace twinblock::sim
