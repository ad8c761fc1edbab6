// Survival row 74.
#include <algorithm>

#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(async_queue_overflows, "the queue to an async target overflows",
                   "intent_ignores_peer_stable", "target_overlap_unordered", "bits_not_set_alone") {
  for (const core::QueuePolicy policy : {core::QueuePolicy::block, core::QueuePolicy::track}) {
    Scenario setup = plain_setup();
    setup.policy.mode = core::Mode::async;
    setup.policy.queue_policy = policy;
    setup.policy.queue_bytes_max = ByteCount{64u << 10};
    setup.policy.peer_timeout = Duration::seconds(10);
    c.play(setup, [policy](Script& s) {
      s.start();
      s.b.slow = 300;
      bool unordered = false;
      std::uint64_t queue = 0;
      for (std::uint32_t n = 0; n < 60; ++n) {
        s.must(s.write(s.a, {n % 3 * kExtent + n * 4, 16}));
        queue = std::max(queue, s.status(s.a).queue_bytes);
        const bool resync = s.status(s.a).link == core::LinkState::resyncing && s.resynced_bytes > 0;
        unordered = unordered || resync;
        if (resync && s.writes_of(s.b) > 0 && s.status(s.b).link == core::LinkState::resyncing)
          s.expect(s.b.meta.superblock().disk_state == bitmap::DiskState::inconsistent,
                   "marked while it is unordered");
      }
      if (policy == core::QueuePolicy::track)
        s.expect(s.count(s.a, core::EventKind::queue_full) > 0, "the queue was full");
      if (policy == core::QueuePolicy::block) s.expect(queue <= (64u << 10) + 16384, "and bounded");
      s.b.slow = 1;
      s.settle();
      if (policy == core::QueuePolicy::track)
        s.expect(unordered || s.resynced_bytes > 0, "a resync by itself");
      s.read_all();
    });
  }
}

}  // namespace twinblock::sim
