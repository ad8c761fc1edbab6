// Survival row 22.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(metadata_bit_flip,
                   "every single bit of superblocks, newest intent records and bitmap page flips",
                   "checksum_is_made_right") {
  c.play([&](Script& s) {
    s.start();
    s.lag();
    s.write(s.a, {6 * kExtent, 16});
    s.write(s.a, {7 * kExtent, 16});
    s.steps(12);
    s.power_cut(s.a);
    const std::vector<std::byte> good = s.a.meta.area();
    const std::vector<std::uint64_t> marks = s.marks(s.a);
    const auto flip = [&](std::size_t at, unsigned bit) {
      s.a.meta.area() = good;
      s.a.meta.area()[at] ^= std::byte{1} << bit;
      if (c.sabotaged("checksum_is_made_right")) s.fix_checksum(s.a, at / bitmap::kBlockSize);
      s.a.meta.recover();  // fails if it is refused
      const std::vector<std::uint64_t> now = s.marks(s.a);
      for (std::size_t i = 0; i < marks.size(); ++i) {
        s.expect((marks[i] & ~now[i]) == 0, "a mark is gone after bit " + std::to_string(bit) + " of byte " +
                                                std::to_string(at % bitmap::kBlockSize) + " of block " +
                                                std::to_string(at / bitmap::kBlockSize) + " flipped");
      }
    };
    const std::size_t page = 2 + 2 * bitmap::kIntentRecords;
    for (std::size_t block = 0; block < good.size() / bitmap::kBlockSize; ++block) {
      const bool all_bits = c.seed() == 1 && (block < 2 || block == page + 1);
      const std::size_t stride = all_bits ? 1 : 37;
      for (std::size_t i = c.seed() % stride; i < bitmap::kBlockSize; i += stride) {
        const std::size_t at = block * bitmap::kBlockSize + i;
        for (unsigned bit = all_bits ? 0 : i % 8; bit < (all_bits ? 8 : i % 8 + 1); ++bit) flip(at, bit);
      }
    }
    s.a.meta.area() = good;
    s.a.meta.recover();
    s.boot(s.a);
    s.mend();
    s.finish();
    s.read_all();
  });
  c.each([](Script& s, std::uint32_t i) {  // and from there to two equal replicas
    s.start();
    s.lag();
    s.write(s.a, {7 * kExtent, 16});
    s.steps(10);
    s.power_cut(s.a);
    const std::size_t blocks = s.a.meta.area().size() / bitmap::kBlockSize;
    const std::size_t at = i % blocks * bitmap::kBlockSize + (i * 977) % bitmap::kBlockSize;
    s.a.meta.area()[at] ^= std::byte{1} << (i % 8);
    s.a.meta.recover();
    s.boot(s.a);
    s.mend();
    s.finish();
    s.read_all();
    return i < 150;
  });
}

}  // namespace twinblock::sim
