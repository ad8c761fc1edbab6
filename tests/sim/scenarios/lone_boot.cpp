// Survival row 81.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(lone_boot, "one node boots alone, or both at once, after every kind of end",
                   "boot_alone_if_was_source", "promote_consistent", "hot_extents_forgotten") {
  enum class End { in_sync_source, in_sync_target, after_writing_alone, behind, handed_over, both };
  for (const End end : {End::in_sync_source, End::in_sync_target, End::after_writing_alone, End::behind,
                        End::handed_over, End::both}) {
    c.at("end " + std::to_string(static_cast<int>(end)));
    c.play([end](Script& s) {
      s.start();
      s.load(20);
      s.drain();
      if (end == End::after_writing_alone || end == End::behind) s.lag();
      if (end == End::handed_over)
        s.expect(s.command(s.a, core::Verb::switchover) == core::Refusal::none, "handed over");
      s.kill(s.a);
      s.kill(s.b);
      if (end != End::both) s.partition();
      const bool first_is_a = end == End::in_sync_source || end == End::after_writing_alone;
      Node& first = first_is_a ? s.a : s.b;
      s.boot(first);
      if (end == End::both) s.boot(s.a);
      s.run(20 * kSecond);
      if (end == End::after_writing_alone)
        s.expect(s.a.export_open, "it knows that the other one lacks something");
      if (end == End::in_sync_source || end == End::in_sync_target || end == End::behind)
        s.expect(!first.export_open, "was source, or was target, is not enough");
      if (end == End::both) s.expect(s.a.export_open && !s.b.export_open, "the last source resumes");
      if (end == End::behind) {
        s.expect(s.command(s.b, core::Verb::promote) != core::Refusal::none,
                 "nor does it follow a plain word");
      }
      s.boot(s.a);
      s.boot(s.b);
      s.mend();
      s.finish();
      s.read_all();
    });
  }
}

}  // namespace twinblock::sim
