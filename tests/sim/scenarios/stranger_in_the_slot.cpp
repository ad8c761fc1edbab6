// Survival row 78 (with two nodes).
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(stranger_in_the_slot,
                   "another replica takes the place of the target, whose bitmap slot is clean", "fua_ignored",
                   "flush_peer_only", "resync_before_inconsistent") {
  c.each([](Script& s, std::uint32_t i) {
    s.start();
    s.load(20);
    s.drain();
    s.must(s.flush(s.a));
    s.run(kSecond);
    s.power_cut(s.b);
    if (i == 0) {
      s.new_replica(s.b);
    } else {  // of the same mirror, complete, but never met
      const Script::Backup old = s.backup(s.b);
      s.boot(s.b);
      s.settle();
      s.must(s.write(s.a, {0, 64}));
      s.must(s.flush(s.a));
      s.run(kSecond);
      s.power_cut(s.b);
      s.restore(s.b, old);
      s.edit_superblock(s.b, [](bitmap::Superblock& sb) { sb.identity += 1; });
    }
    s.boot(s.b);
    s.settle();
    s.expect(s.last(s.a, core::EventKind::resync_started) == 8 * kExtentSize.value(),
             "a full resync, not a silent one");
    s.read_all();
    return i < 1;
  });
}

}  // namespace twinblock::sim
