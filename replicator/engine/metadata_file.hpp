// The metadata area as a file, outside of the running engine: read it whole, write a new one, update its
// superblock. Blocking.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "bitmap/superblock.hpp"

namespace twinblock::engine {

// As much as the superblock's geometry says, or the first part of what is there when none is readable.
[[nodiscard]] Result<std::vector<std::byte>> read_metadata(const std::string& path);

// Durability: log and pages, flush, superblocks, flush; the file's folder last. An existing area loses its
// superblocks first, so that old and new blocks never mix under one.
[[nodiscard]] ErrorCode write_new_metadata(const std::string& path, std::span<const std::byte> area);

// One update of both copies, one after the other. REQUIRES: nobody else writes the area.
[[nodiscard]] ErrorCode rewrite_superblock(const std::string& path, const bitmap::Superblock& superblock,
                                           std::uint64_t sequence);

[[nodiscard]] bool all_zero(std::span<const std::byte> bytes);
// The superblocks are zero: a creation did not get to its end.
[[nodiscard]] bool is_unfinished_area(std::span<const std::byte> area);

void sync_folder_of(const std::string& path);

// A random 64-bit name from the operating system; never 0.
[[nodiscard]] std::uint64_t random_name();

}  // namespace twinblock::engine
