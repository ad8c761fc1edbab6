// The transmission phase allocates nothing: not for requests, not for replies, not for refusals.
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <new>

#include "tests/unit/nbd/harness.hpp"

namespace {
std::size_t g_allocation_count = 0;
}

void* operator new(std::size_t size) {
  ++g_allocation_count;
  if (void* p = std::malloc(size)) return p;
  throw std::bad_alloc{};
}
void operator delete(void* p) noexcept {
  std::free(p);
}
void operator delete(void* p, std::size_t) noexcept {
  std::free(p);
}

namespace twinblock::nbd::test {
namespace {

TEST(Allocation, NoneInTransmission) {
  const TestCatalog catalog{{make_export("data")}};
  Driver driver{catalog};
  driver.open(ReplyForm::kStructured, "data", {"base:allocation"});
  const auto form = ReplyForm::kStructured;
  const std::string bytes = header({Command::kRead, 0, 1, {}, ByteCount{4096}, form}) +
                            header({Command::kWrite, 0, 2, {}, ByteCount{512}, form}) + pattern(512) +
                            header({Command::kWrite, 0, 3, ByteOffset{1u << 20}, ByteCount{512}, form}) +
                            pattern(512) + header({Command::kBlockStatus, 0, 4, {}, ByteCount{512}, form});
  std::array<std::byte, kReplySizeMax> out{};
  std::array<std::byte, 512> payload{};
  ServerSession& session = driver.session;
  const std::array<StatusExtent, 1> extents{{{ByteCount{512}, 0}}};
  std::size_t admitted = 0;
  std::size_t refused = 0;

  const std::size_t before = g_allocation_count;
  for (int round = 0; round < 1000; ++round) {
    std::memcpy(session.receive_space().data(), bytes.data(), bytes.size());
    session.received(bytes.size());
    for (Event event = session.next(); !std::holds_alternative<NeedBytes>(event); event = session.next()) {
      if (const auto* e = std::get_if<Admitted>(&event)) {
        ++admitted;
        const bool status = e->request.command == Command::kBlockStatus;
        static_cast<void>(
            status ? encode_block_status(e->request, {MetaContext::kAllocation, extents, true}, out)
                   : encode_reply(e->request, Status::kOk, "", out));
        session.request_done();
      } else if (const auto* r = std::get_if<Refused>(&event)) {
        ++refused;
        static_cast<void>(encode_reply(r->request, r->status, r->text, out));
        session.request_done();
      } else {
        ASSERT_TRUE(std::holds_alternative<NeedPayload>(event));
        session.take_payload(payload);
      }
    }
  }
  EXPECT_EQ(g_allocation_count, before);
  EXPECT_EQ(admitted, 3000u);
  EXPECT_EQ(refused, 1000u);
}

}  // namespace
}  // namespace twinblock::nbd::test
