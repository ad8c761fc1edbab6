#include "transport/nbd/reply.hpp"

#include <gtest/gtest.h>

#include <array>

#include "tests/unit/nbd/harness.hpp"

namespace twinblock::nbd::test {
namespace {

constexpr std::uint64_t kCookie = 0x1122334455667788;

Request request(Command command, ReplyForm form) {
  return {command, 0, kCookie, ByteOffset{0x3000}, ByteCount{0x1000}, form};
}

std::string reply(const Request& r, Status status, std::string_view text = {}) {
  std::array<std::byte, kReplySizeMax> out{};
  return to_string(std::span{out}.first(encode_reply(r, status, text, out)));
}

Bytes simple(std::uint32_t error) {
  return Bytes{}.u32(0x67446698).u32(error).u64(kCookie);
}
Bytes structured(unsigned flags, unsigned type, std::uint64_t length) {
  return Bytes{}.u32(0x668e33ef).u16(flags).u16(type).u64(kCookie).u32(length);
}
Bytes extended(unsigned flags, unsigned type, std::uint64_t length) {
  return Bytes{}.u32(0x6e8a278c).u16(flags).u16(type).u64(kCookie).u64(0x3000).u64(length);
}

TEST(Reply, SimpleFormIsOneHeaderForEverything) {
  EXPECT_EQ(reply(request(Command::kRead, ReplyForm::kSimple), Status::kOk), simple(0).str());
  EXPECT_EQ(reply(request(Command::kFlush, ReplyForm::kSimple), Status::kOk), simple(0).str());
  EXPECT_EQ(reply(request(Command::kRead, ReplyForm::kSimple), Status::kIo, "gone"), simple(5).str());
}

TEST(Reply, StructuredReadIsOneFinalDataChunk) {
  EXPECT_EQ(reply(request(Command::kRead, ReplyForm::kStructured), Status::kOk),
            structured(1, 1, 8 + 0x1000).u64(0x3000).str());
}

TEST(Reply, StructuredSuccessWithoutDataIsSimple) {
  EXPECT_EQ(reply(request(Command::kWrite, ReplyForm::kStructured), Status::kOk), simple(0).str());
}

TEST(Reply, StructuredErrorCarriesText) {
  EXPECT_EQ(reply(request(Command::kRead, ReplyForm::kStructured), Status::kIo, "both replicas failed"),
            structured(1, 0x8001, 6 + 20).u32(5).u16(20).text("both replicas failed").str());
  EXPECT_EQ(reply(request(Command::kTrim, ReplyForm::kStructured), Status::kPermission),
            structured(1, 0x8001, 6 + 23).u32(1).u16(23).text("the export is read-only").str());
}

TEST(Reply, ExtendedFormEchoesTheOffsetAndNeverIsSimple) {
  EXPECT_EQ(reply(request(Command::kRead, ReplyForm::kExtended), Status::kOk),
            extended(1, 1, 8 + 0x1000).u64(0x3000).str());
  EXPECT_EQ(reply(request(Command::kFlush, ReplyForm::kExtended), Status::kOk), extended(1, 0, 0).str());
  EXPECT_EQ(reply(request(Command::kFlush, ReplyForm::kExtended), Status::kShutdown, "bye"),
            extended(1, 0x8001, 9).u32(108).u16(3).text("bye").str());
}

TEST(Reply, LongTextIsCut) {
  const std::string text(5000, 'x');
  const std::string got = reply(request(Command::kFlush, ReplyForm::kExtended), Status::kIo, text);
  EXPECT_EQ(got.size(), kReplySizeMax);
  EXPECT_EQ(got, extended(1, 0x8001, 6 + 256).u32(5).u16(256).fill(256, 'x').str());
}

TEST(Reply, ReadInPartsWithDataAndHoles) {
  const Request r = request(Command::kRead, ReplyForm::kStructured);
  std::array<std::byte, kReplySizeMax> out{};
  std::size_t n = encode_data_chunk(r, {{ByteOffset{0x3000}, ByteCount{0x800}}, false}, out);
  EXPECT_EQ(to_string(std::span{out}.first(n)), structured(0, 1, 8 + 0x800).u64(0x3000).str());
  n = encode_hole_chunk(r, {{ByteOffset{0x3800}, ByteCount{0x800}}, true}, out);
  EXPECT_EQ(to_string(std::span{out}.first(n)), structured(1, 2, 12).u64(0x3800).u32(0x800).str());
}

TEST(ReplyDeathTest, WithDfAPartIsNotAnAnswer) {
  Request r = request(Command::kRead, ReplyForm::kStructured);
  r.flags = kCommandDf;
  std::array<std::byte, kReplySizeMax> out{};
  const ReadChunk part{{ByteOffset{0x3000}, ByteCount{0x800}}, false};
  EXPECT_DEATH(static_cast<void>(encode_data_chunk(r, part, out)), "chunk_fits");
}

}  // namespace
}  // namespace twinblock::nbd::test
