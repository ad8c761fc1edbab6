#include "replicator/control/log.hpp"

#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/control/control_fixture.hpp"

namespace twinblock::control::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr Instant kStart{1'000'000'000'000};

Instant at_ms(std::int64_t ms) {
  return kStart + Duration::milliseconds(ms);
}

TEST(RateLimiter, BurstThenOnePerRefillWithTheCountOfTheSuppressed) {
  RateLimiter limiter{{.burst = 3, .refill = Duration::seconds(1)}};
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(limiter.admit("k", at_ms(0)).allowed);
  for (int i = 0; i < 7; ++i) EXPECT_FALSE(limiter.admit("k", at_ms(i * 100)).allowed);
  EXPECT_FALSE(limiter.admit("k", at_ms(999)).allowed);
  const auto verdict = limiter.admit("k", at_ms(1000));
  EXPECT_TRUE(verdict.allowed);
  EXPECT_EQ(verdict.suppressed, 8u);
  EXPECT_FALSE(limiter.admit("k", at_ms(1001)).allowed);
  // A long pause refills the burst and no more.
  int allowed = 0;
  for (int i = 0; i < 10; ++i) allowed += limiter.admit("k", at_ms(3'600'000)).allowed ? 1 : 0;
  EXPECT_EQ(allowed, 3);
}

TEST(RateLimiter, KeysDoNotShareAndTheirNumberIsBounded) {
  RateLimiter limiter{{.burst = 1, .refill = Duration::seconds(1)}};
  EXPECT_TRUE(limiter.admit("a", at_ms(0)).allowed);
  EXPECT_TRUE(limiter.admit("b", at_ms(0)).allowed);
  EXPECT_FALSE(limiter.admit("a", at_ms(0)).allowed);
  int allowed = 0;
  for (std::size_t i = 0; i < kRateLimitKeysMax * 2; ++i) {
    allowed += limiter.admit("key" + std::to_string(i), at_ms(0)).allowed ? 1 : 0;
  }
  EXPECT_LE(static_cast<std::size_t>(allowed), kRateLimitKeysMax);
}

TEST(RateLimiter, AClockThatStandsOrStepsBackIsHarmless) {
  RateLimiter limiter{{.burst = 1, .refill = Duration::seconds(1)}};
  EXPECT_TRUE(limiter.admit("k", at_ms(5000)).allowed);
  EXPECT_FALSE(limiter.admit("k", at_ms(0)).allowed);
  EXPECT_TRUE(limiter.admit("k", at_ms(6000)).allowed);
  const auto suppressed = limiter.take_suppressed();
  EXPECT_TRUE(suppressed.empty());
}

TEST(Log, LineFormatQuotesWhatCouldBeMistakenOrForged) {
  EXPECT_EQ(format_log_line("link.down", "lost it", {{"peer", "beta"}, {"errno", 110}, {"retry", true}}, 0),
            "link.down peer=beta errno=110 retry=true msg=\"lost it\"");
  const std::string line = format_log_line("k", "a\nb", {{"x", "1 2=\"3\""}, {"empty", ""}}, 4);
  EXPECT_EQ(line, "k x=\"1 2=\\\"3\\\"\" empty=\"\" suppressed=4 msg=\"a\\x0ab\"");
}

TEST(Log, WritesInTheBackgroundAndReportsSuppressedLinesAtTheEnd) {
  TempDir dir;
  const std::string path = dir.file("log");
  log_setup({.level = LogLevel::kInfo,
             .queue_lines = 256,
             .limit = {.burst = 2, .refill = Duration::seconds(3600)},
             .file = path});
  log_debug("noise", "below the level");
  for (int i = 0; i < 100; ++i) log_warning("link.down", "lost the session", {{"peer", "beta"}});
  log_error("disk.failed", "write error");
  log_shutdown();
  std::ifstream in{path};
  std::stringstream text;
  text << in.rdbuf();
  EXPECT_THAT(text.str(), HasSubstr("Z warning link.down peer=beta msg=\"lost the session\"\n"));
  EXPECT_THAT(text.str(), HasSubstr("Z error disk.failed msg=\"write error\"\n"));
  EXPECT_THAT(text.str(), HasSubstr("link.down suppressed=98 msg="));
  EXPECT_THAT(text.str(), Not(HasSubstr("noise")));
}

}  // namespace
}  // namespace twinblock::control::test
