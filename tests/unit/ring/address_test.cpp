#include "transport/ring/address.hpp"

#include <gtest/gtest.h>

#include "transport/ring/error.hpp"

namespace twinblock::ring {
namespace {

TEST(Addresses, round_trip) {
  for (const char* text : {"unix:/run/a b/c.sock", "tcp:127.0.0.1:7789", "tcp:[::1]:0",
                           "tcp:host.example:65535", "tcp::10809", "tcp:[fe80::1%eth0]:1"}) {
    auto address = parse_address(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->text(), text);
  }
  EXPECT_EQ(parse_address("10.5.2.11:7789")->text(), "tcp:10.5.2.11:7789");
  EXPECT_EQ(parse_address("[::1]:80")->host, "::1");
}

TEST(Addresses, bad_ones_are_refused) {
  for (const char* text :
       {"", "unix:", "host", "host:", "host:x", "host:65536", "host:-1", "host:1x", "::1:80", "[::1]", "[]:1",
        "[nonsense]:1", "[::1:1", "a b:1", "/run/sock:1", "tcp:"}) {
    auto address = parse_address(text);
    ASSERT_FALSE(address) << text;
    EXPECT_EQ(address.error(), errc::kBadAddress) << text;
  }
  EXPECT_EQ(parse_address("unix:/" + std::string(107, 'x')).error(), errc::kAddressTooLong);
}

TEST(Addresses, loopback) {
  EXPECT_TRUE(parse_address("unix:/x")->is_loopback());
  EXPECT_TRUE(parse_address("127.1.2.3:1")->is_loopback());
  EXPECT_TRUE(parse_address("[::1]:1")->is_loopback());
  EXPECT_FALSE(parse_address("10.0.0.1:1")->is_loopback());
  EXPECT_FALSE(parse_address(":1")->is_loopback());
}

}  // namespace
}  // namespace twinblock::ring
