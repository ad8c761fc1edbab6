// Survival row 4.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(target_loses_its_cache,
                   "the target loses power with acknowledged writes in its volatile disk cache",
                   "intent_ignores_peer_stable", "target_flush_is_no_barrier", "stable_sequence_too_high") {
  c.each([](Script& s, std::uint32_t i) {
    s.start();
    s.load(20 + i);
    s.drain();
    if (i % 3 == 0) s.run(s.world().scenario().intent_age_max.nanoseconds() / 2);
    s.power_cut(s.b);
    s.resynced_bytes = 0;
    s.boot(s.b);
    s.settle();
    s.expect(s.resynced_bytes <= kPartial, "what was not stable there is sent again, and no more");
    s.read_all();
    return i < 25;
  });
}

}  // namespace twinblock::sim
