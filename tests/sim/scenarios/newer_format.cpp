// Survival row 28.
#include "bitmap/decode.hpp"
#include "bitmap/layout.hpp"
#include "tests/sim/script.hpp"

namespace twinblock::sim {
namespace {

// The format version of the superblock copies in `which` (bit 0, bit 1), as a later program would write it.
void set_version(Script& s, unsigned which, std::uint32_t version) {
  for (std::size_t copy = 0; copy < 2; ++copy) {
    if ((which >> copy & 1U) == 0) continue;
    const std::span<std::byte> area{s.b.meta.area()};
    bitmap::put(bitmap::mutable_block_at(area, bitmap::BlockIndex{copy}), bitmap::layout::kVersion, version);
    s.fix_checksum(s.b, copy);
  }
}

}  // namespace

TWINBLOCK_SCENARIO(newer_format, "the metadata was written by a newer version", "bits_not_set_on_link_loss",
                   "no_bump", "needs_a_version_of_our_own") {
  for (unsigned which = 1; which <= 3; ++which) {
    c.at("copies " + std::to_string(which));
    c.play([&](Script& s) {
      s.start();
      s.load(10);
      s.drain();
      s.kill(s.b);
      set_version(s, which,
                  bitmap::layout::kFormatVersion + (c.sabotaged("needs_a_version_of_our_own") ? 0 : 1));
      const std::vector<std::byte> before = s.b.meta.area();
      const auto recovered = bitmap::recover(s.b.meta.area());
      // A copy of our own format beside it is older, or is the torn half of the downgrade: nobody guesses.
      s.expect(!recovered.has_value() && recovered.error() == bitmap::errc::newer_format, "refused as newer");
      s.expect(s.b.meta.area() == before, "and nothing is written");
      s.must(s.write(s.a, {0, 8}));
      set_version(s, which, bitmap::layout::kFormatVersion);  // the newer program is back
      s.resynced_bytes = 0;
      s.boot(s.b);
      s.settle();
      s.expect(s.resynced_bytes <= kPartial, "the rest is a partial resync");
      s.read_all();
    });
  }
}

}  // namespace twinblock::sim
