// What the fifth adversarial review of the core's data path found: each test names the promise that was
// broken.
#include <gtest/gtest.h>

#include "tests/unit/core/pair.hpp"

namespace twinblock::core::testing {
namespace {

void set_mode(Pair& p, Mode mode) {
  Command c = verb(Verb::set_policy);
  c.policy.mode = mode;
  p.policy_.mode = mode;
  for (int n = 0; n < 2; ++n) EXPECT_EQ(p.command(n, c), Refusal::none);
}

// P2: a write is answered ahead of an async peer between the announced end of a resync and `resync_done`, and
// the mode becomes sync in between. The end of the resync says nothing of that write: `acked_ahead` stays, or
// after a power loss of the source, which has it on stable storage, the target would lead and overwrite it.
TEST(FifthReview, TheEndOfAResyncDoesNotForgetWhatWasAnsweredBehindIt) {
  Policy policy;
  policy.mode = Mode::async;
  Pair p{policy};
  p.make_source(0);
  p.write(0, 8192, 8, 3);
  p.run();
  p.cut();
  p.write(0, 0, 8, 4);
  p.advance(Duration::seconds(1));
  Node& a = p.node(0);
  a.sent.clear();
  p.allowed_ = true;
  const auto ended = [&] {
    for (const wire::Header& h : a.sent) {
      if (h.type == wire::Type::resync_end) return true;
    }
    return false;
  };
  for (int i = 0; i < 2000 && !ended(); ++i) {
    if (p.round()) continue;
    p.now_ = p.now_ + Duration::milliseconds(1);
    for (int n = 0; n < 2; ++n) p.node(n).inputs.push_back(Tick{});
  }
  ASSERT_TRUE(ended());
  p.node(1).hold_metadata = true;  // the end of the resync takes its time there
  for (int i = 0; i < 20; ++i) p.round();
  p.node(1).hold_disk = true;
  const auto before = p.node(1).data;
  const RequestId w = p.write(0, 0, 8, 9);
  for (int i = 0; i < 20; ++i) p.round();
  ASSERT_EQ(p.answer(0, w), Status::ok);
  const RequestId f = p.flush(0);
  for (int i = 0; i < 20; ++i) p.round();
  ASSERT_EQ(p.answer(0, f), Status::ok);
  set_mode(p, Mode::sync);
  p.release_metadata(1);  // resync_done; the write itself still waits for the target's disk
  ASSERT_EQ(p.status(0).link, LinkState::connected);
  p.allowed_ = false;
  p.crash(0);
  p.crash(1);  // its daemon is killed with what it had queued; its cache stays
  p.node(1).data = before;
  p.node(1).hold_disk = false;
  p.boot(1);
  p.reboot(0);
  p.connect();
  p.advance(Duration::seconds(30));
  EXPECT_EQ(p.node(0).data[0], 9u) << "flushed, acknowledged, overwritten by row "
                                   << int{p.status(0).verdict_rule};
}

}  // namespace
}  // namespace twinblock::core::testing
