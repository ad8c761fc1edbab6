// What a look at a file or device tells before it is used: who uses it, what lies on it, where it lives.
// All functions block for a moment and belong to start-up.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "base/units.hpp"

namespace twinblock::engine {

// Where the block device, or a loop device on top of the file, is in use ("mounted on /srv", "swap",
// "/dev/loop3"); nothing if it is not.
[[nodiscard]] std::optional<std::string> user_of(const std::string& path);

// The file system, partition table or container whose signature lies on it ("ext4", "LVM2 ..."); nothing if
// none of the known ones. Blocks; an unreadable disk is an error.
[[nodiscard]] Result<std::optional<std::string>> signature_of(const std::string& path);

// Both names lead to one file or device.
[[nodiscard]] bool same_storage(const std::string& a, const std::string& b);

// `path` (or its folder if it does not exist yet) lies on a file system whose device is `disk`.
[[nodiscard]] bool lies_on(const std::string& path, const std::string& disk);

// `path` (or its folder) lies on a file system that a reboot empties.
[[nodiscard]] bool is_volatile(const std::string& path);

// Bytes of a regular file or block device; nothing if it does not exist.
[[nodiscard]] Result<std::optional<ByteCount>> size_of(const std::string& path);

// XXH3-64 over 64 blocks of 4 KiB spread evenly over the disk, and over its size: notices a disk that was
// written to behind our back, restored or exchanged. Never 0.
[[nodiscard]] Result<std::uint64_t> sample_hash(const std::string& path, ByteCount size);

// XXH3-64 of a text; never 0.
[[nodiscard]] std::uint64_t hash_text(const std::string& text);

}  // namespace twinblock::engine
