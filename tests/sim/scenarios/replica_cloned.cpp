// Survival row 25.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(replica_cloned,
                   "a replica is a clone of its peer, or was created anew on a clone of its disk",
                   "flush_local_only", "fua_ignored", "flush_peer_only", "not_a_clone") {
  c.play([&](Script& s) {  // metadata and all
    s.start();
    s.load(10);
    s.drain();
    s.must(s.flush(s.a));
    s.kill(s.b);
    if (!c.sabotaged("not_a_clone"))
      s.edit_superblock(s.b, [&](bitmap::Superblock& sb) { sb.identity = s.a.meta.superblock().identity; });
    const std::uint64_t writes = s.writes_of(s.b);
    s.boot(s.b);
    s.run(3 * kSecond);
    s.expect(s.status(s.a).refusal == core::Refusal::node_index, "it is not accepted");
    s.expect(s.writes_of(s.b) == writes, "not a byte is written there");
    s.kill(s.b);
    s.new_replica(s.b);
    s.boot(s.b);
    s.settle();
  });
  c.play([](Script& s) {  // the data only
    s.start();
    s.load(10);
    s.drain();
    s.must(s.flush(s.a));
    s.run(kSecond);
    s.new_replica(s.b);
    s.boot(s.b);
    s.settle();
    s.expect(s.last(s.a, core::EventKind::resync_started) == 8 * kExtentSize.value(),
             "the whole disk is compared");
  });
}

}  // namespace twinblock::sim
