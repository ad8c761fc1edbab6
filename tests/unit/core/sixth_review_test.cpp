// What the sixth adversarial review found about the mends of the fifth: each test names the promise that was
// broken.
#include <gtest/gtest.h>

#include "tests/unit/core/pair.hpp"

namespace twinblock::core::testing {
namespace {

Command confirmed() {
  Command c = verb(Verb::promote);
  c.confirm_dead = true;
  return c;
}

// P9: the peer, confirmed dead, comes back while the promotion flushes, and a session with it begins. When
// that breaks before the promotion ends, the operator's word of before says nothing of the peer any more: it
// may have gone on by a proof of its own.
TEST(SixthReview, AConfirmationEndsWithTheSessionOfTheDead) {
  Policy policy;
  policy.after_restart = AfterRestart::target;
  Pair p{policy};
  p.make_source(0);
  p.write(0, 0, 8, 10);
  p.advance(Duration::milliseconds(10));
  ASSERT_EQ(p.command(0, verb(Verb::demote)), Refusal::none);  // node 1 has a proof: handed over
  p.cut();
  p.node(0).hold_disk = true;
  Command c = confirmed();
  c.id = 1000;
  p.node(0).inputs.push_back(c);
  p.run();
  p.connect();
  ASSERT_EQ(p.node(0).held.size(), 1u);  // its flush ends now; the one of the second attempt does not
  p.node(0).inputs.push_back(p.node(0).held.front());
  p.node(0).held.clear();
  p.run();
  ASSERT_EQ(p.status(0).link, LinkState::connected);
  ASSERT_FALSE(p.node(0).export_open);
  p.cut();
  p.release(0);
  const Refusal other = p.command(1, verb(Verb::promote));
  p.advance(Duration::milliseconds(100));
  EXPECT_FALSE(p.node(0).export_open && p.node(1).export_open)
      << "two sources; promote without a word: " << static_cast<int>(other);
  EXPECT_EQ(other, Refusal::none);
  EXPECT_EQ(p.node(0).commands[1000], Refusal::peer_may_have_more);
}

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

// P7: a peer that lives, also one whose hello is refused, ends what the operator confirmed of it.
TEST(SixthReview, AConfirmationEndsWithARefusedHelloOfTheDead) {
  Policy policy;
  policy.write_alone = WriteAlone::fenced;
  policy.after_restart = AfterRestart::target;
  Pair p{policy};
  p.make_source(1);
  p.write(1, 0, 8, 10);
  p.advance(Duration::milliseconds(10));
  p.cut();
  p.node(0).hold_disk = true;
  Command c = confirmed();
  c.id = 1000;
  p.node(0).inputs.push_back(c);
  p.run();
  wire::HelloBody h;
  h.mirror_id = p.status(0).mirror_id;
  h.node = 1;
  h.identity = 201;
  h.mirror_name = "m";
  h.config_text = "mode=async\n";  // it lives, and somebody is changing its configuration
  std::vector<std::byte> body(wire::kBodySizeMax);
  const std::size_t size = wire::encode(h, body);
  wire::Header header;
  header.type = wire::Type::hello;
  header.length = header.wire_length = static_cast<std::uint32_t>(size);
  p.node(0).inputs.push_back(LinkUp{900});
  p.run();
  p.node(0).inputs.push_back(MessageIn{900, header, std::span{body}.first(size), 0});
  p.run();
  p.release(0);
  ASSERT_EQ(p.status(0).role, Role::source);
  const RequestId w = p.write(0, 0, 8, 20);
  p.advance(Duration::seconds(1));
  EXPECT_FALSE(p.answer(0, w).has_value()) << "written alone beside a peer that lives";
  EXPECT_TRUE(p.status(0).frozen);
  EXPECT_EQ(p.command(0, verb(Verb::confirm_dead)), Refusal::none);  // said again, it counts
  p.advance(Duration::seconds(1));
  EXPECT_EQ(p.answer(0, w), Status::ok);
}

// P9: nor does a confirmation count that is given while the peer's hello has come and the handshake waits for
// this node: the peer lives, and its link may break before it has said that it is source.
TEST(SixthReview, AConfirmationDuringTheFirstHandshakeOfALinkIsNone) {
  Pair p;
  p.make_source(0);
  p.node(1).hold_disk = true;
  p.write(0, 0, 8, 10);
  p.run();
  p.cut();  // what the target has received is not applied yet: it cannot negotiate
  p.connect();
  p.run();
  Command c = confirmed();
  c.id = 1000;
  p.node(1).inputs.push_back(c);
  p.run();
  p.cut();
  p.release(1);
  p.advance(Duration::seconds(1));
  EXPECT_FALSE(p.node(0).export_open && p.node(1).export_open) << "two sources";
  EXPECT_EQ(p.node(1).commands[1000], Refusal::peer_may_have_more);
}

// P9: nor beside a peer whose stream is paused (by hand, or for a moment by the queue policy): it is here,
// and goes on as source.
TEST(SixthReview, AConfirmationBesideAPausedPeerIsNone) {
  for (const int paused : {0, 1}) {
    Pair p;
    p.make_source(0);
    ASSERT_EQ(p.command(paused, verb(Verb::pause)), Refusal::none);
    EXPECT_EQ(p.command(1, confirmed()), Refusal::peer_lives);
    const RequestId w = p.write(0, 0, 8, 9);
    const RequestId v = p.write(1, 0, 8, 8);
    p.advance(Duration::milliseconds(100));
    EXPECT_EQ(p.answer(0, w), Status::ok);
    EXPECT_NE(p.answer(1, v), Status::ok) << "two sources answer, the link between them is up";
    p.cut();  // now it may be dead
    EXPECT_EQ(p.command(1, confirmed()), Refusal::none);
  }
}

// P13: as many extents as the log has slots are written all the time and are never all stable; a write to
// another one gets its turn (the soak, seed 20261130: none for 60 s).
TEST(SixthReview, AWriteToAColdExtentGetsItsTurnBesideHotOnes) {
  Pair p{Policy{}, 64u << 20};
  p.make_source(0);
  Node& a = p.node(0);
  const std::uint64_t slots = 8;  // Pair's geometry
  a.hold_disk = true;
  RequestId cold = 0;
  for (int step = 0; step < 500; ++step) {
    const std::vector<Input> before = a.held;
    a.held.clear();
    for (std::uint64_t e = 0; e < slots; ++e)
      p.write(0, e * 8192 + static_cast<std::uint64_t>(step % 4) * 8, 8, 7);
    if (step == 1) cold = p.write(0, 12 * 8192, 8, 9);
    p.run();
    for (const Input& in : before) a.inputs.push_back(in);
    p.now_ = p.now_ + Duration::milliseconds(20);
    a.inputs.push_back(Tick{});
    p.run();
  }
  EXPECT_EQ(p.answer(0, cold), Status::ok);
  p.release(0);
}

}  // namespace
}  // namespace twinblock::core::testing
