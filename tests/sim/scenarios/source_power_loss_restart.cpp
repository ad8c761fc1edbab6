// Survival row 2.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(source_power_loss_restart,
                   "the source loses power or its process mid-write and restarts beside its target",
                   "source_overlap_unordered", "follower_bits_ignored", "boot_alone_if_was_source") {
  c.each([](Script& s, std::uint32_t steps) {
    s.start();
    s.load(20);
    s.drain();
    s.write(s.a, {0, 64});
    s.write(s.a, {2 * kExtent + 3, 17});
    s.zero(s.a, {32, 40});
    s.steps(steps);
    const bool power = s.now() % 2 == 0;
    power ? s.power_cut(s.a) : s.kill(s.a);
    s.resynced_bytes = 0;
    s.boot(s.a);
    if (!power) s.settle();  // it takes its role back by itself
    s.finish();
    s.read_all();
    s.expect(s.resynced_bytes <= kPartial, "only its hot extents are resynced");
    return steps < 70;
  });
}

}  // namespace twinblock::sim
