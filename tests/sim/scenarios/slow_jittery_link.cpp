// Survival row 36.
#include <algorithm>

#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(slow_jittery_link, "a link with 200 ms of jittering delay", "target_overlap_unordered",
                   "flush_local_only", "ack_before_peer", "timeout_is_too_short") {
  for (const core::Mode mode : {core::Mode::sync, core::Mode::async}) {
    Scenario setup = plain_setup();
    setup.latency_ns = 200 * kMillisecond;
    setup.policy.mode = mode;
    setup.policy.peer_timeout =
        c.sabotaged("timeout_is_too_short") ? Duration::milliseconds(100) : Duration::seconds(10);
    setup.policy.queue_bytes_max = ByteCount{256u << 10};
    c.play(setup, [](Script& s) {
      s.start();
      std::uint64_t queue = 0;
      for (int i = 0; i < 60; ++i) {
        s.load(2);
        queue = std::max(queue, s.status(s.a).queue_bytes);
      }
      s.drain();
      s.expect(s.count(s.a, core::EventKind::link_down) == 0, "slow is not lost");
      s.expect(queue <= (256u << 10) + (1u << 20), "the queue is bounded");
      s.settle();
      s.read_all();
    });
  }
}

}  // namespace twinblock::sim
