// Survival rows 37 and 38.
#include <array>

#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(damaged_on_the_wire, "a bit of a message flips on the wire, in every place of its header",
                   "bits_not_set_alone", "resync_before_inconsistent", "no_bump") {
  c.each([](Script& s, std::uint32_t nth) {
    s.start();
    s.resynced_bytes = 0;
    s.lag();
    std::uint32_t seen = 0;
    bool damaged = false;
    s.on_message = [&](const Node& from, const wire::Header& header) {
      if (damaged || seen++ != 5 * nth) return !damaged;
      std::array<std::byte, wire::kHeaderSize> bytes{};
      wire::encode_header(header, bytes);
      for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
        bytes[bit / 8] ^= std::byte{1} << (bit % 8);
        s.expect(!wire::decode_header(bytes).has_value(), "the parser refuses it before anything is written");
        bytes[bit / 8] ^= std::byte{1} << (bit % 8);
      }
      damaged = true;
      s.close_at(s.world_other(from));  // which is how the receiver's engine answers
      return false;
    };
    s.mend();
    s.run(kSecond / 4);
    s.release();
    s.settle();
    s.read_all();
    return damaged;
  });
}

}  // namespace twinblock::sim
