// Survival row 8.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(both_crash_mid_write, "both nodes crash in the middle of writes",
                   "stable_sequence_too_high", "source_overlap_unordered", "follower_bits_ignored") {
  c.each([](Script& s, std::uint32_t steps) {
    s.start();
    s.load(20);
    s.drain();
    s.write(s.a, {0, 64});
    s.write(s.a, {32, 64});
    s.zero(s.a, {5 * kExtent, 9});
    s.steps(steps);
    s.resynced_bytes = 0;
    switch (steps % 3) {
      case 0:
        s.power_cut_all();
        break;
      case 1:
        s.kill(s.a);
        s.kill(s.b);
        break;
      default:
        s.kill(s.b);
        s.power_cut(s.a);
        break;
    }
    s.boot(steps % 2 == 0 ? s.a : s.b);
    s.boot(steps % 2 == 0 ? s.b : s.a);
    s.finish();
    s.read_all();
    s.expect(s.resynced_bytes <= kPartial, "only active extents are resynced");
    return steps < 90;
  });
}

}  // namespace twinblock::sim
