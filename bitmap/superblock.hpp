// The superblock: who this replica is, which history its data belongs to, what it knows of its peers.
// Byte table, golden file and a worked example: docs/internals/disk_format.md.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/units.hpp"
#include "bitmap/geometry.hpp"

namespace twinblock::bitmap {

// Durable state of the local data. `uptodate` and `consistent` of DESIGN §1 are told apart by sessions and
// proofs, which do not survive a restart: on disk both are `consistent`.
enum class DiskState : std::uint8_t {
  inconsistent = 0,   // mid-resync, or never filled
  outdated = 1,       // complete, but known to be old
  consistent = 2,     // complete; newest unless a peer proves otherwise
  failed = 3,         // detached after an I/O error: all since its last good flush is unknown
};

// What is durably known of a peer's copy relative to our current generation.
enum class PeerData : std::uint8_t {
  unknown = 0,        // never met
  maybe_current = 1,  // may hold everything: it may be promoted, so we may not write alone without P7
  lacks = 2,          // it certainly lacks something of our current generation
  handed_over = 3,    // it was source, demoted cleanly and said so, and has not taken a term since
  lacked = 4,         // as `lacks`, but it was source since: no proof that nobody has more, still a fact
};

enum class GenerationCause : std::uint8_t { created = 0, degraded = 1, forced = 2, resolved = 3, rewind = 4 };

struct GenerationEntry {
  GenerationId id;
  GenerationId parent;
  SequenceNumber first_sequence;
  GenerationCause cause = GenerationCause::created;
  friend bool operator==(const GenerationEntry&, const GenerationEntry&) = default;
};

// An operator's answer to a split-brain, valid only against the peer generation that was shown to them.
enum class Resolution : std::uint8_t { none = 0, keep = 1, discard = 2 };

// Names a session with a peer. Both replicas write it down, durably, before the session carries anything; so
// a replica that does not know the newest one was put back to an older state
// (docs/internals/generations.md, "Restored backups"). {0, 0}: before the first session.
struct SessionMark {
  std::uint64_t count = 0;               // higher than that of every older one of either side
  std::uint64_t id = 0;                  // random: two replicas that went on from one backup differ in it
  friend bool operator==(const SessionMark&, const SessionMark&) = default;
};

struct PeerRecord {
  std::uint64_t identity = 0;            // random name of the peer's replica; 0: slot unused
  std::uint64_t incarnation = 0;         // random name given when that replica was created
  GenerationId base_generation;          // the bits of this slot are complete relative to this generation
  PeerData data = PeerData::unknown;
  bool needs_full = false;               // every region counts as dirty until a full resync has begun durably
  SequenceNumber stable_sequence;        // highest that the peer said it has persisted; lower: rolled back
  SessionMark session;                   // the newest session with it; the peer may not know it yet
  SessionMark session_common;            // the newest one that the peer certainly has written down, too
  friend bool operator==(const PeerRecord&, const PeerRecord&) = default;
};

struct ResyncRecord {                    // we are the target of an unfinished resync
  bool active = false;
  NodeIndex from;
  GenerationId generation;               // of the node it comes from, when it began
  ByteOffset cursor;                     // hint only
  friend bool operator==(const ResyncRecord&, const ResyncRecord&) = default;
};

inline constexpr std::uint64_t kRequiredFeaturesKnown = 0;    // bits this version understands
inline constexpr std::uint64_t kReadOnlyFeaturesKnown = 0;    // unknown: may be dumped, never written

struct Superblock {
  std::uint64_t required_features = 0;
  std::uint64_t read_only_features = 0;
  std::uint64_t compatible_features = 0;

  std::uint64_t area_id = 0;             // random per creation; every block of the area carries it
  std::uint64_t group_id = 0;
  std::uint64_t mirror_id = 0;           // 0: fresh target, adopts the id at its first handshake
  NodeIndex node;
  std::uint64_t identity = 0;            // random name of this replica
  std::uint64_t incarnation = 0;

  Geometry geometry;

  Term term_seen;                        // highest seen anywhere
  Term term_own;                         // of our last tenure as source
  DiskState disk_state = DiskState::inconsistent;
  bool was_source = false;               // source when last written: cleared by demote and by a higher term
  bool clean = false;                    // stopped in order: log empty, data flushed. Written last
  // The machine went down without a clean stop since the replicas were last equal: data that was written but
  // not flushed may be gone from this disk. boot_id names the boot of the last attach (0: unknown).
  bool lost_cache = false;
  // As source it may have answered writes that the peer has not received yet (mode async). Durable before the
  // first such answer; a changed mode in the configuration does not make it forgotten.
  bool acked_ahead = false;
  std::uint64_t boot_id = 0;
  std::uint32_t generation_count = 0;    // valid entries of `generations`; [0] is the current one
  std::array<GenerationEntry, kHistoryMax + 1> generations{};
  std::array<PeerRecord, kNodeCountMax> peers{};
  ResyncRecord resync;
  Resolution resolution = Resolution::none;
  GenerationId resolution_against;       // the peer generation the operator decided about
  // No number at or above it was ever given: the next tenure begins here.
  SequenceNumber sequence_limit;
  // As target: applied and stable up to here, saved at least every 10 s.
  SequenceNumber stable_sequence;
  std::uint64_t attach_count = 0;        // attaches of this replica so far

  // Identity of the data disk (WWN, serial, partition UUID, or device + inode + birth time), hashed by the
  // engine; and at a clean stop a hash of 64 sampled blocks (0: none).
  std::uint64_t disk_identity = 0;
  std::uint64_t disk_sample_hash = 0;

  friend bool operator==(const Superblock&, const Superblock&) = default;

  [[nodiscard]] GenerationId current() const {
    return generation_count == 0 ? GenerationId{} : generations[0].id;
  }
  [[nodiscard]] std::span<const GenerationEntry> history() const {
    return {generations.data(), generation_count};
  }
  // Makes `id` the current generation; the oldest entry falls off a full history.
  void push_generation(GenerationId id, SequenceNumber first, GenerationCause cause);
};

}  // namespace twinblock::bitmap
