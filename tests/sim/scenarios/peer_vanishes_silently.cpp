// Survival row 33.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(peer_vanishes_silently, "the peer vanishes without a word; nothing closes the connection",
                   "bits_not_set_on_link_loss", "bump_after_ack", "bits_not_set_alone",
                   "timeout_is_an_hour") {
  Scenario setup = plain_setup();
  if (c.sabotaged("timeout_is_an_hour")) setup.policy.peer_timeout = Duration::seconds(3600);
  for (const bool writing : {true, false}) {
    c.play(setup, [writing](Script& s) {
      s.start();
      s.load(10);
      if (!writing) s.drain();
      s.isolate_silently();
      const std::int64_t begun = s.now();
      s.until(
          "both have noticed",
          [&] {
            return s.count(s.a, core::EventKind::link_down) > 0 &&
                   s.count(s.b, core::EventKind::link_down) > 0;
          },
          3 * kSecond);
      s.must(s.write(s.a, {0, 8}));
      s.drain();
      s.expect(s.now() - begun <= 4 * kSecond, "no request hangs longer than the timeouts");
      s.mend();
      s.settle();
      s.read_all();
    });
  }
}

}  // namespace twinblock::sim
