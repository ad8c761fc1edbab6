// Survival row 44.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(link_cut_at_every_message,
                   "the link dies, or either node, at each message of handshake and resync",
                   "target_flush_is_no_barrier", "bit_cleared_at_completion", "hot_extents_forgotten") {
  enum class What { cut, kill_a, kill_b, power_a, power_b };
  for (const What what : {What::cut, What::kill_a, What::kill_b, What::power_a, What::power_b}) {
    c.each([what](Script& s, std::uint32_t nth) {
      s.start();
      s.lag();
      bool lost = false;
      std::uint32_t seen = 0;
      s.on_message = [&](const Node&, const wire::Header&) {
        lost = lost || seen++ == nth;
        return !lost;  // this one and all behind it
      };
      s.mend();
      s.until("that message", [&] { return lost || s.quiet(); });
      const bool more = lost;
      switch (what) {
        case What::cut:
          s.cut();
          break;
        case What::kill_a:
          s.kill(s.a);
          break;
        case What::kill_b:
          s.kill(s.b);
          break;
        case What::power_a:
          s.power_cut(s.a);
          break;
        case What::power_b:
          s.power_cut(s.b);
          break;
      }
      s.release();
      s.boot(s.a);
      s.boot(s.b);
      if (what == What::cut) s.settle();  // both by themselves
      s.finish();
      s.expect(s.resynced_bytes <= 3 * kPartial, "no full resync");
      s.read_all();
      return more;
    });
  }
}

}  // namespace twinblock::sim
