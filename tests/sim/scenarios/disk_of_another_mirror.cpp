// Survival row 24.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(disk_of_another_mirror, "the target comes back with the disk of another mirror",
                   "stable_sequence_too_high", "bits_not_set_on_link_loss", "bump_after_ack", "same_mirror") {
  c.play([&](Script& s) {
    s.start();
    s.load(10);
    s.drain();
    s.kill(s.b);
    const std::uint64_t mirror = s.b.meta.superblock().mirror_id;
    s.edit_superblock(s.b,
                      [&](bitmap::Superblock& sb) { sb.mirror_id += c.sabotaged("same_mirror") ? 0 : 1; });
    const std::uint64_t writes = s.writes_of(s.b);
    s.boot(s.b);
    s.run(3 * kSecond);
    s.must(s.write(s.a, {0, 8}));
    for (Node* n : {&s.a, &s.b}) s.expect(s.status(*n).refusal == core::Refusal::mirror_id, "both refuse it");
    s.expect(s.writes_of(s.b) == writes, "not a byte is written there");
    s.kill(s.b);
    s.edit_superblock(s.b, [&](bitmap::Superblock& sb) { sb.mirror_id = mirror; });
    s.new_replica(s.b);
    s.boot(s.b);
    s.settle();
  });
}

}  // namespace twinblock::sim
