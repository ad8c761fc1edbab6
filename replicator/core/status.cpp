#include <algorithm>

#include "replicator/core/impl.hpp"

namespace twinblock::core {

ReplicaState Mirror::Impl::replica_state() const {
  if (detached_ || meta_.failed()) return ReplicaState::failed;
  switch (sb().disk_state) {
    case DiskState::failed:
      return ReplicaState::failed;
    case DiskState::inconsistent:
      return ReplicaState::inconsistent;
    case DiskState::outdated:
      return ReplicaState::outdated;
    case DiskState::consistent:
      break;
  }
  const bool proved = acting_source() || (streaming() && (leading_ || replica_uptodate_));
  return proved ? ReplicaState::uptodate : ReplicaState::consistent;
}

ReplicaState Mirror::Impl::peer_replica_state() const {
  if (!streaming()) {
    if (peer().data == PeerData::lacks)
      return peer().identity == 0 ? ReplicaState::unknown : ReplicaState::outdated;
    return ReplicaState::unknown;
  }
  if (!leading_) {
    if (peer().data == PeerData::lacks) return ReplicaState::failed;  // it told us so
    return static_cast<DiskState>(peer_state_.disk_state) == DiskState::failed ? ReplicaState::failed
                                                                               : ReplicaState::uptodate;
  }
  // From the announced end on it is waited for, but it is up to date only when it says so.
  const bool proved = in_ack_set_ && (!resync_end_sent_ || verdict_.stays_promotable);
  return proved ? ReplicaState::uptodate : ReplicaState::inconsistent;
}

LinkState Mirror::Impl::link_state() const {
  if (refusal_ == Refusal::split_brain && !streaming()) return LinkState::split_brain;
  if (paused_ || peer_paused_) return LinkState::paused;
  if (streaming()) {
    if (leading_ && resync_active_)
      return resync_may_start() ? LinkState::resyncing : LinkState::resync_pending;
    if (!leading_ && !replica_uptodate_) return LinkState::resyncing;
    return LinkState::connected;
  }
  if (refusal_ != Refusal::none) return LinkState::refused;
  return link_ != 0 ? LinkState::connecting : LinkState::down;
}

// Neither copy may be overwritten before the operator has decided between them.
bool Mirror::Impl::undecided() const {
  const bool one_failed = refusal_ == Refusal::no_good_copy && verdict_.rule == 53;
  return !streaming() && peer_state_known_ && (refusal_ == Refusal::split_brain || one_failed);
}

// Of what counts as dirty: the peer has it, and only that both sides are stable is missing.
std::uint64_t Mirror::Impl::copied_bytes() const {
  std::uint64_t regions = 0;
  for (std::size_t n = 0; n < sent_pieces_.size(); ++n) {
    if (sent_pieces_[n].sequence <= peer_applied_) regions += sent_pieces_[n].run.count;
  }
  return regions * sb().geometry.region_size;
}

// Nothing under way on disk, in the metadata or in the stream.
bool Mirror::Impl::idle() const {
  return attached_ && disk_in_flight_ == 0 && meta_.settled() && waiting_.empty() && ring_.empty() &&
         apply_.empty() && !flush_round_active_ && flush_waiting_.empty() && !promote_.active &&
         !demote_.active && !negotiating() && pieces_ == 0 && client_ops_ == 0;
}

MirrorSnapshot Mirror::Impl::snapshot() const {
  MirrorSnapshot s;
  s.role = role_;
  s.replica = replica_state();
  s.peer_replica = peer_replica_state();
  s.peer_data = peer().data;
  s.link = link_state();
  s.mode = policy().mode;
  s.generation = sb().current();
  s.term_own = sb().term_own;
  s.term_seen = sb().term_seen;
  s.mirror_id = sb().mirror_id;
  s.leader = leading_;
  s.in_ack_set = in_ack_set_;
  s.export_open = export_open_;
  s.frozen = frozen_ || (acting_source() && in_stream_ && !in_ack_set_ && !alone_ok());
  s.paused = paused_;
  s.refusal = streaming() ? Refusal::none : refusal_;
  if (undecided()) {
    if (sb().resolution_against.value() == peer_state_.history.entries[0].id) s.resolution = sb().resolution;
    if (peer_state_.resolution_against == sb().current().value())
      s.peer_resolution = static_cast<Resolution>(peer_state_.resolution);
    s.peer_was_source = peer_state_.is_source != 0;
  }
  const bool own = replica_state() == ReplicaState::uptodate;
  const bool other =
      in_ack_set_ || (streaming() && !leading_ && peer_is_source_ && peer().data != PeerData::lacks);
  s.redundancy = static_cast<std::uint8_t>((own ? 1 : 0) + (other ? 1 : 0));
  s.promote_refusal = role_ == Role::target ? promote_refusal(false, false) : Refusal::already_source;
  s.promotable = role_ == Role::target && s.promote_refusal == Refusal::none;
  s.dirty_bytes = meta_.dirty.dirty_count() * sb().geometry.region_size;
  s.hot_extents = meta_.intents.used_count();
  s.resync_total_bytes = resync_active_ ? resync_total_bytes_ : 0;
  const std::uint64_t left = s.dirty_bytes - std::min(copied_bytes(), s.dirty_bytes);
  s.resync_done_bytes = s.resync_total_bytes - std::min(left, s.resync_total_bytes);
  s.resync_counters = resync_counters_;
  if (resync_active_) {
    s.resync_counters_now.sent_bytes = resync_counters_.sent_bytes - resync_counters_before_.sent_bytes;
    s.resync_counters_now.zero_bytes = resync_counters_.zero_bytes - resync_counters_before_.zero_bytes;
  }
  s.queue_bytes = queue_bytes_;
  if (in_stream_ && unapplied_messages_ > 0) {
    for (std::uint64_t n = ring_.head(); n < ring_.next(); ++n) {
      const StreamEntry& e = ring_.at(n);
      if (!e.sent || e.peer_done) continue;
      s.oldest_unacknowledged = e.started;
      break;
    }
  }
  s.next_sequence = SequenceNumber{ring_.next()};
  s.peer_applied = SequenceNumber{peer_applied_};
  s.peer_stable = SequenceNumber{peer_stable_};
  if (peer_state_known_) s.peer_said_at = peer_said_at_;
  s.verdict_rule = verdict_.rule;
  s.would_lose_bytes = s.dirty_bytes;
  s.idle = idle();
  return s;
}

}  // namespace twinblock::core
