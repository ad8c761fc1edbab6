// Survival row 15.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(crash_clearing_bits,
                   "the source crashes at every metadata write while the bits of a resync are cleared",
                   "hot_extents_forgotten", "bits_not_set_alone", "resync_before_inconsistent") {
  c.each([](Script& s, std::uint32_t nth) {
    s.start();
    s.lag();
    std::uint32_t seen = 0;
    bool held = false;
    s.on_metadata = [&](const Node& n, const core::MetaWrite&) {
      if (n.index != 0 || held || seen++ != nth) return 0;
      held = true;
      return Tap::kHold;
    };
    s.mend();
    s.until(
        "the metadata write, or the end", [&] { return held || s.quiet(); }, 30 * kSecond);
    const bool more = held;
    nth % 2 == 0 ? s.power_cut(s.a) : s.kill(s.a);  // its checker: bits too many, never too few
    s.release();
    s.boot(s.a);
    s.finish();
    s.read_all();
    return more;
  });
}

}  // namespace twinblock::sim
