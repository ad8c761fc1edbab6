// Survival row 14.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(crash_in_creation, "either node crashes at every step of the first resync",
                   "uptodate_before_superblock") {
  for (const int who : {0, 1, 2}) {
    c.each([who](Script& s, std::uint32_t steps) {
      s.boot(s.a);
      s.boot(s.b);
      s.ask(s.a, core::Verb::promote);
      s.steps(3 * steps);
      const bool done = s.quiet();
      if (who != 1) steps % 2 == 0 ? s.power_cut(s.a) : s.kill(s.a);
      if (who != 0) s.power_cut(s.b);
      const bool whole = s.b.meta.superblock().disk_state == bitmap::DiskState::consistent;
      if (!whole && who == 0) {
        const core::Refusal why = s.command(s.b, core::Verb::promote, {.confirm_dead = true});
        const bool made = s.b.meta.superblock().disk_state == bitmap::DiskState::consistent;  // by now
        s.expect(why != core::Refusal::none || made, "a half-made replica is no source");
      }
      s.start();
      s.read_all();
      return !done;
    });
  }
}

}  // namespace twinblock::sim
