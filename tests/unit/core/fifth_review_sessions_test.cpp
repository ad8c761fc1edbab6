// What the fifth adversarial review found about sessions, roles, generations and metadata: each test names
// the promise that was broken.
#include <gtest/gtest.h>

#include "tests/unit/core/pair.hpp"

namespace twinblock::core::testing {
namespace {

Command confirmed() {
  Command c = verb(Verb::promote);
  c.confirm_dead = true;
  return c;
}

// P9: the peer, confirmed dead, comes back as the source that it is while the promotion flushes: it is no
// longer a matter of the operator's word.
TEST(FifthReview, APromotionUnderWayHeedsThePeerThatComesBack) {
  Pair p;
  p.make_source(0);
  p.cut();
  p.write(0, 0, 8, 10);
  p.advance(Duration::milliseconds(10));
  p.node(1).hold_disk = true;
  Command c = confirmed();
  c.id = 1000;
  p.node(1).inputs.push_back(c);
  p.run();
  p.connect();
  p.advance(Duration::milliseconds(10));
  p.release(1);
  p.advance(Duration::seconds(1));
  EXPECT_FALSE(p.saw(0, EventKind::deposed));
  EXPECT_EQ(p.status(0).role, Role::source);
  EXPECT_EQ(p.node(1).commands[1000], Refusal::peer_is_source);
  EXPECT_EQ(p.node(0).data, p.node(1).data);
}

}  // namespace
}  // namespace twinblock::core::testing
