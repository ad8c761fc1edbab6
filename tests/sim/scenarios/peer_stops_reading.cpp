// Survival row 47.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(peer_stops_reading, "the peer stops reading", "bits_not_set_on_link_loss",
                   "bump_after_ack", "bits_not_set_alone") {
  enum class How { sync, block, track };
  for (const How how : {How::sync, How::block, How::track}) {
    Scenario setup = plain_setup();
    setup.policy.mode = how == How::sync ? core::Mode::sync : core::Mode::async;
    setup.policy.queue_policy = how == How::track ? core::QueuePolicy::track : core::QueuePolicy::block;
    setup.policy.queue_bytes_max = ByteCount{64u << 10};
    if (how != How::sync) setup.policy.peer_timeout = Duration::seconds(30);
    c.play(setup, [how](Script& s) {
      s.start();
      s.stall(s.a);
      std::vector<core::RequestId> requests;
      for (std::uint32_t i = 0; i < 16; ++i) requests.push_back(s.write(s.a, {i * 16, 16}));
      s.run(4 * kSecond);
      std::size_t answered = 0;
      for (const core::RequestId r : requests) answered += s.answer(r).has_value() ? 1 : 0;
      if (how == How::block) s.expect(answered < requests.size(), "a full queue blocks");
      if (how != How::block) s.expect(answered == requests.size(), "bounded latency");
      if (how != How::track)
        s.expect(s.status(s.a).queue_bytes <= (64u << 10) + 8192, "the queue is bounded");
      s.mend();
      for (const core::RequestId r : requests) s.must(r);
      s.settle();
      s.read_all();
    });
  }
}

}  // namespace twinblock::sim
