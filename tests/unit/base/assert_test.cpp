#include "base/assert.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdio>

#include "base/error.hpp"

namespace twinblock {
namespace {

int evaluated(int* count) {
  return ++*count;
}

TEST(AssertDeathTest, AbortsInEveryBuildTypeWithTheText) {
  EXPECT_DEATH(TB_ASSERT(1 + 1 == 3), "assertion failed: 1 \\+ 1 == 3 at .*assert_test.cpp");
}

TEST(AssertDeathTest, HookSeesTheTextBeforeTheEnd) {
  EXPECT_DEATH(
      {
        set_assertion_hook([](const char* text) { std::fprintf(stderr, "last events before: %s\n", text); });
        TB_ASSERT(false);
      },
      "last events before: assertion failed: false");
}

TEST(Assert, EvaluatesItsExpressionOnce) {
  int count = 0;
  TB_ASSERT(evaluated(&count) == 1);
  EXPECT_EQ(count, 1);
}

TEST(SystemError, TakesErrnoAndNegativeRingResultsAlike) {
  EXPECT_EQ(system_error(EIO), system_error(-EIO));
  EXPECT_EQ(system_error(ENOSPC).value(), ENOSPC);
  EXPECT_FALSE(system_error(EIO).message().empty());
}

}  // namespace
}  // namespace twinblock
