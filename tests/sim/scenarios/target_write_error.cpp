// Survival row 50.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(target_write_error, "the n-th write or flush of the target's disk fails",
                   "pages_not_persisted_before_drop", "flush_local_only", "bits_not_set_on_link_loss") {
  for (const core::DiskVerb verb : {core::DiskVerb::write, core::DiskVerb::flush}) {
    c.each([verb](Script& s, std::uint32_t nth) {
      s.start();
      std::uint32_t seen = 0;
      s.on_disk = [&, nth](const Node& n, const DataDisk::Op& op) {
        return n.index == 1 && op.io.verb == verb && seen++ >= nth ? 5 : 0;
      };
      for (std::uint32_t i = 0; i < 8; ++i) {
        s.must(s.write(s.a, {i * 12, 16}));
        if (i % 3 == 2) s.must(s.flush(s.a));
      }
      s.run(kSecond);
      if (seen > nth) {
        s.expect(s.count(s.a, core::EventKind::peer_disk_failed) > 0, "the source is told");
        s.expect(s.status(s.b).replica == core::ReplicaState::failed, "failed, and not in sync");
        s.expect(s.status(s.a).redundancy == 1, "one copy");
        s.expect(s.a.meta.superblock().peers[1].data == bitmap::PeerData::lacks || s.marks(s.a)[0] != 0,
                 "marked");
      }
      return seen > nth;
    });
  }
}

}  // namespace twinblock::sim
