// Survival row 55.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(slow_target_disk, "the target's disk is a hundred times slower than the source's",
                   "flush_local_only", "intent_dropped_at_completion", "fua_ignored", "far_too_slow") {
  c.play([&](Script& s) {
    s.start();
    s.b.slow = c.sabotaged("far_too_slow") ? 100'000 : 100;
    for (int i = 0; i < 20; ++i) {
      const std::int64_t begun = s.now();
      s.must(s.write(s.a, {0, 64}));
      s.expect(s.now() - begun <= 2 * kSecond, "bounded latency");
    }
    s.load(60);
    s.drain();
    s.expect(s.count(s.a, core::EventKind::link_down) == 0, "slow is not lost");
    s.read_all();
  });
}

}  // namespace twinblock::sim
