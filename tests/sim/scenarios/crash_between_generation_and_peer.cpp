// Survival row 13.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(crash_between_generation_and_peer,
                   "a crash of either node between the new generation here and its confirmation there",
                   "detach_acks_at_once", "follower_bits_ignored", "boot_alone_if_was_source") {
  for (const bool source_dies : {true, false}) {
    c.each([source_dies](Script& s, std::uint32_t steps) {
      s.no_good_copy_left =
          true;  // the generation that only the failed disk has: nothing was acknowledged in it
      s.start();
      s.must(s.write(s.a, {0, 16}));
      s.on_disk = [](const Node& n, const DataDisk::Op& op) {
        return n.index == 0 && op.io.verb == core::DiskVerb::write ? 5 : 0;
      };
      const core::RequestId request = s.write(s.a, {4, 8});  // the failed disk makes a generation on both
      s.steps(steps);
      const bool answered = s.answer(request).has_value();
      // A target that loses power, too, may lose what was not flushed: that would be two failures.
      source_dies&& steps % 2 == 0 ? s.power_cut(s.a) : s.kill(source_dies ? s.a : s.b);
      s.release();
      s.boot(source_dies ? s.a : s.b);
      return !answered && steps < 200;
    });
  }
}

}  // namespace twinblock::sim
