// Survival row 31.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(partition_target_promoted, "a partition: the source is fenced and its target promoted",
                   "boot_alone_if_was_source", "promote_consistent", "hot_extents_forgotten") {
  Scenario setup = plain_setup();
  setup.policy.write_alone = core::WriteAlone::fenced;
  c.play(setup, [](Script& s) {
    s.start();
    s.load(20);
    s.drain();
    s.partition();
    const core::RequestId lost = s.write(s.a, {0, 64});
    s.until("the source is frozen", [&] { return s.status(s.a).frozen; });
    s.expect(!s.answer(lost).has_value(), "what only one node has is not acknowledged");
    s.kill(s.a);  // the fence
    s.promote(s.b, {.confirm_dead = true});
    s.must(s.write(s.b, {16, 8}));
    s.boot(s.a);
    s.mend();
    s.resynced_bytes = 0;
    s.settle();
    s.expect(s.b.export_open && s.count(s.a, core::EventKind::resync_discards) > 0,
             "what the old source loses is reported");
    const std::uint64_t bytes = s.last(s.a, core::EventKind::resync_discards);
    s.expect(bytes > 0 && bytes <= kPartial, "in bytes");
    s.expect(s.resynced_bytes <= kPartial, "a partial resync");
    s.read_all();
  });
}

}  // namespace twinblock::sim
