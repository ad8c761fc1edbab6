// Survival row 72.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(stale_client_writes_to_the_old_source,
                   "clients go on writing to the old source after a failover", "boot_alone_if_was_source",
                   "promote_consistent", "bump_after_ack") {
  Scenario setup = plain_setup();
  setup.policy.write_alone = core::WriteAlone::fenced;
  c.play(setup, [](Script& s) {
    s.start();
    s.load(10);
    s.drain();
    s.partition();
    const core::RequestId stale = s.write(s.a, {0, 8});
    s.until("it is frozen", [&] { return s.status(s.a).frozen; });
    s.kill(s.a);
    s.promote(s.b, {.confirm_dead = true});
    s.must(s.write(s.b, {0, 8}));
    s.boot(s.a);
    s.run(kSecond);  // still cut off
    s.expect(s.wait(s.write(s.a, {0, 8})) == core::Status::not_source, "the old source takes nothing");
    s.mend();
    s.settle();
    s.expect(s.wait(s.write(s.a, {0, 8})) == core::Status::not_source, "nor later");
    s.expect(!s.answer(stale).has_value(), "and never answered what it could not replicate");
    s.read_all();
  });
  c.play([](Script& s) {  // in order
    s.start();
    s.load(10);
    s.expect(s.command(s.b, core::Verb::switchover) == core::Refusal::none, "switched over");
    s.drain();
    s.expect(s.wait(s.write(s.a, {0, 8})) == core::Status::not_source, "the old source takes nothing");
    s.must(s.write(s.b, {0, 8}));
    s.settle();
    s.read_all();
  });
}

}  // namespace twinblock::sim
