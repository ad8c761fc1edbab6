// The metadata area that the tests damage.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bitmap/codec.hpp"

namespace twinblock::bitmap::test {

using Area = std::vector<std::byte>;

// Every field set, so that a field that is not stored shows; two peers in use (slots 1 and 5).
Superblock sample_superblock();
// Four pages per slot, the last one short: 6 GiB less one logical block in regions of 64 KiB.
Geometry several_pages_geometry();

Block block_in(Area& area, BlockIndex index);
std::span<std::byte, 2 * kBlockSize> record_in(Area& area, const Geometry& geometry,
                                               std::uint64_t log_sequence);

void write_superblock(Area& area, const Superblock& sb, std::uint64_t sequence);
void write_record(Area& area, const Superblock& sb, std::uint64_t log_sequence, std::vector<ExtentIndex> hot,
                  std::vector<ReliedPage> relied = {});
// Records 1 .. last, record n with the hot extents {n, n + 1}.
void write_log(Area& area, const Superblock& sb, std::uint64_t last);
std::vector<ExtentIndex> hot_of(std::uint64_t log_sequence);

void flip_bit(std::span<std::byte> bytes, std::uint64_t bit);
// What a write that stopped half-way leaves: 512-byte sector i is the new one if bit i of `landed` is set.
void tear(std::span<std::byte> target, std::span<const std::byte> written, std::uint64_t landed);

// A little-endian number at `offset` of a block, and the checksum made good again.
void forge(Block block, std::uint32_t offset, std::uint32_t size, std::uint64_t value);

std::string source_path(const std::string& below_root);
std::string read_text(const std::string& path);

}  // namespace twinblock::bitmap::test
