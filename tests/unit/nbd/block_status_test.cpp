#include "transport/nbd/block_status.hpp"

#include <gtest/gtest.h>

#include "tests/unit/nbd/harness.hpp"

namespace twinblock::nbd::test {
namespace {

Request request(ReplyForm form, std::uint16_t flags = 0) {
  return {Command::kBlockStatus, flags, 7, ByteOffset{0x10000}, ByteCount{0x10000}, form};
}

std::string encode(const Request& r, std::vector<StatusExtent> extents, std::size_t room = 16,
                   bool done = true) {
  std::vector<std::byte> out(block_status_size(room));
  return to_string(std::span{out}.first(encode_block_status(r, {MetaContext::kDirty, extents, done}, out)));
}

Bytes structured(std::uint64_t entries, unsigned flags = 1) {
  return Bytes{}.u32(0x668e33ef).u16(flags).u16(5).u64(7).u32(4 + 8 * entries).u32(2);
}

TEST(BlockStatus, MergesNeighboursAndSkipsEmptyOnes) {
  EXPECT_EQ(
      encode(request(ReplyForm::kStructured),
             {{ByteCount{0x1000}, 1}, {ByteCount{0}, 0}, {ByteCount{0x1000}, 1}, {ByteCount{0x2000}, 0}}),
      structured(2).u32(0x2000).u32(1).u32(0x2000).u32(0).str());
}

TEST(BlockStatus, ClipsToTheRequest) {
  EXPECT_EQ(encode(request(ReplyForm::kStructured),
                   {{ByteCount{0x8000}, 0}, {ByteCount{1ull << 40}, 1}, {ByteCount{0x1000}, 0}}),
            structured(2).u32(0x8000).u32(0).u32(0x8000).u32(1).str());
}

TEST(BlockStatus, ReqOneIsTheFirstMergedExtent) {
  EXPECT_EQ(encode(request(ReplyForm::kStructured, kCommandReqOne),
                   {{ByteCount{0x1000}, 1}, {ByteCount{0x1000}, 1}, {ByteCount{0x1000}, 0}}),
            structured(1).u32(0x2000).u32(1).str());
}

TEST(BlockStatus, ExtendedHas64BitExtentsAndACount) {
  Request r = request(ReplyForm::kExtended);
  r.length = ByteCount{1ull << 41};
  EXPECT_EQ(encode(r, {{ByteCount{1ull << 40}, 3}, {ByteCount{1ull << 50}, 0}}, 16, false),
            Bytes{}
                .u32(0x6e8a278c)
                .u16(0)
                .u16(6)
                .u64(7)
                .u64(0x10000)
                .u64(8 + 32)
                .u32(2)
                .u32(2)
                .u64(1ull << 40)
                .u64(3)
                .u64(1ull << 40)
                .u64(0)
                .str());
}

TEST(BlockStatus, StopsWhereTheBufferEnds) {
  std::vector<StatusExtent> extents;
  for (std::uint64_t i = 0; i < 100; ++i) extents.push_back({ByteCount{16}, i % 2});
  Request r = request(ReplyForm::kExtended);
  const std::string got = encode(r, extents, 10);
  EXPECT_EQ(got.size(), block_status_size(10));
  EXPECT_EQ(got.substr(24, 8), Bytes{}.u64(8 + 160).str());
  EXPECT_EQ(got.substr(36, 4), Bytes{}.u32(10).str());
}

TEST(BlockStatusDeathTest, NothingIsNoAnswer) {
  EXPECT_DEATH(encode(request(ReplyForm::kStructured), {{ByteCount{0}, 1}}), "count > 0");
}

}  // namespace
}  // namespace twinblock::nbd::test
