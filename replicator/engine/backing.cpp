#include "replicator/engine/backing.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <span>

#include "replicator/engine/metadata_file.hpp"
#include "replicator/engine/probe.hpp"
#include "transport/ring/error.hpp"

namespace twinblock::engine {
namespace {

Problem refused(std::string message, std::string safe, std::string next) {
  return {std::move(message), std::move(safe), std::move(next), true, false};
}

const char* const kNothingChanged = "Nothing was changed.";
// The largest logical block: a smaller file could not hold one of it.
constexpr ByteCount kSizeMin{4096};

Problem cannot_open(const std::string& what, const std::string& path, const ErrorCode& error) {
  if (error == ring::errc::kDiskInUse) {
    const auto user = user_of(path);
    if (user) {
      return refused(what + " " + path + " is " + *user, kNothingChanged,
                     "stop what uses it (umount, swapoff, dmsetup ...), then try again");
    }
    Problem p = refused(what + " " + path +
                            " is locked by another process, or the last I/O of a killed one is"
                            " still running",
                        kNothingChanged, "wait, or stop the other daemon that uses it");
    p.retry = true;
    return p;
  }
  return {what + " " + path + " cannot be opened: " + error.message(), kNothingChanged,
          "correct the path in the configuration or the permissions, then try again", false, false};
}

// What is wrong with the two places, whatever their content.
std::optional<Problem> check_places(const BackingPlan& plan) {
  if (same_storage(plan.disk, plan.metadata)) {
    return refused("disk and metadata of mirror " + plan.mirror + " are the same: " + plan.disk,
                   kNothingChanged, "give the metadata a file of its own in the configuration");
  }
  if (lies_on(plan.metadata, plan.disk)) {
    return refused("the metadata " + plan.metadata + " lies on the mirrored disk itself", kNothingChanged,
                   "put the metadata on another disk");
  }
  if (is_volatile(plan.metadata)) {
    return refused("the metadata " + plan.metadata + " lies on a file system that a reboot empties (tmpfs)",
                   kNothingChanged, "put the metadata on a disk: losing it means a full resync");
  }
  return std::nullopt;
}

Problem bad_metadata(const BackingPlan& plan, const ErrorCode& error) {
  const std::string create = "twinblock create " + plan.mirror;
  if (error == bitmap::errc::no_metadata) {
    return {"mirror " + plan.mirror + " has no metadata in " + plan.metadata,
            "The data disk was not touched.", create + " (a target), or with --source where the data is",
            false, false};
  }
  // P11: what cannot be read is never taken for a fresh replica.
  return refused(
      "the metadata " + plan.metadata + " cannot be used: " + error.message(),
      "The data disk was not touched; the metadata was not written to.",
      "twinblock metadata dump " + plan.mirror + "; if the peer is up to date: " + create + " --force");
}

std::optional<Problem> check_identity(const BackingPlan& plan, const bitmap::Superblock& superblock,
                                      std::uint64_t identity) {
  if (superblock.node != plan.node) {
    return refused(
        "the metadata " + plan.metadata + " belongs to node index " +
            std::to_string(superblock.node.value()) + ", this node is " + std::to_string(plan.node.value()),
        kNothingChanged, "check [node].name and the order of [[mirror.node]] in the configuration");
  }
  if (superblock.disk_identity != 0 && superblock.disk_identity != identity) {
    return refused(
        "the metadata " + plan.metadata + " was made for another disk than " + plan.disk,
        "Neither was written to.",
        "correct the configuration; a replaced disk needs: twinblock create " + plan.mirror + " --force");
  }
  return std::nullopt;
}

std::optional<Problem> check_size(const BackingPlan& plan, const bitmap::Superblock& superblock,
                                  ByteCount size) {
  if (superblock.geometry.size <= size) return std::nullopt;
  return refused("the disk " + plan.disk + " has " + std::to_string(size.value()) + " bytes, the mirror " +
                     std::to_string(superblock.geometry.size.value()),
                 kNothingChanged, "bring the disk back to its size, or create the replica again");
}

// A clean stop promised that nobody writes until the next start.
std::optional<Problem> check_sample(const BackingPlan& plan, const bitmap::Superblock& superblock) {
  if (!superblock.clean || superblock.disk_sample_hash == 0) return std::nullopt;
  const auto hash = sample_hash(plan.disk, superblock.geometry.size);
  if (!hash) return cannot_open("the disk", plan.disk, hash.error());
  if (*hash == superblock.disk_sample_hash) return std::nullopt;
  return refused("the content of " + plan.disk + " changed while the mirror was stopped",
                 "The peer's copy is as it was; this one was changed behind the mirror's back.",
                 "twinblock create " + plan.mirror + " --force makes it a fresh target (full resync)");
}

std::uint64_t identity_hash(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const std::uint64_t hash = hash_text(ring::identify(fd).text());
  close(fd);
  return hash;
}

void note_recovery(const bitmap::Recovered& r, const BackingPlan& plan, std::vector<std::string>& notes) {
  const auto& g = r.superblock.geometry;
  if (r.bad_pages > 0) {
    notes.push_back(std::to_string(r.bad_pages) + " bad bitmap pages: all of their range counts as dirty");
  }
  if (r.all_hot) notes.emplace_back("unreadable intent record: all extents count as hot");
  if (r.superblock_good_copies < 2)
    notes.emplace_back("one superblock copy is bad or older; it will be rewritten");
  if (g.region_size != plan.region_size || g.hot_extents != plan.hot_extents) {
    notes.emplace_back(
        "region_size or hot_extents of the configuration differ from those of the creation,"
        " which hold");
  }
}

bitmap::Superblock fresh_superblock(const BackingPlan& plan, const bitmap::Geometry& geometry, bool source) {
  bitmap::Superblock s;
  s.area_id = random_name();
  s.node = plan.node;
  s.identity = random_name();
  s.incarnation = random_name();
  s.geometry = geometry;
  s.disk_identity = identity_hash(plan.disk);
  s.disk_state = bitmap::DiskState::inconsistent;
  s.clean = true;
  if (source) {
    s.group_id = random_name();
    s.mirror_id = random_name();
    s.disk_state = bitmap::DiskState::consistent;
    s.push_generation(GenerationId{random_name()}, SequenceNumber{1}, bitmap::GenerationCause::created);
  }
  return s;
}

struct DataFile {
  ByteCount size;
  std::uint32_t logical_block = 512;
  bool made = false;
};

Outcome<DataFile> prepare_data(const BackingPlan& plan, const CreateOptions& options) {
  DataFile result;
  const auto there = size_of(plan.disk);
  if (!there) return cannot_open("the disk", plan.disk, there.error());
  if (!*there) {
    if (!options.size) {
      return Problem{"the disk " + plan.disk + " does not exist", kNothingChanged,
                     "correct the path, or: twinblock create " + plan.mirror + " --size SIZE", false, false};
    }
    if (*options.size < kSizeMin) {
      return refused("a mirror of " + std::to_string(options.size->value()) + " bytes is too small",
                     kNothingChanged,
                     "twinblock create " + plan.mirror + " --size SIZE, with at least " +
                         std::to_string(kSizeMin.value()) + " bytes");
    }
    // Under another name until it is complete: what a crash leaves is not taken for a disk.
    const std::string half_made = plan.disk + ".creating";
    unlink(half_made.c_str());
    if (auto made = ring::allocate_and_zero(half_made, *options.size, nullptr, nullptr); !made) {
      return Problem{"the file " + plan.disk + " cannot be made: " + made.error().message(), kNothingChanged,
                     "make room or choose another place, then try again", false, false};
    }
    if (rename(half_made.c_str(), plan.disk.c_str()) != 0) {
      return cannot_open("the disk", plan.disk, system_error(errno));
    }
    sync_folder_of(plan.disk);
    result.made = true;
  } else if (options.size && **there != *options.size) {
    return refused("the disk " + plan.disk + " exists with " + std::to_string((*there)->value()) +
                       " bytes; --size asks for " + std::to_string(options.size->value()),
                   kNothingChanged, "leave --size away to use it as it is");
  }
  // Claims it for a moment: a disk in use is found here.
  auto disk = ring::Disk::open(plan.disk, {});
  if (!disk) return cannot_open("the disk", plan.disk, disk.error());
  result.size = (*disk)->properties().size;
  result.logical_block = (*disk)->properties().logical_block;
  return result;
}

// What lies in the metadata's place already, if anything.
Outcome<std::optional<std::string>> existing_metadata(const BackingPlan& plan, const CreateOptions& options,
                                                      ByteCount size) {
  const auto area = read_metadata(plan.metadata);
  if (!area) {
    if (area.error() == system_error(ENOENT)) return std::optional<std::string>{};
    return cannot_open("the metadata", plan.metadata, area.error());
  }
  if (options.force) return std::optional<std::string>{};
  const auto recovered = bitmap::recover(*area);
  if (!recovered) {
    const bool half_made = recovered.error() == bitmap::errc::no_metadata || is_unfinished_area(*area);
    if (half_made && (is_unfinished_area(*area) || all_zero(*area))) return std::optional<std::string>{};
    return refused("something else is in the place of the metadata: " + plan.metadata, kNothingChanged,
                   "choose another file, or overwrite it: twinblock create " + plan.mirror + " --force");
  }
  const bitmap::Superblock& s = recovered->superblock;
  if (auto problem = check_identity(plan, s, identity_hash(plan.disk))) return *problem;
  const bool as_asked = options.source ? s.generation_count > 0 : s.attach_count == 0 && s.mirror_id == 0;
  if (as_asked && s.attach_count == 0 && s.geometry.size <= size) {
    return std::optional<std::string>{"mirror " + plan.mirror + " was created before; nothing to do"};
  }
  return refused(plan.disk + " is already a replica of a mirror (metadata " + plan.metadata + ")",
                 kNothingChanged,
                 "use it: twinblock up " + plan.mirror + "; or forget its history: twinblock create " +
                     plan.mirror + " --force");
}

std::optional<Problem> check_target_content(const BackingPlan& plan, const CreateOptions& options) {
  if (options.source || options.force) return std::nullopt;
  const auto signature = signature_of(plan.disk);
  if (!signature) return cannot_open("the disk", plan.disk, signature.error());
  if (!*signature) return std::nullopt;
  return refused("there is " + **signature + " on " + plan.disk + "; as a target it would be overwritten",
                 kNothingChanged,
                 "if its content counts: create " + plan.mirror + " --source here; if not: add --force");
}

}  // namespace

Outcome<Backing> open_backing(const BackingPlan& plan) {
  if (auto problem = check_places(plan)) return *problem;
  auto metadata_size = size_of(plan.metadata);
  if (!metadata_size) return cannot_open("the metadata", plan.metadata, metadata_size.error());
  if (!*metadata_size) return bad_metadata(plan, bitmap::errc::no_metadata);
  if (auto user = user_of(plan.disk)) {
    return refused("the disk " + plan.disk + " is " + *user, kNothingChanged,
                   "stop what uses it, then try again");
  }
  Backing backing;
  auto metadata = ring::Disk::open(plan.metadata, {.role = ring::FileRole::kMetadata});
  if (!metadata) return cannot_open("the metadata", plan.metadata, metadata.error());
  backing.metadata = std::move(*metadata);
  auto data = ring::Disk::open(plan.disk, {.role = ring::FileRole::kData});
  if (!data) return cannot_open("the disk", plan.disk, data.error());
  backing.data = std::move(*data);
  const auto area = read_metadata(plan.metadata);
  if (!area) return cannot_open("the metadata", plan.metadata, area.error());
  auto recovered = bitmap::recover(*area);
  if (!recovered) return bad_metadata(plan, recovered.error());
  backing.recovered = std::move(*recovered);
  bitmap::Superblock& s = backing.recovered.superblock;
  if (backing.recovered.read_only) return bad_metadata(plan, bitmap::errc::newer_format);
  if (auto problem = check_identity(plan, s, identity_hash(plan.disk))) return *problem;
  const auto& properties = backing.data->properties();
  if (auto problem = check_size(plan, s, properties.size)) return *problem;
  if (properties.logical_block > s.geometry.logical_block_size) {
    return refused("the disk " + plan.disk + " has blocks of " + std::to_string(properties.logical_block) +
                       " bytes, the mirror was created with " + std::to_string(s.geometry.logical_block_size),
                   kNothingChanged, "use a disk with smaller blocks, or create the mirror anew");
  }
  if (auto problem = check_sample(plan, s)) return *problem;
  s.disk_sample_hash = 0;  // holds no longer once we write
  note_recovery(backing.recovered, plan, backing.notes);
  if (!properties.direct) backing.notes.emplace_back("the data disk does not allow direct I/O; buffered");
  if (properties.volatile_backing) backing.notes.emplace_back("the data disk lies on a volatile file system");
  return backing;
}

Outcome<std::string> create_backing(const BackingPlan& plan, const CreateOptions& options) {
  if (auto problem = check_places(plan)) return *problem;
  if (auto user = user_of(plan.disk)) {
    return refused("the disk " + plan.disk + " is " + *user, kNothingChanged,
                   "stop what uses it, then try again");
  }
  const auto data = prepare_data(plan, options);
  if (!data) return data.error();
  const auto existing = existing_metadata(plan, options, data->size);
  if (!existing) return existing.error();
  if (*existing) return **existing;
  if (auto problem = check_target_content(plan, options)) return *problem;

  bitmap::Geometry geometry;
  geometry.logical_block_size =
      plan.logical_block_size != 0 ? plan.logical_block_size : std::max(512u, data->logical_block);
  geometry.size = ByteCount{data->size.value() / geometry.logical_block_size * geometry.logical_block_size};
  geometry.region_size = plan.region_size;
  geometry.hot_extents = plan.hot_extents;
  if (auto valid = geometry.validate(); !valid || geometry.logical_block_size < data->logical_block) {
    return refused("the disk " + plan.disk + " cannot be mirrored with logical_block_size " +
                       std::to_string(geometry.logical_block_size) + ", region_size " +
                       std::to_string(geometry.region_size) + ", hot_extents " +
                       std::to_string(geometry.hot_extents) +
                       " (its own blocks: " + std::to_string(data->logical_block) + ")",
                   kNothingChanged, "correct these in the configuration");
  }
  const auto bytes = bitmap::format_area(fresh_superblock(plan, geometry, options.source), 0);
  if (const ErrorCode failed = write_new_metadata(plan.metadata, bytes); failed) {
    return cannot_open("the metadata", plan.metadata, failed);
  }
  return "created mirror " + plan.mirror + " as " +
         (options.source ? "the one with the data (its disk was not changed)" : "a fresh target") + ", " +
         std::to_string(geometry.size.value()) + " bytes";
}

Outcome<std::string> check_backing(const BackingPlan& plan) {
  if (auto problem = check_places(plan)) return *problem;
  const auto size = size_of(plan.disk);
  if (!size) return cannot_open("the disk", plan.disk, size.error());
  if (!*size) return cannot_open("the disk", plan.disk, system_error(ENOENT));
  const auto area = read_metadata(plan.metadata);
  if (!area) {
    if (area.error() == system_error(ENOENT)) return bad_metadata(plan, bitmap::errc::no_metadata);
    return cannot_open("the metadata", plan.metadata, area.error());
  }
  const auto recovered = bitmap::recover(*area);
  if (!recovered) return bad_metadata(plan, recovered.error());
  if (auto problem = check_identity(plan, recovered->superblock, identity_hash(plan.disk))) return *problem;
  if (auto problem = check_size(plan, recovered->superblock, **size)) return *problem;
  return "disk and metadata of mirror " + plan.mirror + " fit together";
}

Outcome<bitmap::Superblock> read_superblock(const BackingPlan& plan) {
  const auto area = read_metadata(plan.metadata);
  if (!area) {
    if (area.error() == system_error(ENOENT)) return bad_metadata(plan, bitmap::errc::no_metadata);
    return cannot_open("the metadata", plan.metadata, area.error());
  }
  auto recovered = bitmap::recover(*area);
  if (!recovered) return bad_metadata(plan, recovered.error());
  return recovered->superblock;
}

Outcome<std::string> dump_metadata(const BackingPlan& plan) {
  const auto area = read_metadata(plan.metadata);
  if (!area) return cannot_open("the metadata", plan.metadata, area.error());
  return bitmap::dump_area(*area);
}

ErrorCode seal_clean(const BackingPlan& plan) {
  const auto area = read_metadata(plan.metadata);
  if (!area) return area.error();
  auto recovered = bitmap::recover(*area);
  if (!recovered) return recovered.error();
  bitmap::Superblock& s = recovered->superblock;
  if (!s.clean) return {};
  const auto hash = sample_hash(plan.disk, s.geometry.size);
  if (!hash) return hash.error();
  s.disk_sample_hash = *hash;
  return rewrite_superblock(plan.metadata, s, recovered->superblock_sequence + 1);
}

}  // namespace twinblock::engine
