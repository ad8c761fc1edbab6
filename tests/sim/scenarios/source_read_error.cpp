// Survival rows 49 and 60.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(source_read_error, "blocks of the source, or of both nodes, cannot be read",
                   "intent_dropped_at_completion", "ack_before_peer", "intent_after_data", "both_can_read") {
  c.play([](Script& s) {
    s.start();
    s.must(s.write(s.a, {0, 64}));
    s.on_disk = [](const Node& n, const DataDisk::Op& op) {
      return n.index == 0 && op.io.verb == core::DiskVerb::read && op.run.first < 32 ? 5 : 0;
    };
    s.must(s.read(s.a, {0, 64}));
    s.until("it is repaired", [&] { return s.count(s.a, core::EventKind::read_repaired) > 0; });
    s.must(s.read(s.a, {64, 64}));
    s.release();
    s.must(s.read(s.a, {0, 64}));
    s.settle();
  });
  c.play([&](Script& s) {
    s.start();
    s.must(s.write(s.a, {0, 64}));
    s.on_disk = [&](const Node& n, const DataDisk::Op& op) {
      const bool bad =
          op.io.verb == core::DiskVerb::read && op.run.first < 40 && op.run.first + op.run.count > 32;
      return bad && (n.index == 0 || !c.sabotaged("both_can_read")) ? 5 : 0;
    };
    s.expect(s.wait(s.read(s.a, {32, 8})) == core::Status::io_error, "both bad: an error");
    s.must(s.read(s.a, {0, 32}));  // for that block only
    s.must(s.read(s.a, {40, 8}));
    s.must(s.write(s.a, {100, 8}));
    s.release();
  });
}

}  // namespace twinblock::sim
