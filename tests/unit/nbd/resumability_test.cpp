// However the bytes are cut, a session says the same: a conversation in one piece is the oracle for the same
// conversation byte by byte and in random pieces.
#include <gtest/gtest.h>

#include "base/random.hpp"
#include "tests/unit/nbd/harness.hpp"

namespace twinblock::nbd::test {
namespace {

std::string random_request(Random& random, ReplyForm form) {
  Request r;
  // One in ten is an unknown command, offsets and lengths are often wrong on purpose.
  r.command = static_cast<Command>(random.one_in(10) ? 8 + random.below(100) : random.below(8));
  if (r.command == Command::kDisconnect) r.command = Command::kFlush;
  r.flags = static_cast<std::uint16_t>(random.one_in(5) ? random.below(64) : 0);
  if (r.command == Command::kWrite && form == ReplyForm::kExtended) r.flags |= kCommandPayloadLen;
  r.cookie = random.next();
  r.offset = ByteOffset{random.below(2100) * 512 + (random.one_in(6) ? 1 : 0)};
  r.length = ByteCount{random.below(5) * 512};
  r.form = form;
  std::string bytes = header(r);
  const auto payload = payload_length(r, 32u << 20);
  if (payload) bytes += pattern(payload->value(), static_cast<unsigned>(r.cookie));
  return bytes;
}

std::string conversation(Random& random) {
  const auto form = static_cast<ReplyForm>(random.below(3));
  std::string bytes = client_flags(random.below(2) == 0 ? 3 : 1);
  if (random.one_in(2)) bytes += option(Option::kList);
  if (random.one_in(2)) bytes += option(static_cast<Option>(30 + random.below(9)), pattern(random.below(40)));
  if (random.one_in(4)) bytes += option(Option::kInfo, pattern(20'000));
  if (form == ReplyForm::kStructured) bytes += option(Option::kStructuredReply);
  if (form == ReplyForm::kExtended) bytes += option(Option::kExtendedHeaders);
  bytes += option(Option::kSetMetaContext, context_data("data", {"base:allocation"}));
  if (random.one_in(3)) bytes += option(Option::kGo, go_data("closed"));
  const bool by_name = form != ReplyForm::kExtended && random.one_in(2);
  bytes += by_name ? option(Option::kExportName, "data") : option(Option::kGo, go_data("data", {1, 2, 3}));
  for (std::uint64_t i = random.below(30); i > 0; --i) bytes += random_request(random, form);
  if (random.one_in(2)) bytes += header({Command::kDisconnect, 0, 9, {}, {}, form}) + "left over";
  if (random.one_in(4)) bytes += "garbage that is no request at all, but long enough";
  return bytes;
}

TEST(Resumability, AnyCutGivesTheSameConversation) {
  ExportInfo closed = make_export("closed");
  closed.refusal = "a target";
  const TestCatalog catalog{{make_export("data"), closed}};
  std::size_t requests = 0;
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    Random random{seed};
    const std::string bytes = conversation(random);
    Driver whole{catalog};
    whole.feed(bytes);
    Driver single{catalog};
    single.feed(bytes, 1);
    ASSERT_TRUE(single.log == whole.log) << "seed " << seed << ", byte by byte";
    for (int cut = 0; cut < 5; ++cut) {
      Driver pieces{catalog};
      for (std::string_view rest = bytes; !rest.empty();) {
        const std::size_t n = std::min<std::size_t>(rest.size(), 1 + random.below(300));
        pieces.feed(rest.substr(0, n));
        rest.remove_prefix(n);
      }
      ASSERT_TRUE(pieces.log == whole.log) << "seed " << seed;
    }
    requests += whole.log.events.size();
  }
  EXPECT_GT(requests, 1000u);
}

}  // namespace
}  // namespace twinblock::nbd::test
