// Survival row 79.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(clocks_differ_and_jump,
                   "the clocks of the nodes are a year apart, and one jumps by an hour", "bits_not_set_alone",
                   "fua_ignored", "flush_peer_only") {
  c.play([](Script& s) {
    constexpr std::int64_t kYear = 365ll * 24 * 3600 * kSecond;
    s.b.clock_offset = kYear;
    s.start();
    s.load(30);
    s.drain();
    s.expect(s.count(s.a, core::EventKind::link_down) == 0, "nothing depends on the other's clock");
    s.a.clock_offset = 3600 * kSecond;  // it was suspended
    s.load(20);
    s.drain();
    s.settle();
    s.kill(s.b);
    s.b.clock_offset = 0;  // its next boot counts anew
    s.lag();
    s.boot(s.b);
    s.mend();
    s.settle();
    s.read_all();
  });
}

}  // namespace twinblock::sim
