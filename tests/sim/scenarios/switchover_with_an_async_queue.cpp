// Survival row 73.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(switchover_with_an_async_queue,
                   "roles are swapped while the queue to an async target is full", "intent_after_data",
                   "superblock_one_copy", "uptodate_before_superblock") {
  Scenario setup = plain_setup();
  setup.policy.mode = core::Mode::async;
  setup.latency_ns = 5 * kMillisecond;
  c.each(setup, [](Script& s, std::uint32_t i) {
    s.start();
    s.must(s.write(s.a, {0, 8}));  // the first waits until it is durable that the source may be ahead
    s.b.slow = 50;
    std::vector<core::RequestId> requests;
    for (std::uint32_t n = 0; n < 12; ++n) requests.push_back(s.write(s.a, {n * 20, 16}));
    for (const core::RequestId r : requests) s.must(r);
    s.expect(s.status(s.a).queue_bytes > 0, "something is queued");
    const core::Refusal why = s.command(i % 2 == 0 ? s.a : s.b, core::Verb::switchover);
    s.expect(why == core::Refusal::none, "it is done");
    s.until("the target has taken over", [&] { return s.b.export_open; });
    for (std::uint32_t n = 0; n < 12; ++n)
      s.expect(s.content(s.b, n * 20) == s.content(s.a, n * 20), "loss is 0");
    s.b.slow = 1;
    s.settle();
    s.read_all();
    return i < 6;
  });
}

}  // namespace twinblock::sim
