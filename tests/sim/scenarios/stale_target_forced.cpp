// Survival row 66.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(stale_target_forced, "a target that missed writes is forced; the old source returns",
                   "split_brain_newest_wins", "follower_bits_ignored", "hot_extents_forgotten") {
  c.play([](Script& s) {
    s.start();
    s.load(10);
    s.drain();
    s.judge_two_histories();
    s.lag();
    s.kill(s.a);
    s.mend();
    s.promote(s.b, {.force = true, .confirm_dead = true});
    s.must(s.write(s.b, {4, 8}));
    const Tag newer = s.content(s.a, kRegion);
    s.resynced_bytes = 0;
    s.boot(s.a);
    s.until("both say split-brain", [&] {
      return s.status(s.a).link == core::LinkState::split_brain &&
             s.status(s.b).link == core::LinkState::split_brain;
    });
    s.run(30 * kSecond);
    s.expect(s.resynced_bytes == 0 && s.content(s.a, kRegion) == newer,
             "the newer data stays until the operator decides");
  });
}

}  // namespace twinblock::sim
