// Survival row 27.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(sizes_differ, "the replicas differ in size, region size or block size",
                   "stable_sequence_too_high", "bits_not_set_on_link_loss", "bump_after_ack",
                   "same_geometry") {
  c.each([&](Script& s, std::uint32_t i) {
    s.start();
    s.load(10);
    s.drain();
    s.kill(s.b);
    if (!c.sabotaged("same_geometry")) {
      s.edit_superblock(s.b, [&](bitmap::Superblock& sb) {
        if (i == 0) sb.geometry.size = ByteCount{7 * kExtentSize.value()};
        if (i == 1) sb.geometry.logical_block_size = 4096;
        if (i == 2) sb.geometry.size = ByteCount{8 * kExtentSize.value() - 512};
      });
    }
    const std::uint64_t writes = s.writes_of(s.b);
    s.boot(s.b);
    s.run(3 * kSecond);
    s.must(s.write(s.a, {0, 8}));
    for (Node* n : {&s.a, &s.b}) s.expect(s.status(*n).refusal == core::Refusal::geometry, "both refuse it");
    s.expect(s.writes_of(s.b) == writes, "not a byte is written there");
    s.kill(s.b);
    s.new_replica(s.b);
    s.boot(s.b);
    s.settle();
    return i < 2;
  });
}

}  // namespace twinblock::sim
