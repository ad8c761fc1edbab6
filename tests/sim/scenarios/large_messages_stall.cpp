// Survival row 45.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(large_messages_stall, "pings pass, data does not (an MTU black hole)",
                   "bits_not_set_on_link_loss", "bump_after_ack", "intent_dropped_at_completion",
                   "nothing_stalls") {
  c.play([&](Script& s) {
    s.start();
    s.load(10);
    s.drain();
    s.on_message = [&](const Node&, const wire::Header& h) {
      return h.type == wire::Type::ping || h.type == wire::Type::pong || c.sabotaged("nothing_stalls");
    };
    const std::int64_t begun = s.now();
    s.must(s.write(s.a, {0, 8}));
    s.expect(s.now() - begun <= 4 * kSecond, "answered within the limit on progress");
    s.expect(s.count(s.a, core::EventKind::degraded) > 0, "and said so");
    s.run(5 * kSecond);
    s.release();
    s.settle();
    s.read_all();
  });
}

}  // namespace twinblock::sim
