#include "tests/unit/bitmap/sample.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>

namespace twinblock::bitmap::test {

Superblock sample_superblock() {
  Superblock sb;
  sb.compatible_features = 0x80;
  sb.area_id = 0x1122334455667788;
  sb.group_id = 0x0102030405060708;
  sb.mirror_id = 0xa1a2a3a4a5a6a7a8;
  sb.node = NodeIndex{2};
  sb.identity = 0xb1b2b3b4b5b6b7b8;
  sb.incarnation = 0xc1c2c3c4c5c6c7c8;
  sb.geometry = {
      .size = ByteCount{256u << 20}, .region_size = 64 << 10, .logical_block_size = 512, .hot_extents = 64};
  sb.term_seen = Term{0x0501};
  sb.term_own = Term{0x0402};
  sb.disk_state = DiskState::consistent;
  sb.was_source = true;
  sb.clean = true;
  sb.push_generation(GenerationId{0xd1}, SequenceNumber{1}, GenerationCause::created);
  sb.push_generation(GenerationId{0xd2}, SequenceNumber{4711}, GenerationCause::degraded);
  sb.push_generation(GenerationId{0xd3}, SequenceNumber{4712}, GenerationCause::rewind);
  sb.peers[1] = {.identity = 0xe1,
                 .incarnation = 0xe2,
                 .base_generation = GenerationId{0xd2},
                 .data = PeerData::lacks,
                 .needs_full = false,
                 .stable_sequence = SequenceNumber{4000},
                 .session = {8, 0x5152535455565758},
                 .session_common = {7, 0x6162636465666768}};
  sb.peers[5] = {.identity = 0xf1,
                 .incarnation = 0xf2,
                 .base_generation = GenerationId{0xd1},
                 .data = PeerData::handed_over,
                 .needs_full = false,
                 .stable_sequence = SequenceNumber{4001},
                 .session = {9, 0x7172737475767778},
                 .session_common = {9, 0x7172737475767778}};
  sb.resync = {
      .active = true, .from = NodeIndex{5}, .generation = GenerationId{0xd1}, .cursor = ByteOffset{1u << 20}};
  sb.resolution = Resolution::discard;
  sb.resolution_against = GenerationId{0xd9};
  sb.sequence_limit = SequenceNumber{9000};
  sb.stable_sequence = SequenceNumber{4710};
  sb.attach_count = 12;
  sb.disk_identity = 0x3132333435363738;
  sb.disk_sample_hash = 0x4142434445464748;
  return sb;
}

Geometry several_pages_geometry() {
  return {.size = ByteCount{(std::uint64_t{6} << 30) - 512},
          .region_size = 64 << 10,
          .logical_block_size = 512,
          .hot_extents = 64};
}

Block block_in(Area& area, BlockIndex index) {
  return std::span{area}.subspan(index.value() * kBlockSize).first<kBlockSize>();
}

std::span<std::byte, 2 * kBlockSize> record_in(Area& area, const Geometry& geometry,
                                               std::uint64_t log_sequence) {
  const std::uint64_t at = geometry.intent_record(log_sequence).value() * kBlockSize;
  return std::span{area}.subspan(at).first<2 * kBlockSize>();
}

void write_superblock(Area& area, const Superblock& sb, std::uint64_t sequence) {
  for (int copy = 0; copy < 2; ++copy) {
    encode_superblock(sb, sequence, copy, block_in(area, sb.geometry.superblock(copy)));
  }
}

void write_record(Area& area, const Superblock& sb, std::uint64_t log_sequence, std::vector<ExtentIndex> hot,
                  std::vector<ReliedPage> relied) {
  encode_intent_record({.log_sequence = log_sequence, .hot = hot, .relied = relied}, sb,
                       record_in(area, sb.geometry, log_sequence));
}

std::vector<ExtentIndex> hot_of(std::uint64_t log_sequence) {
  const auto n = static_cast<std::uint32_t>(log_sequence % 40);
  return {ExtentIndex{n}, ExtentIndex{n + 1}};
}

void write_log(Area& area, const Superblock& sb, std::uint64_t last) {
  for (std::uint64_t n = 1; n <= last; ++n) write_record(area, sb, n, hot_of(n));
}

void flip_bit(std::span<std::byte> bytes, std::uint64_t bit) {
  bytes[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
}

void tear(std::span<std::byte> target, std::span<const std::byte> written, std::uint64_t landed) {
  for (std::size_t sector = 0; sector < target.size() / 512; ++sector) {
    if ((landed >> sector & 1) == 0) continue;
    std::ranges::copy(written.subspan(sector * 512, 512), target.subspan(sector * 512).begin());
  }
}

void forge(Block block, std::uint32_t offset, std::uint32_t size, std::uint64_t value) {
  for (std::uint32_t i = 0; i < size; ++i)
    block[offset + i] = static_cast<std::byte>(value >> (8 * i) & 0xff);
  seal_block(block);
}

std::string source_path(const std::string& below_root) {
  return std::string{TWINBLOCK_SOURCE_DIR} + "/" + below_root;
}

std::string read_text(const std::string& path) {
  std::ifstream file{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
}

}  // namespace twinblock::bitmap::test
