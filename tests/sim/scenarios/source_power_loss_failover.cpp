// Survival row 1.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(source_power_loss_failover, "the source loses power mid-write; its target takes over",
                   "hot_extents_forgotten", "follower_bits_ignored", "ack_before_peer") {
  c.each([](Script& s, std::uint32_t steps) {
    s.start();
    s.load(30);
    s.drain();
    s.write(s.a, {0, 64});
    s.write(s.a, {2 * kExtent, 64});
    s.zero(s.a, {32, 8});
    s.steps(3 * steps);
    s.power_cut(s.a);
    const std::uint64_t generation = s.b.meta.superblock().current().value();
    s.promote(s.b, {.confirm_dead = true});
    s.must(s.write(s.b, {8, 8}));
    s.must(s.read(s.b, {0, 64}));
    s.expect(s.b.meta.superblock().current().value() != generation,
             "its first write alone makes a generation");
    s.resynced_bytes = 0;
    s.boot(s.a);
    s.settle();
    s.expect(s.b.export_open && !s.a.export_open, "the old source comes back as target");
    s.expect(s.resynced_bytes <= kPartial, "only what differs is resynced");
    return steps < 25;
  });
}

}  // namespace twinblock::sim
