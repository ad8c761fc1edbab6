// What the sixth adversarial review found about the mends of the fifth: each test names the promise that was
// broken.
#include <gtest/gtest.h>

#include "tests/unit/core/pair.hpp"

namespace twinblock::core::testing {
namespace {

// P12: a hello that does not name the peer we know changes nothing, whatever term it claims.
TEST(SixthReview, AHelloOfNobodyDeposesNobody) {
  Pair p;
  p.boot(0);
  ASSERT_EQ(p.command(0, verb(Verb::promote)), Refusal::none);
  wire::HelloBody h;
  h.mirror_id = p.status(0).mirror_id;
  h.node = 1;
  h.identity = 0;
  std::vector<std::byte> body(wire::kBodySizeMax);
  const std::size_t size = wire::encode(h, body);
  wire::Header header;
  header.type = wire::Type::hello;
  header.length = header.wire_length = static_cast<std::uint32_t>(size);
  header.term = std::uint64_t{77} << 8 | 1;
  p.node(0).inputs.push_back(LinkUp{900});
  p.run();
  p.node(0).inputs.push_back(MessageIn{900, header, std::span{body}.first(size), 0});
  p.run();
  EXPECT_EQ(p.status(0).role, Role::source);
  EXPECT_FALSE(p.saw(0, EventKind::deposed));
}

}  // namespace
}  // namespace twinblock::core::testing
