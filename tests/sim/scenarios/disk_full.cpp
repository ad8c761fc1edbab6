// Survival row 53.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(disk_full, "the backing store of either node has no space left", "detach_acks_at_once",
                   "pages_not_persisted_before_drop", "bits_not_set_on_link_loss") {
  for (const int who : {0, 1}) {
    c.play([who](Script& s) {
      s.start();
      s.on_disk = [who](const Node& n, const DataDisk::Op& op) {
        return n.index == who && op.io.verb != core::DiskVerb::read && op.run.first >= kExtent ? 28 : 0;
      };
      s.must(s.write(s.a, {0, 8}));
      s.must(s.write(s.a, {kExtent, 8}));  // a write error, not a success: the other copy has it
      s.must(s.write(s.a, {0, 8}));
      s.must(s.flush(s.a));
      s.must(s.read(s.a, {kExtent, 8}));
      Node& n = who == 0 ? s.a : s.b;
      s.until("it is failed", [&] { return s.status(n).replica == core::ReplicaState::failed; });
      s.expect(s.last(n, core::EventKind::disk_failed) == 28, "and says why");
    });
  }
}

}  // namespace twinblock::sim
