// Survival row 30.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(partition_source_goes_on,
                   "a partition: the source keeps its clients, or freezes where it may not write alone",
                   "bits_not_set_on_link_loss", "bump_after_ack", "fua_ignored") {
  c.play([](Script& s) {
    s.start();
    s.load(20);
    s.drain();
    const std::uint64_t generation = s.a.meta.superblock().current().value();
    s.isolate_silently();
    const std::int64_t begun = s.now();
    s.must(s.write(s.a, {0, 8}));
    s.expect(s.now() - begun <= 3 * kSecond, "it is answered within the timeouts");
    s.expect(s.a.meta.superblock().current().value() != generation, "in a generation of its own");
    s.load(20);
    s.drain();
    s.resynced_bytes = 0;
    s.mend();
    s.settle();
    s.expect(s.resynced_bytes <= kPartial, "a partial resync");
    s.read_all();
  });
  Scenario never = plain_setup();
  never.policy.write_alone = core::WriteAlone::never;
  c.play(never, [](Script& s) {
    s.start();
    s.isolate_silently();
    const core::RequestId request = s.write(s.a, {0, 8});
    s.until("it is frozen, visibly", [&] { return s.status(s.a).frozen; });
    s.run(60 * kSecond);
    s.expect(!s.answer(request).has_value(), "a frozen write is not answered");
    s.mend();
    s.must(request);
    s.settle();
  });
}

}  // namespace twinblock::sim
