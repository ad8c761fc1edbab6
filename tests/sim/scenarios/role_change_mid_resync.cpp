// Survival rows 67 and 6.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(role_change_mid_resync,
                   "the source demotes, stops or dies and returns at every step of a resync",
                   "bits_not_set_alone", "resync_before_inconsistent", "no_bump") {
  enum class What { demote, stop, pause, disconnect };
  for (const What what : {What::demote, What::stop, What::pause, What::disconnect}) {
    c.each([what](Script& s, std::uint32_t steps) {
      s.start();
      s.lag();
      s.mend();
      s.steps(5 * steps);
      const bool done = s.quiet();
      switch (what) {
        case What::demote:
          s.ask(s.a, core::Verb::demote);
          break;
        case What::stop:
          s.ask(s.a, core::Verb::stop);
          break;
        case What::pause:
          s.ask(s.b, core::Verb::pause);
          break;
        case What::disconnect:
          s.ask(s.a, core::Verb::disconnect);
          break;
      }
      s.run(2 * kSecond);
      s.finish();
      s.read_all();
      return !done;
    });
  }
}

}  // namespace twinblock::sim
