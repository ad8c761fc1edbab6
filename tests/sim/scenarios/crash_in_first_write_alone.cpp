// Survival row 12.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(crash_in_first_write_alone,
                   "the source crashes at every step of its first write without the peer",
                   "follower_bits_ignored", "boot_alone_if_was_source", "promote_consistent") {
  c.each([](Script& s, std::uint32_t steps) {
    s.start();
    s.must(s.write(s.a, {0, 16}));
    const core::RequestId in_flight = s.write(s.a, {8, 16});
    s.partition();
    if (steps % 4 < 2)
      s.until("the loss is known", [&] { return s.status(s.a).link != core::LinkState::connected; });
    const core::RequestId alone = s.write(s.a, {2 * kExtent, 16});
    s.steps(steps);
    const bool answered = s.answer(alone).has_value() && s.answer(in_flight).has_value();
    const std::uint64_t before = s.b.meta.superblock().current().value();
    // Answered by the peer just before the cut, or alone.
    const bool peer_has = s.content(s.b, 2 * kExtent) == s.content(s.a, 2 * kExtent);
    steps % 2 == 0 ? s.power_cut(s.a) : s.kill(s.a);
    if (s.answer(alone) == core::Status::ok && !peer_has)
      s.expect(s.a.meta.superblock().current().value() != before,
               "its generation is durable before the answer");
    s.boot(s.a);
    s.mend();
    s.finish();
    s.read_all();
    return !answered;
  });
}

}  // namespace twinblock::sim
