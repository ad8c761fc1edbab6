// Survival row 43.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(resync_end_lost, "the last messages of a resync are lost, and the link with them",
                   "bits_not_set_alone", "resync_before_inconsistent", "no_bump") {
  c.each([](Script& s, std::uint32_t nth) {
    s.start();
    s.lag();
    bool ending = false;
    bool lost = false;
    std::uint32_t seen = 0;
    s.on_message = [&](const Node&, const wire::Header& header) {
      ending = ending || header.type == wire::Type::resync_end;
      if (!ending || lost) return !lost;
      if (seen++ != nth) return true;
      lost = true;
      s.cut();
      return false;
    };
    s.mend();
    s.run(kSecond);
    const bool more = lost;
    s.release();
    s.settle();
    s.expect(s.resynced_bytes <= 2 * kPartial, "no full resync");
    s.read_all();
    return more && nth < 30;
  });
}

}  // namespace twinblock::sim
