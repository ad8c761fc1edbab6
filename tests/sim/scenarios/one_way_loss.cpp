// Survival row 34.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(one_way_loss, "messages pass one way only", "intent_ignores_peer_stable",
                   "stable_sequence_too_high", "bits_not_set_on_link_loss") {
  for (const int deaf : {0, 1}) {
    c.play([deaf](Script& s) {
      s.start();
      s.load(10);
      s.on_message = [deaf](const Node& from, const wire::Header&) { return from.index == deaf; };
      const std::int64_t begun = s.now();
      s.must(s.write(s.a, {0, 8}));
      s.expect(s.now() - begun <= 4 * kSecond, "answered within the timeouts");
      s.until("both take it for a lost link", [&] {
        return s.count(s.a, core::EventKind::link_down) > 0 && s.count(s.b, core::EventKind::link_down) > 0;
      });
      const std::uint64_t links = s.world().totals().links;
      s.run(60 * kSecond);
      s.expect(s.world().totals().links - links <= 130,
               "a handshake without answers ends by a timeout, not at once");
      s.release();
      s.settle();
      s.read_all();
    });
  }
}

}  // namespace twinblock::sim
