// Survival row 7.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(both_power_loss_idle, "both nodes lose power while nothing is written", "flush_local_only",
                   "source_overlap_unordered", "fua_ignored", "not_idle") {
  c.play([&](Script& s) {
    s.start();
    s.load(60);
    s.drain();
    s.must(s.flush(s.a));
    s.run(3 * kSecond);
    if (c.sabotaged("not_idle")) s.must(s.write(s.a, {0, 64}));
    s.resynced_bytes = 0;
    s.power_cut_all();
    s.boot(s.a);
    s.boot(s.b);
    s.until("a session", [&] { return s.count(s.a, core::EventKind::session_started) > 0; });
    s.finish();
    s.expect(s.resynced_bytes == 0, "nothing is resynced");
  });
}

}  // namespace twinblock::sim
