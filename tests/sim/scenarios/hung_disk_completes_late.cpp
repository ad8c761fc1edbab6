// Survival row 54.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(hung_disk_completes_late, "I/O of the target's disk hangs for a minute and then completes",
                   "bump_after_ack", "intent_dropped_at_completion", "no_bump") {
  c.each([](Script& s, std::uint32_t i) {
    s.start();
    s.must(s.write(s.a, {0, 8}));
    s.on_disk = [](const Node& n, const DataDisk::Op& op) {
      return n.index == 1 && op.io.verb == core::DiskVerb::write ? Tap::kHold : 0;
    };
    const core::RequestId first = s.write(s.a, {0, 8});
    const std::int64_t begun = s.now();
    s.must(first);
    s.expect(s.now() - begun <= 4 * kSecond, "answered within the limit on progress");
    s.must(s.write(s.a, {0, 8}));  // newer than what hangs
    s.run(60 * kSecond);
    if (i % 2 == 1) s.must(s.write(s.a, {4, 8}));
    s.release();
    s.settle();
    s.read_all();
    return i < 3;
  });
}

}  // namespace twinblock::sim
