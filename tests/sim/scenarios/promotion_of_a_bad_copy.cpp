// Survival row 65.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(promotion_of_a_bad_copy, "a replica that is inconsistent or outdated is promoted",
                   "promote_inconsistent", "follower_bits_ignored", "promote_consistent") {
  c.each([](Script& s, std::uint32_t i) {
    const bool mixed = i % 2 == 0;
    s.start();
    s.lag();
    if (mixed) {
      s.mend();
      s.until("the middle of the resync",
              [&] { return s.b.meta.superblock().disk_state == bitmap::DiskState::inconsistent; });
      s.steps(20);
    }
    s.expect(s.command(s.b, core::Verb::promote) != core::Refusal::none, "refused beside a living source");
    s.judge_two_histories();
    s.kill(s.a);
    s.until("the link is lost", [&] { return s.status(s.b).link == core::LinkState::down; });
    const core::Refusal why = s.command(s.b, core::Verb::promote);
    s.expect(why == (mixed ? core::Refusal::replica_inconsistent : core::Refusal::peer_may_have_more),
             "refused, and says why");
    s.promote(s.b, {.force = true, .confirm_dead = true});
    if (mixed) {  // the other is complete, and vouched for
      s.expect(s.count(s.b, core::EventKind::data_loss_forced) == 1, "a data-loss event");
      s.expect(s.b.meta.superblock().generations[0].cause == bitmap::GenerationCause::forced,
               "a forced generation");
    }
    s.must(s.write(s.b, {0, 8}));
    s.no_good_copy_left = true;
    return i < 3;
  });
}

}  // namespace twinblock::sim
