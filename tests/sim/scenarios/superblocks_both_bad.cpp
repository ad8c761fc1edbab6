// Survival row 19.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(superblocks_both_bad, "both copies of the superblock are bad", "fua_ignored",
                   "flush_peer_only", "ack_before_peer", "one_copy_is_left") {
  for (std::size_t byte = 0; byte < bitmap::kBlockSize; byte += 61) {
    c.at("byte " + std::to_string(byte));
    c.play([&](Script& s) {
      s.start();
      s.load(10);
      s.drain();
      s.power_cut(s.b);
      s.b.meta.area()[byte] ^= std::byte{1};
      if (!c.sabotaged("one_copy_is_left")) s.b.meta.area()[bitmap::kBlockSize + byte] ^= std::byte{0x80};
      s.expect(s.fails_recovery(s.b), "such an area does not start, and is never taken for a fresh one");
      s.new_replica(s.b);  // what the operator is told to do
      s.boot(s.b);
      s.settle();
      s.read_all();
    });
  }
}

}  // namespace twinblock::sim
