// Survival row 3.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(
    source_loses_its_cache,
    "the source loses power with writes in its volatile disk cache, some of them flushed for clients",
    "follower_bits_ignored", "boot_alone_if_was_source", "promote_consistent") {
  c.each([](Script& s, std::uint32_t i) {
    s.start();
    s.load(20);
    s.drain();
    s.must(s.flush(s.a));
    s.must(s.write(s.a, {0, 100}, true));
    s.load(10 + i);
    s.power_cut(s.a);
    s.resynced_bytes = 0;
    if (i % 2 == 0) s.promote(s.b, {.confirm_dead = true});
    s.boot(s.a);
    s.finish();
    s.read_all();
    s.expect(s.resynced_bytes <= kPartial, "no full resync");
    return i < 20;
  });
}

}  // namespace twinblock::sim
