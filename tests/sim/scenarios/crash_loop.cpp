// Survival row 16.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(crash_loop, "fifty crashes within one resync", "pages_not_persisted_before_drop",
                   "target_flush_is_no_barrier", "bit_cleared_at_completion") {
  Scenario setup = plain_setup();
  setup.geometry.size = ByteCount{2 * kExtentSize.value()};
  setup.geometry.region_size = 4096;
  setup.spots = {0};
  c.play(setup, [&](Script& s) {
    constexpr std::uint32_t kRegions = 2048;
    s.start();
    s.partition();
    for (std::uint32_t region = 0; region < kRegions; region += 2) s.must(s.write(s.a, {region * 8, 2}));
    s.must(s.flush(s.a));
    s.run(2 * kSecond);  // nothing is hot any more: what differs is in the bitmap
    const auto remaining = [&] {
      std::uint64_t bits = 0;
      for (std::uint64_t r = 0; r < kRegions; ++r) bits += s.a.meta.bit(r) ? 1 : 0;
      return bits;
    };
    s.mend();
    std::uint64_t before = remaining();
    const std::uint64_t all = before;
    s.expect(before == kRegions / 2, "every second region differs");
    for (std::uint32_t crash = 0; crash < 50; ++crash) {
      s.until("the resync runs again", [&] { return s.resynced_bytes > 0 || s.quiet(); });
      s.steps(700 + 60 * (crash % 7));
      Node& n = crash % 3 == 0 ? s.a : s.b;
      crash % 2 == 0 ? s.kill(n) : s.power_cut(n);
      s.expect(remaining() <= before, "progress is monotone");
      before = remaining();
      s.resynced_bytes = 0;
      s.boot(n);
    }
    s.expect(before < all, "there was progress");
    s.finish();
    s.read_all();
  });
}

}  // namespace twinblock::sim
