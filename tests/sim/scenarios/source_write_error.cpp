// Survival row 48.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(source_write_error, "the n-th write of the source's disk fails", "failed_flush_retried",
                   "detach_acks_at_once", "source_overlap_unordered") {
  c.each([](Script& s, std::uint32_t nth) {
    s.start();
    std::uint32_t seen = 0;
    s.on_disk = [&, nth](const Node& n, const DataDisk::Op& op) {
      return n.index == 0 && op.io.verb != core::DiskVerb::read && seen++ >= nth ? 5 : 0;
    };
    std::vector<core::RequestId> requests;
    for (std::uint32_t i = 0; i < 10; ++i) {
      requests.push_back(s.write(s.a, {i * 12, 16}));
      s.run(200'000);
    }
    for (const core::RequestId r : requests) s.must(r);  // the client does not notice
    s.must(s.flush(s.a));
    s.must(s.read(s.a, {0, 64}));
    if (seen > nth) {
      s.expect(s.status(s.a).replica == core::ReplicaState::failed, "the replica is failed");
      s.expect(s.count(s.a, core::EventKind::disk_failed) == 1, "one event");
      s.expect(s.status(s.a).redundancy == 1, "one copy");
    }
    return nth < 12;
  });
}

}  // namespace twinblock::sim
