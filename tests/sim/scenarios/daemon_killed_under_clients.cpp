// Survival row 10.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(daemon_killed_under_clients,
                   "the daemon of the source is killed under its clients and started again",
                   "hot_extents_forgotten", "fua_ignored", "flush_peer_only") {
  c.each([](Script& s, std::uint32_t i) {
    s.start();
    s.load(20 + i);
    s.kill(s.a);
    s.resynced_bytes = 0;
    s.boot(s.a);
    s.until(
        "the export is open again", [&] { return s.a.export_open; }, 3 * kSecond);
    s.settle();
    s.read_all();
    s.expect(s.resynced_bytes <= kPartial, "the bitmap comes from disk");
    return i < 20;
  });
}

}  // namespace twinblock::sim
