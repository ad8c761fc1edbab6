// Survival row 29.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(configurations_differ, "the two nodes disagree in the configuration of the mirror",
                   "stable_sequence_too_high", "bits_not_set_on_link_loss", "bump_after_ack", "same_text") {
  c.play([&](Script& s) {
    s.start();
    s.load(10);
    s.drain();
    s.kill(s.b);
    if (!c.sabotaged("same_text")) s.b.config_text = "mode=async\n";
    const std::uint64_t writes = s.writes_of(s.b);
    s.boot(s.b);
    s.run(2 * kSecond);
    s.must(s.write(s.a, {0, 8}));
    for (Node* n : {&s.a, &s.b})
      s.expect(s.status(*n).refusal == core::Refusal::config_differs, "both refuse it");
    s.expect(s.writes_of(s.b) == writes, "not a byte is written there");
    s.kill(s.b);
    s.b.config_text.clear();
    s.boot(s.b);
    s.settle();
  });
}

}  // namespace twinblock::sim
