// Survival row 52.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(source_read_error_mid_resync, "the source cannot read a block of a resync",
                   "bits_not_set_alone", "no_bump") {
  c.play([](Script& s) {
    s.start();
    s.lag();
    s.on_disk = [](const Node& n, const DataDisk::Op& op) {
      return n.index == 0 && op.io.verb == core::DiskVerb::read && op.run.first < 64 ? 5 : 0;
    };
    s.mend();
    s.run(20 * kSecond);
    s.expect((s.marks(s.a)[0] & 1) != 0, "its bit stays");
    s.expect(s.b.meta.superblock().disk_state == bitmap::DiskState::inconsistent,
             "the target stays inconsistent");
    s.expect(s.count(s.a, core::EventKind::resync_finished) == 0, "nothing is reported done");
    s.expect(s.a.export_open, "clients are served");
    s.must(s.write(s.a, {3 * kExtent, 8}));
    s.release();
    s.settle();  // tried again, and done
    s.read_all();
  });
}

}  // namespace twinblock::sim
