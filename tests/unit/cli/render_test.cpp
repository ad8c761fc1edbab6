// What people see.
#include "cli/render.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/verbs.hpp"
#include "tests/unit/control/control_fixture.hpp"

namespace twinblock::cli::test {
namespace {

using control::test::sample_mirror;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Render, StatusIsATableWithoutEscapesUnlessColoured) {
  const control::StatusReply status{"alpha", "0.1.0", 90, {sample_mirror()}};
  const std::string plain = render_status(status, {.colour = false, .width = 100});
  EXPECT_THAT(plain, HasSubstr("node alpha, twinblock 0.1.0, up 1m30s\n"));
  EXPECT_THAT(plain, HasSubstr("data    Resyncing  source  memsync  64.0 GiB  uptodate  1"));
  EXPECT_THAT(plain, HasSubstr("  beta  resyncing  inconsistent  3.00 GiB  64.0 KiB  0.25s"));
  EXPECT_THAT(plain, HasSubstr(" 25 %  1.00 GiB of 4.00 GiB  300 MiB/s  ETA 10s"));
  EXPECT_THAT(plain, HasSubstr("beta is catching up"));
  EXPECT_THAT(plain, Not(HasSubstr("\x1b")));
  EXPECT_THAT(render_status(status, {.colour = true, .width = 100}), HasSubstr("\x1b[33mResyncing\x1b[0m"));
}

TEST(Render, TextFromElsewhereCannotDriveTheTerminal) {
  auto mirror = sample_mirror();
  mirror.reason = "evil \x1b[2J\n fake";
  const std::string text = render_status({"alpha", "0.1.0", 1, {mirror}}, {});
  EXPECT_THAT(text, HasSubstr("evil ?[2J? fake"));
}

TEST(Render, ProgressFitsItsWidthAndNeverClaimsTooMuch) {
  for (const std::size_t width : {20u, 60u, 80u, 200u}) {
    const std::string bar =
        render_progress({999'999, 1'000'000, 1, std::nullopt}, {.colour = false, .width = width});
    EXPECT_THAT(bar, HasSubstr("99 %"));
    EXPECT_THAT(bar, HasSubstr("ETA ?"));
    if (width >= 60) {
      EXPECT_LE(bar.size(), width);
    }
  }
  EXPECT_THAT(render_progress({0, 1000, 0, 0}, {}), HasSubstr("0.0 %"));
  EXPECT_THAT(render_progress({999, 100'000, 0, 0}, {}), HasSubstr("0.9 %"))
      << "what is slow is seen to move";
  EXPECT_THAT(render_progress({100, 1000, 0, 0}, {}), HasSubstr(" 10 %"));
  EXPECT_THAT(render_progress({0, 0, 0, 0}, {}), HasSubstr("100 %"));
  EXPECT_THAT(render_progress({5, 4, 0, 0}, {}), HasSubstr("100 %"));
}

TEST(Render, AnErrorHasThreeLinesEvenIfTheDaemonGaveNone) {
  EXPECT_EQ(render_error({control::Outcome::kRefused, "a", "b", "c", ""}, {}),
            "twinblock: a\n  safe: b\n  next: c\n");
  const std::string bare = render_error({control::Outcome::kFailed, "", "", "", ""}, {});
  EXPECT_EQ(std::count(bare.begin(), bare.end(), '\n'), 3);
}

TEST(Render, EventLine) {
  const control::Event event{17,        1'700'000'000'123, "data", "link.down", control::Severity::kWarning,
                             "lost it", {{"peer", "beta"}}};
  EXPECT_EQ(render_event(event, {}),
            "2023-11-14 22:13:20.123Z  #17  warning  data  link.down  lost it  peer=beta");
}

TEST(Wait, Conditions) {
  auto mirror = sample_mirror();
  EXPECT_TRUE(condition_holds(mirror, Condition::kConnected));
  EXPECT_TRUE(condition_holds(mirror, Condition::kUptodate));
  EXPECT_TRUE(condition_holds(mirror, Condition::kSource));
  EXPECT_FALSE(condition_holds(mirror, Condition::kTarget));
  EXPECT_FALSE(condition_holds(mirror, Condition::kSynced));
  mirror.peers[0].resync.reset();
  mirror.peers[0].dirty_bytes = 0;
  mirror.peers[0].replica = control::ReplicaState::kUptodate;
  mirror.peers[0].link = control::LinkState::kConnected;
  EXPECT_TRUE(condition_holds(mirror, Condition::kSynced));
  mirror.peers[0].dirty_bytes = 1;
  EXPECT_FALSE(condition_holds(mirror, Condition::kSynced));
  mirror.peers.clear();
  EXPECT_FALSE(condition_holds(mirror, Condition::kConnected));
  EXPECT_FALSE(condition_holds(mirror, Condition::kSynced));
}

}  // namespace
}  // namespace twinblock::cli::test
