// Survival row 51.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(target_error_mid_resync, "the target cannot write a block of a resync",
                   "bits_not_set_alone", "resync_before_inconsistent", "no_bump") {
  c.each([](Script& s, std::uint32_t nth) {
    s.start();
    s.lag();
    std::uint32_t seen = 0;
    s.on_disk = [&, nth](const Node& n, const DataDisk::Op& op) {
      return n.index == 1 && op.io.verb != core::DiskVerb::read && seen++ == nth ? 5 : 0;
    };
    s.mend();
    s.run(3 * kSecond);
    const bool failed = seen > nth;
    if (failed) {
      s.expect(s.status(s.b).replica == core::ReplicaState::failed, "the replica is failed, not up to date");
      s.expect(s.count(s.a, core::EventKind::peer_uptodate) == 0, "no resync is reported done");
      s.expect(s.marks(s.a)[0] != 0, "the bits stay");
    }
    return failed;
  });
}

}  // namespace twinblock::sim
