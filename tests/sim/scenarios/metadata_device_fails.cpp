// Survival row 23.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(metadata_device_fails, "the n-th metadata write of either node fails, and all after it",
                   "detach_acks_at_once", "boot_alone_if_was_source", "promote_consistent") {
  for (const int errno_value : {5, 28}) {
    for (const bool source : {true, false}) {
      c.each([&](Script& s, std::uint32_t nth) {
        s.no_good_copy_left = true;  // where the peer was lagging: its copy is not the newest
        s.start();
        std::uint32_t seen = 0;
        s.on_metadata = [&, errno_value](const Node& n, const core::MetaWrite&) {
          return n.index == (source ? 0 : 1) && seen++ >= nth ? errno_value : 0;
        };
        s.load(15);  // whose answers are checked: nothing is acknowledged without its mark
        s.run(kSecond / 2);
        s.partition();
        s.load(3);
        s.run(kSecond);
        s.mend();
        s.run(2 * kSecond);
        const bool failed = seen > nth;
        if (failed && source) s.expect(s.status(s.a).replica == core::ReplicaState::failed, "it says so");
        return failed;
      });
    }
  }
}

}  // namespace twinblock::sim
