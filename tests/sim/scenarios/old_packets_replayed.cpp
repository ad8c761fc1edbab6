// Survival row 39.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(old_packets_replayed, "packets of an old session arrive in the new one",
                   "flush_local_only", "bump_after_ack", "bits_not_set_alone",
                   "sessions_are_not_told_apart") {
  std::uint32_t count = 0;
  for (std::uint32_t nth = 0; nth <= count; ++nth) {
    c.at("message " + std::to_string(nth));
    c.play([&](Script& s) {
      std::vector<Captured> old;
      s.start();
      s.record = &old;
      s.must(s.write(s.a, {0, 8}));
      s.must(s.zero(s.a, {4, 8}));
      s.must(s.flush(s.a));
      s.lag();
      s.mend();
      s.settle();
      s.cut();
      s.run(kSecond);
      s.settle();
      std::vector<Captured> fresh;
      s.record = &fresh;
      s.must(s.write(s.a, {0, 16}));
      s.drain();
      s.run(kSecond);  // nothing is hot any more: what landed now would leave no mark
      s.record = nullptr;
      count = static_cast<std::uint32_t>(old.size());
      if (nth >= old.size()) return;
      Captured m = old[nth];
      if (c.sabotaged("sessions_are_not_told_apart") && m.header.type == wire::Type::write && m.from == 0)
        Script::forge(m, fresh);
      s.inject(m);
      s.run(20 * kMillisecond);
      s.settle();
      s.read_all();
    });
  }
}

}  // namespace twinblock::sim
