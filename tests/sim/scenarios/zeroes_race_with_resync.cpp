// Survival row 75.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(zeroes_race_with_resync, "discards and zeroes with unaligned edges race with a resync",
                   "intent_ignores_peer_stable", "resync_without_lock", "target_overlap_unordered") {
  c.each([](Script& s, std::uint32_t steps) {
    s.start();
    s.must(s.write(s.a, {0, 256}));
    s.partition();
    s.must(s.write(s.a, {kRegion - 3, 7}));
    s.must(s.zero(s.a, {kRegion + 1, 2}));
    s.mend();
    s.steps(steps);
    const bool done = s.quiet();
    s.zero(s.a, {kRegion - 1, kRegion + 3});  // one sector before a whole region, two behind it
    s.zero(s.a, {7, 1});
    s.write(s.a, {kRegion + 40, 5});
    s.drain();
    if (steps % 4 == 0) s.power_cut(s.b);
    s.boot(s.b);
    s.settle();
    s.read_all();
    return !done;
  });
}

}  // namespace twinblock::sim
