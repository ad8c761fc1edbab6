// Survival row 35.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

static std::uint64_t c_seed_of(Script& s) {
  return static_cast<std::uint64_t>(s.now()) + 1;
}

TWINBLOCK_SCENARIO(link_flaps, "the link flaps every 0.5 to 5 seconds for an hour",
                   "bits_not_set_on_link_loss", "bits_not_set_alone", "intent_dropped_at_completion") {
  c.play([](Script& s) {
    s.start();
    const std::int64_t end = s.now() + 3600 * kSecond;
    std::uint64_t n = c_seed_of(s);
    while (s.now() < end) {
      s.load(3);
      n = n * 6364136223846793005u + 1442695040888963407u;
      s.cut();
      s.run(kSecond / 2 + static_cast<std::int64_t>(n >> 33) % (9 * kSecond / 2));
    }
    s.drain();
    s.settle();
    s.read_all();
  });
}

}  // namespace twinblock::sim
