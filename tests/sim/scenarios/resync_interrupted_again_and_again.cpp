// Survival row 69.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(resync_interrupted_again_and_again,
                   "a resync is interrupted twenty times, with writes in between",
                   "bit_cleared_at_completion") {
  c.play([](Script& s) {
    s.start();
    s.lag();
    s.mend();
    for (std::uint32_t round = 0; round < 20; ++round) {
      s.steps(30 + round * 3);
      s.must(s.write(s.a, {(round % 8) * kExtent + round * 16, 8}));
      s.expect(s.resynced_bytes <= 8 * kExtentSize.value(), "no round copies everything");
      s.resynced_bytes = 0;
      round % 2 == 0 ? s.cut() : s.kill(s.b);
      s.boot(s.b);
    }
    s.settle();
    s.read_all();
  });
}

}  // namespace twinblock::sim
