// Survival row 18.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(superblock_torn, "a superblock update is torn at every 512-byte cut",
                   "bits_not_set_on_link_loss", "bump_after_ack") {
  struct Update {
    bool at_source;
    std::uint32_t skip;  // superblock writes before it
  };
  for (const bool at_source : {true, false}) {
    for (std::uint32_t nth = 0; nth < 12; ++nth) {
      for (std::size_t cut = 0; cut <= bitmap::kBlockSize; cut += 512) {
        c.at("superblock write " + std::to_string(nth) + (at_source ? " of A" : " of B") + ", cut at " +
             std::to_string(cut));
        c.play([&](Script& s) {
          s.start();
          s.must(s.write(s.a, {0, 8}));
          Node& n = at_source ? s.a : s.b;
          std::uint32_t seen = 0;
          std::uint64_t block = UINT64_MAX;
          s.on_metadata = [&](const Node& at, const core::MetaWrite& io) {
            if (&at != &n || io.block > 1 || block != UINT64_MAX || seen++ != nth) return 0;
            block = io.block;
            return Tap::kHold;
          };
          s.partition();  // a generation, a resync, a change of roles: superblocks on both
          const core::RequestId request = s.write(s.a, {2 * kExtent, 8});
          s.run(kSecond);
          s.mend();
          s.run(4 * kSecond);
          s.ask(s.b, core::Verb::switchover);
          s.run(kSecond);
          if (block == UINT64_MAX) return;
          s.tear_metadata(n, block, cut);
          s.power_cut(n);
          s.release();
          s.boot(n);
          s.finish();
          s.read_all();
          static_cast<void>(request);
        });
      }
    }
  }
}

}  // namespace twinblock::sim
