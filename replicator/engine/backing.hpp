// A replica's storage: its data disk and its metadata area. Opens what exists after every check that can be
// made without writing, and creates what does not. Everything here blocks; it runs on the engine's worker
// thread, never on a shard.
//
// Refused, with what is safe and what to type next: a disk that is mounted or otherwise in use, a known
// signature on a disk that would be overwritten, one file for data and metadata, metadata on the mirrored
// disk or on a volatile file system, metadata of another node or another disk, sizes that do not fit, data
// that changed since a clean stop.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/units.hpp"
#include "bitmap/codec.hpp"
#include "replicator/engine/problem.hpp"
#include "transport/ring/disk.hpp"

namespace twinblock::engine {

struct BackingPlan {
  std::string mirror;
  std::string disk;
  std::string metadata;
  NodeIndex node;
  std::uint32_t region_size = 64u << 10;
  std::uint32_t hot_extents = 256;
  std::uint32_t logical_block_size = 0;  // 0: the disk's
};

struct Backing {
  std::unique_ptr<ring::Disk> data;
  std::unique_ptr<ring::Disk> metadata;
  bitmap::Recovered recovered;
  std::vector<std::string> notes;  // for the log: what is unusual and was accepted
};

struct CreateOptions {
  bool source = false;            // this disk's content is the mirror's; it is not changed
  bool force = false;             // overwrite a signature, or metadata that is there already
  std::optional<ByteCount> size;  // make a zero-filled data file of this size if there is none
};

// Problem::retry: the disk is locked, perhaps by a predecessor whose last I/O has not ended yet.
[[nodiscard]] Outcome<Backing> open_backing(const BackingPlan& plan);

// Returns what was made, as a sentence. Run again after a crash half way it finishes the work, and it says
// so when everything is there already. Durability: superblock last, so that a torn creation is none.
[[nodiscard]] Outcome<std::string> create_backing(const BackingPlan& plan, const CreateOptions& options);

// The checks of open_backing without opening for writing: a mirror that runs may be looked at.
[[nodiscard]] Outcome<std::string> check_backing(const BackingPlan& plan);

// What the metadata says of itself, without opening anything for writing.
[[nodiscard]] Outcome<bitmap::Superblock> read_superblock(const BackingPlan& plan);

// Readable text of the metadata area.
[[nodiscard]] Outcome<std::string> dump_metadata(const BackingPlan& plan);

// After a clean stop: records the hash of sampled blocks, so that the next start notices a disk that changed
// in between. REQUIRES: the caller holds the locks and nothing is in flight. Nothing if not clean.
[[nodiscard]] ErrorCode seal_clean(const BackingPlan& plan);

}  // namespace twinblock::engine
