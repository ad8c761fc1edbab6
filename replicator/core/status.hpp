// A snapshot for status, promotion decisions and the simulator's checkers. Cheap to take.
#pragma once

#include "base/units.hpp"
#include "replicator/core/types.hpp"

namespace twinblock::core {

// Bytes of the mirror that resyncs led by this node have dealt with since the process began.
struct ResyncCounters {
  std::uint64_t sent_bytes = 0;  // as data
  std::uint64_t zero_bytes = 0;  // as "these are zeroes", without the data
};

struct MirrorSnapshot {
  Role role = Role::target;
  ReplicaState replica = ReplicaState::unknown;       // ours
  ReplicaState peer_replica = ReplicaState::unknown;  // as far as known
  PeerData peer_data = PeerData::unknown;             // durably recorded
  LinkState link = LinkState::down;
  Mode mode = Mode::sync;
  GenerationId generation;
  Term term_own;
  Term term_seen;
  std::uint64_t mirror_id = 0;
  bool leader = false;      // we number the stream of the session
  bool in_ack_set = false;  // the peer's answer is waited for
  bool export_open = false;
  bool frozen = false;  // writes wait for the right to write alone
  bool paused = false;
  Refusal refusal = Refusal::none;          // why link is refused or split_brain, or why we wait
  // Of an open split-brain: what the operator has decided here, and at the peer as of the last handshake.
  Resolution resolution = Resolution::none;
  Resolution peer_resolution = Resolution::none;
  bool peer_was_source = false;             // as of the last handshake
  std::uint8_t redundancy = 0;              // copies an acknowledged write has
  bool promotable = false;                  // without force or confirmation
  Refusal promote_refusal = Refusal::none;  // why not
  std::uint64_t dirty_bytes = 0;            // the peer may differ here (regions with bits)
  std::uint64_t hot_extents = 0;
  std::uint64_t resync_total_bytes = 0;
  std::uint64_t resync_done_bytes = 0;  // the peer has written them; dirty until that is stable
  ResyncCounters resync_counters;
  ResyncCounters resync_counters_now;  // of them, by the running resync
  std::uint64_t queue_bytes = 0;  // sent or queued, not acknowledged as applied by the peer
  Instant oldest_unacknowledged = Instant::never();
  SequenceNumber next_sequence;
  SequenceNumber peer_applied;
  SequenceNumber peer_stable;
  Instant peer_said_at = Instant::never();  // when the peer last told its state: the last handshake
  std::uint8_t verdict_rule = 0;       // row of docs/internals/generations.md that fired last
  std::uint64_t would_lose_bytes = 0;  // what a forced or resolved decision would discard here
  bool idle = false;                   // nothing in flight on disk, metadata or stream
};

}  // namespace twinblock::core
