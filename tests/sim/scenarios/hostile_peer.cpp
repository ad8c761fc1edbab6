// Survival row 41.
#include <array>

#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(hostile_peer, "a peer sends well-formed messages at random", "knows_the_session",
                   "intent_dropped_at_completion", "fua_ignored", "flush_peer_only") {
  c.each([&](Script& s, std::uint32_t i) {
    std::vector<Captured> seen;
    s.start();
    s.record = &seen;
    s.load(10);
    s.drain();
    s.run(kSecond);
    s.record = nullptr;
    Random random{c.seed() * 1000 + i};
    const std::uint64_t writes[] = {s.writes_of(s.a), s.writes_of(s.b)};
    for (int n = 0; n < 20; ++n) {
      Captured m;
      m.from = static_cast<int>(random.below(2));
      m.header.type = static_cast<wire::Type>(random.below(40));
      m.header.session = static_cast<std::uint32_t>(random.name());
      m.header.sequence = random.below(1000);
      m.header.term = random.below(100000);
      m.header.handle = static_cast<std::uint32_t>(random.below(100));
      m.header.offset = random.below(1u << 24) / 512 * 512;
      if (m.header.type == wire::Type::write) {
        m.header.length = m.header.wire_length = 4096;
        m.tags.assign(8, 12345);
      }
      if (m.header.type == wire::Type::zero) m.header.length = 4096;
      std::array<std::byte, wire::kHeaderSize> bytes{};
      if (c.sabotaged("knows_the_session") && m.header.type == wire::Type::write) {
        m.from = 0;
        Script::forge(m, seen);
      }
      if (wire::check_fields(m.header) != wire::errc::ok) continue;
      wire::encode_header(m.header, bytes);
      if (wire::decode_header(bytes).has_value()) s.inject(m);
      s.run(random.one_in(3) ? 100 * kMillisecond : 0);
    }
    s.run(kSecond);
    s.expect(s.a.export_open, "the source stays source");
    s.settle();
    s.expect(s.writes_of(s.a) == writes[0] && s.writes_of(s.b) == writes[1], "and not a byte is written");
    s.read_all();
    return i < 60;
  });
}

}  // namespace twinblock::sim
