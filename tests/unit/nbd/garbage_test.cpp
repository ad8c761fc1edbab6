// Hostile bytes: no crash, no read beyond what came (the sanitizer build watches), bounded memory.
#include <gtest/gtest.h>

#include "base/random.hpp"
#include "tests/unit/nbd/harness.hpp"

namespace twinblock::nbd::test {
namespace {

std::string random_bytes(Random& random, std::size_t size) {
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random.next());
  return bytes;
}

// Good prefix, then a few bytes of a good conversation flipped.
std::string damaged(Random& random) {
  std::string bytes =
      client_flags() + option(Option::kStructuredReply) +
      option(Option::kSetMetaContext, context_data("data", {"base:allocation", "x-twinblock:dirty"})) +
      option(Option::kGo, go_data("data", {1, 2, 3}));
  for (std::uint64_t i = 0; i < 8; ++i) {
    bytes += header({Command::kWrite, 0, i, ByteOffset{i * 512}, ByteCount{512}, ReplyForm::kStructured});
    bytes += pattern(512);
  }
  for (std::uint64_t i = 1 + random.below(4); i > 0; --i) {
    bytes[random.below(bytes.size())] = static_cast<char>(random.next());
  }
  return bytes;
}

TEST(Garbage, NeverCrashesAndNeverServesWhatIsNotThere) {
  const TestCatalog catalog{{make_export("data")}};
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    Random random{seed};
    Driver driver{catalog};
    const std::uint64_t kind = random.below(3);
    if (kind == 0) driver.feed(random_bytes(random, random.below(2000)), 1 + random.below(100));
    if (kind == 1)
      driver.feed(client_flags() + random_bytes(random, random.below(2000)), 1 + random.below(100));
    if (kind == 2) driver.feed(damaged(random), 1 + random.below(100));
    for (const Request& request : driver.log.admitted) {
      if (request.command == Command::kFlush) continue;
      ASSERT_LE(request.range().end(), ByteOffset{1u << 20});
    }
    ASSERT_LE(driver.session.receive_space().size(), Limits{}.stash_size);
  }
}

// A client that never reads: the session stops at its first unread answer instead of piling them up.
TEST(Garbage, UnreadAnswersStopTheParser) {
  const TestCatalog catalog{{make_export("data")}};
  ServerSession session{catalog};
  std::string bytes = client_flags();
  for (int i = 0; i < 20; ++i) bytes += option(Option::kList);
  std::memcpy(session.receive_space().data(), bytes.data(), bytes.size());
  session.received(bytes.size());
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(std::holds_alternative<SendOutput>(session.next()));
  EXPECT_EQ(session.output().size(), 18u);
}

}  // namespace
}  // namespace twinblock::nbd::test
