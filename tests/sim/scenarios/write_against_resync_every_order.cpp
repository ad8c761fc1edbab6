// Survival row 70.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

static Scenario order_setup() {
  Scenario s = plain_setup();
  s.geometry.size = kExtentSize;
  s.spots = {0};
  return s;
}

TWINBLOCK_SCENARIO(write_against_resync_every_order,
                   "a write to the very region being resynced, in every order of events",
                   "resync_without_lock") {
  for (const bool zero : {false, true}) {
    c.every_order(order_setup(), [zero](Script& s) {
      s.start();
      s.partition();
      s.must(s.write(s.a, {0, 8}));
      s.mend();
      s.until("the first piece", [&] { return s.resynced_bytes > 0 || s.resync_reads(s.a) > 0; });
      const core::RequestId one = zero ? s.zero(s.a, {4, 8}) : s.write(s.a, {4, 8});
      s.explore([&] { return s.answer(one).has_value(); });
      s.must(s.read(s.a, {0, 16}));
    });
  }
  c.every_order(order_setup(), [](Script& s) {  // both orders of being first
    s.start();
    s.partition();
    s.must(s.write(s.a, {0, 8}));
    s.mend();
    s.until("the session", [&] { return s.count(s.a, core::EventKind::session_started) > 0; });
    const core::RequestId one = s.write(s.a, {4, 8});
    s.explore([&] { return s.answer(one).has_value(); });
    s.must(s.read(s.a, {0, 16}));
  });
}

}  // namespace twinblock::sim
