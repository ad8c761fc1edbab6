// The format is what the golden files and docs/internals/disk_format.md say; a change of either shows here.
// TWINBLOCK_WRITE_GOLDEN=1 writes the golden files anew and prints the hex dumps for the document: only for
// a new format version.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <ostream>
#include <sstream>

#include "bitmap/codec.hpp"
#include "bitmap/decode.hpp"
#include "bitmap/layout.hpp"
#include "tests/unit/bitmap/sample.hpp"

namespace twinblock::bitmap {
namespace {

using test::Area;

Area golden_superblock() {
  Area out(kBlockSize);
  encode_superblock(test::sample_superblock(), 42, 1, std::span{out}.first<kBlockSize>());
  return out;
}

Area golden_intent_record() {
  Area out(2 * kBlockSize);
  const std::vector<ExtentIndex> hot{ExtentIndex{3}, ExtentIndex{1}, ExtentIndex{63}};
  const std::vector<ReliedPage> relied{{PageIndex{1}, 17}, {PageIndex{5}, 0x0102030405060708}};
  encode_intent_record({.log_sequence = 70, .hot = hot, .relied = relied}, test::sample_superblock(),
                       std::span{out}.first<2 * kBlockSize>());
  return out;
}

Area golden_page() {
  const Superblock sb = test::sample_superblock();
  DirtyMap map{sb.geometry.region_count()};
  map.set({RegionIndex{0}, 1});
  map.set({RegionIndex{9}, 3});
  map.set({RegionIndex{4095}, 1});
  Area out(kBlockSize);
  encode_page(PageIndex{5}, 18, map, sb, std::span{out}.first<kBlockSize>());
  return out;
}

std::string hex_lines(const Area& bytes) {
  std::string out;
  for (std::size_t at = 0; at < bytes.size(); at += 16) {
    const auto row = std::span{bytes}.subspan(at, 16);
    if (std::ranges::all_of(row, [](std::byte b) { return b == std::byte{0}; })) continue;
    char text[64];
    std::snprintf(text, sizeof text, "%04zx ", at);
    out += text;
    for (const std::byte b : row) {
      std::snprintf(text, sizeof text, " %02x", std::to_integer<unsigned>(b));
      out += text;
    }
    out += '\n';
  }
  return out;
}

struct Golden {
  const char* name;
  Area (*make)();
};
std::ostream& operator<<(std::ostream& out, const Golden& golden) {
  return out << golden.name;
}

class GoldenFile : public ::testing::TestWithParam<Golden> {
 protected:
  static std::string path() {
    return test::source_path(std::string{"tests/unit/bitmap/golden/"} + GetParam().name + ".bin");
  }
};

TEST_P(GoldenFile, IsWhatTheCodeWrites) {
  const Area bytes = GetParam().make();
  const std::string text{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  if (std::getenv("TWINBLOCK_WRITE_GOLDEN") != nullptr) {
    std::ofstream{path(), std::ios::binary} << text;
    std::printf("```hexdump %s\n%s```\n", GetParam().name, hex_lines(bytes).c_str());
  }
  ASSERT_EQ(test::read_text(path()).size(), text.size()) << path();
  EXPECT_TRUE(test::read_text(path()) == text) << path();
}

TEST_P(GoldenFile, IsTheHexDumpOfTheDocument) {
  std::istringstream document{test::read_text(test::source_path("docs/internals/disk_format.md"))};
  std::string line;
  const std::string opening = std::string{"```hexdump "} + GetParam().name;
  while (std::getline(document, line) && line != opening) {
  }
  std::string dump;
  while (std::getline(document, line) && line != "```") dump += line + '\n';
  EXPECT_EQ(dump, hex_lines(GetParam().make()));
}

INSTANTIATE_TEST_SUITE_P(Blocks, GoldenFile,
                         ::testing::Values(Golden{"superblock", golden_superblock},
                                           Golden{"intent_record", golden_intent_record},
                                           Golden{"page", golden_page}),
                         [](const auto& row) { return std::string{row.param.name}; });

Area read_golden(const char* name) {
  const std::string text =
      test::read_text(test::source_path(std::string{"tests/unit/bitmap/golden/"} + name + ".bin"));
  Area out;
  for (const char c : text) out.push_back(static_cast<std::byte>(c));
  return out;
}

TEST(GoldenFiles, AreReadAsWhatTheyWereMadeFrom) {
  const Superblock sb = test::sample_superblock();
  const Area superblock = read_golden("superblock");
  const SuperblockCopy copy = decode_superblock(std::span{superblock}.first<kBlockSize>(), BlockIndex{1});
  ASSERT_FALSE(copy.error) << copy.error.message();
  EXPECT_EQ(copy.superblock, sb);
  EXPECT_EQ(copy.sequence, 42u);

  const Area record = read_golden("intent_record");
  const auto view = decode_intent(std::span{record}.last<kBlockSize>(), BlockIndex{15}, sb);
  ASSERT_TRUE(view) << view.error().message();
  ASSERT_EQ(view->hot_count(), 3u);
  EXPECT_EQ(view->hot(2), ExtentIndex{63});
  ASSERT_EQ(view->relied_count(), 2u);
  EXPECT_EQ(view->relied(1).sequence, 0x0102030405060708u);

  const Area page = read_golden("page");
  EXPECT_EQ(decode_page(std::span{page}.first<kBlockSize>(), PageIndex{5}, sb).value(), 18u);
}

struct Table {
  const char* heading;
  std::span<const layout::Field> fields;
};

// Rows "| offset | size | `name` | ..." below the heading, up to the next one.
std::string table_of_document(const std::string& heading) {
  std::istringstream document{test::read_text(test::source_path("docs/internals/disk_format.md"))};
  std::string line;
  while (std::getline(document, line) && line != "### " + heading) {
  }
  std::string rows;
  while (std::getline(document, line) && !line.starts_with("#")) {
    std::istringstream cells{line};
    char bar = 0;
    std::uint32_t offset = 0;
    std::uint32_t size = 0;
    std::string name;
    if (!(cells >> bar >> offset >> bar >> size >> bar >> name)) continue;
    std::erase(name, '`');
    rows += std::to_string(offset) + ' ' + std::to_string(size) + ' ' + name + '\n';
  }
  return rows;
}

TEST(FormatDocument, ItsByteTablesAreTheLayoutOfTheCode) {
  const Table tables[] = {{"Block header", layout::kHeader},
                          {"Superblock", layout::kSuperblock},
                          {"Peer record", layout::kPeer},
                          {"Sessions of a peer", layout::kPeerSession},
                          {"Generation entry", layout::kGeneration},
                          {"Intent record", layout::kIntent},
                          {"Relied page", layout::kRelied},
                          {"Bitmap page", layout::kPage}};
  for (const Table& table : tables) {
    std::string expected;
    for (const layout::Field& f : table.fields) {
      expected += std::to_string(f.offset) + ' ' + std::to_string(f.size) + ' ' + std::string{f.name} + '\n';
    }
    EXPECT_EQ(table_of_document(table.heading), expected) << table.heading;
  }
}

}  // namespace
}  // namespace twinblock::bitmap
