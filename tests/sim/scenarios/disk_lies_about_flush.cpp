// Survival row 57. What Twinblock says of such a disk: docs/survival.md.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(disk_lies_about_flush, "the source's disk lies about FLUSH and loses power", "fua_ignored",
                   "flush_peer_only", "ack_before_peer", "target_lies_too") {
  c.play([&](Script& s) {
    s.start();
    s.load(20);
    s.drain();
    s.must(s.flush(s.a));
    const Script::Backup before = s.backup(s.a);
    const Script::Backup theirs = s.backup(s.b);
    s.load(40);
    s.drain();
    s.must(s.write(s.a, {0, 200}, true));
    s.must(s.flush(s.a));
    s.run(2 * kSecond);
    s.power_cut(s.a);
    s.lose_data_since(s.a, before);  // the data only: nothing in the metadata tells
    if (c.sabotaged("target_lies_too")) s.lose_data_since(s.b, theirs);
    s.promote(s.b, {.confirm_dead = true});
    s.read_all();        // all that was acknowledged is on the other node
    s.new_replica(s.a);  // and the liar's copy is to be made anew
    s.boot(s.a);
    s.settle();
    s.read_all();
  });
}

}  // namespace twinblock::sim
