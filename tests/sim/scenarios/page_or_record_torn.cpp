// Survival row 20.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(page_or_record_torn, "a bitmap page or an intent record is torn at every 512-byte cut",
                   "pages_not_persisted_before_drop", "flush_local_only", "hot_extents_forgotten") {
  for (const bool page : {true, false}) {
    for (std::uint32_t nth = 0; nth < 6; ++nth) {
      for (std::size_t cut = 0; cut <= 2 * bitmap::kBlockSize; cut += 512) {
        c.at(std::string{page ? "page" : "record"} + " write " + std::to_string(nth) + ", cut at " +
             std::to_string(cut));
        c.play([&](Script& s) {
          s.start();
          std::uint32_t seen = 0;
          std::uint64_t block = 0;
          s.on_metadata = [&](const Node& n, const core::MetaWrite& io) {
            const bool is_page = io.block >= 2 + 2 * bitmap::kIntentRecords;
            if (n.index != 0 || io.block < 2 || is_page != page || block != 0 || seen++ != nth) return 0;
            block = io.block;
            return Tap::kHold;
          };
          s.load(10);
          s.run(kSecond / 2);
          s.partition();
          s.write(s.a, {kExtent, 8});
          s.write(s.a, {3 * kExtent, 8});
          s.run(kSecond);
          s.mend();
          s.run(2 * kSecond);
          if (block == 0) return;
          s.tear_metadata(s.a, block, cut);
          nth % 2 == 0 ? s.power_cut(s.a) : s.kill(s.a);  // then every difference still has its mark
          s.release();
          s.boot(s.a);
          s.finish();
          s.read_all();
        });
      }
    }
  }
}

}  // namespace twinblock::sim
