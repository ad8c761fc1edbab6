// Survival row 71.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(short_resync_races_with_writes,
                   "writes race with the end of a very short resync, at every step of it",
                   "resync_without_lock", "source_overlap_unordered") {
  enum class What { same, other, zero, flush, many };
  for (const What what : {What::same, What::other, What::zero, What::flush, What::many}) {
    c.each([what](Script& s, std::uint32_t steps) {
      s.start();
      s.partition();
      s.must(s.write(s.a, {0, 8}));
      s.mend();
      s.steps(steps);
      const bool done = s.quiet();
      switch (what) {
        case What::same:
          s.write(s.a, {4, 8});
          break;
        case What::other:
          s.write(s.a, {kRegion, 8});
          break;
        case What::zero:
          s.zero(s.a, {2, 300});
          break;
        case What::flush:
          s.write(s.a, {4, 8}, true);
          s.flush(s.a);
          break;
        case What::many:
          s.write(s.a, {0, 8});
          s.write(s.a, {kExtent, 8});
          s.write(s.a, {4, 8});
          break;
      }
      s.drain();
      if (steps % 3 == 0) s.power_cut(s.b);
      if (steps % 3 == 1) s.cut();
      s.boot(s.b);
      s.settle();
      s.read_all();
      return !done;
    });
  }
}

}  // namespace twinblock::sim
