#include "transport/nbd/status.hpp"

#include <gtest/gtest.h>

#include <utility>

namespace twinblock::nbd {
namespace {

// The protocol's numbers, spelled out here so that a slip in the table cannot hide.
TEST(Status, MapsToTheErrnosOfTheProtocol) {
  const std::pair<Status, std::uint32_t> rows[] = {
      {Status::kOk, 0},        {Status::kPermission, 1},    {Status::kIo, 5},
      {Status::kNoMemory, 12}, {Status::kInvalid, 22},      {Status::kNoSpace, 28},
      {Status::kOverflow, 75}, {Status::kNotSupported, 95}, {Status::kShutdown, 108},
  };
  static_assert(std::size(rows) == kStatusCount);
  for (const auto& [status, wire] : rows) {
    EXPECT_EQ(wire_error(status), wire);
    EXPECT_EQ(default_text(status).empty(), status == Status::kOk);
  }
}

TEST(Status, DropReasonsHaveTexts) {
  for (int i = 1; i <= static_cast<int>(errc::kWriteWithoutPayloadFlag); ++i) {
    const ErrorCode code = make_error_code(static_cast<errc>(i));
    EXPECT_STREQ(code.category().name(), "nbd");
    EXPECT_NE(code.message(), "unknown nbd error") << i;
  }
}

}  // namespace
}  // namespace twinblock::nbd
