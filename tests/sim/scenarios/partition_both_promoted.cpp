// Survival row 32.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(partition_both_promoted, "a partition without fencing: both sides are promoted and write",
                   "split_brain_newest_wins", "promote_consistent", "bits_not_set_alone") {
  c.play([](Script& s) {
    s.start();
    s.load(20);
    s.drain();
    s.judge_two_histories();
    s.partition();
    s.until("the link is lost", [&] { return s.status(s.a).link == core::LinkState::down; });
    s.must(s.write(s.a, {0, 8}));
    s.until("the link is lost", [&] { return s.status(s.b).link != core::LinkState::connected; });
    s.expect(s.command(s.b, core::Verb::promote) == core::Refusal::peer_may_have_more, "not without a proof");
    s.promote(s.b, {.confirm_dead = true});  // a wrong word
    s.must(s.write(s.b, {4, 8}));
    const Tag mine = s.content(s.a, 4);
    const Tag theirs = s.content(s.b, 4);
    s.resynced_bytes = 0;
    s.mend();
    s.until("both say split-brain", [&] {
      return s.status(s.a).link == core::LinkState::split_brain &&
             s.status(s.b).link == core::LinkState::split_brain;
    });
    s.run(30 * kSecond);
    for (Node* n : {&s.a, &s.b})
      s.expect(s.count(*n, core::EventKind::split_brain) > 0, "an event on both sides");
    s.expect(s.resynced_bytes == 0 && s.content(s.a, 4) == mine && s.content(s.b, 4) == theirs,
             "no data is moved");
  });
}

}  // namespace twinblock::sim
