// The source's write path.
//
//   range lock ─▶ intent durable ─▶ gate (right to write, window, queue) ─▶ number + disk write + send
//     ─▶ local done, peer received/applied ─▶ answer ─▶ (later) stable on both ─▶ intent droppable
//
// Between "number" and "send" there is no step: an operation that has a number is on its way everywhere it
// will ever go. Order of durable events: intent record < data; new generation < answer of a write that some
// up-to-date replica will not get. A crash between any two leaves at most a hot extent or an unused
// generation.
#include <algorithm>
#include <cerrno>

#include "replicator/core/impl.hpp"

namespace twinblock::core {

void Mirror::Impl::on_client_write(OpKind kind, RequestId request, ByteRange range, BufferId buffer, bool fua,
                                   bool may_unmap) {
  TB_ASSERT(!range.empty() && range.end().value() <= sb().geometry.size.value());
  TB_ASSERT(sb().geometry.extent_of(range.offset) == sb().geometry.extent_of(range.end() - ByteCount{1}));
  if (!export_open_) {
    emit(Reply{request, Status::not_source, 0});
    if (buffer != 0) emit(ReleaseBuffer{buffer});
    return;
  }
  const OpIndex i = new_op(kind);
  Op& op = ops_[i];
  op.request = request;
  op.range = range;
  op.buffer = buffer;
  op.fua = fua && !TB_MUTANT(fua_ignored);
  op.may_unmap = may_unmap;
  if (TB_MUTANT(source_overlap_unordered))
    granted_.push_back(i);
  else
    lock(i, true);
}

void Mirror::Impl::on_client_cancel(const ClientCancel& in) {
  for (std::size_t i = 0; i < ops_.size(); ++i) {
    Op& op = ops_[i];
    const bool client = op.kind == OpKind::read || op.kind == OpKind::write || op.kind == OpKind::zero;
    if (!client || op.request != in.request || op.started || op.replied) continue;
    op.cancelled = true;
    waiting_changed_ = true;
    return;
  }
}

// Starts what may start, oldest first; what overlaps is ordered by its range lock already.
bool Mirror::Impl::pump_waiting() {
  if (!waiting_changed_) return false;
  waiting_changed_ = false;
  retry_blocked();
  slots_wanted_ = false;
  std::size_t kept = 0;
  const std::size_t count = waiting_.size();
  for (std::size_t n = 0; n < count; ++n) {
    const OpIndex i = waiting_[n];
    if (!try_start(i)) waiting_[kept++] = i;
  }
  // Those that became ready meanwhile stand behind `count`.
  for (std::size_t n = count; n < waiting_.size(); ++n) waiting_[kept++] = waiting_[n];
  waiting_.resize(kept);
  note_slot_waiters();
  return kept > 0 && waiting_changed_;
}

// One that waits for a slot goes on waiting when a pass stops at something else (the window of the stream).
void Mirror::Impl::note_slot_waiters() {
  if (slot_wait_since_ == Instant::never()) return;
  const bool some = std::any_of(waiting_.begin(), waiting_.end(), [this](OpIndex i) {
    return ops_[i].slot == kNoSlot && ops_[i].kind != OpKind::read;
  });
  if (some && !detached_) return;
  slot_wait_since_ = Instant::never();
  draining_.reset();
}

// True: no longer waiting (started, answered or dropped).
bool Mirror::Impl::try_start(OpIndex i) {
  Op& op = ops_[i];
  if (op.kind == OpKind::repair) {
    if (data_path_dead()) {
      reply(op, Status::io_error);
      free_op(i);
      return true;
    }
    // The peer may have lost this region since, or not have it yet: what it would tell us is old.
    const bool unequal = !op.internal && !detached_ && meta_.dirty.any(regions_out(op.range));
    if (in_ack_set_ && unequal && region_blocked(op.range)) return step_aside(i);
    if (!in_ack_set_ || unequal || (op.internal && !verdict_.stays_promotable)) {
      reply(op, Status::io_error);
      free_op(i);
      return true;
    }
    // A detached disk is not written to: nothing to repair, and no intent, which might never find a slot
    // again.
    if (!peer_read_room() || (!detached_ && !ensure_intent(op))) return false;
    read_from_peer(i);
    return true;
  }
  if (op.cancelled || !acting_source() || data_path_dead()) {
    const Status why = op.cancelled      ? Status::cancelled
                       : acting_source() ? Status::io_error
                                         : Status::not_source;
    reply(op, why);
    release_buffer(op);
    free_op(i);
    return true;
  }
  return op.kind == OpKind::read ? try_start_read(i) : try_start_write(i);
}

bool Mirror::Impl::try_start_write(OpIndex i) {
  Op& op = ops_[i];
  if (!write_gate(op.kind == OpKind::write ? op.range.length.value() : 0)) return false;
  if (region_blocked(op.range)) return step_aside(i);
  if (!detached_ && !ensure_intent(op)) return false;
  start_write(i);
  return true;
}

// Pins the extent and says whether a durable record names it.
bool Mirror::Impl::ensure_intent(Op& op) {
  if (op.slot == kNoSlot) {
    const ExtentIndex extent = sb().geometry.extent_of(op.range.offset);
    if (draining_ == extent && meta_.intents.find(extent) != kNoSlot) {
      slots_wanted_ = true;  // its slot is about to go to somebody who has waited longer
      return false;
    }
    op.slot = meta_.intents.pin(extent, now_);
    if (op.slot == kNoSlot && drop_some(false)) op.slot = meta_.intents.pin(extent, now_);
    if (op.slot == kNoSlot) {
      slots_wanted_ = true;
      if (slot_wait_since_ == Instant::never()) slot_wait_since_ = now_;
      ask_stability();
      return false;
    }
    if (intent_check_at_ == Instant::never()) intent_check_at_ = now_ + config_.intent_age_max;
  }
  return meta_.intents.slot(op.slot).listed || TB_MUTANT(intent_after_data);
}

// An operation on a region that is not equal yet must not hold the range: the resync needs it. It queues up
// again once the region is equal. True: it left the waiting list.
bool Mirror::Impl::step_aside(OpIndex i) {
  if (ops_[i].locked) unlock(i);
  blocked_.push_back(i);
  return true;
}

void Mirror::Impl::retry_blocked() {
  const std::size_t count = blocked_.size();
  std::size_t kept = 0;
  for (std::size_t n = 0; n < count; ++n) {
    const OpIndex i = blocked_[n];
    Op& op = ops_[i];
    const bool over = op.cancelled || !acting_source() || data_path_dead();
    if (!over && region_blocked(op.range))
      blocked_[kept++] = i;
    else
      lock(i, op.kind != OpKind::read);
  }
  blocked_.resize(kept);
}

// The peer may be promoted in our place, so regions where it may differ are neither served nor changed until
// they are equal again or it is durably known to lack something.
bool Mirror::Impl::region_blocked(const ByteRange& range) {
  if (alone_ok() || detached_ || TB_MUTANT(read_dirty_after_restart)) return false;
  const bitmap::RegionRun run = regions_out(range);
  if (meta_.dirty.dirty_count() == 0 || !meta_.dirty.any(run)) return false;
  if (in_stream_) {
    demand_region_ = meta_.dirty.next_dirty(run.first, run.count)->first.value();
    again_ = true;
  } else if (!negotiating()) {
    request_degrade();
  }
  return true;
}

bool Mirror::Impl::stream_has_room(std::uint64_t bytes) {
  // A resync that runs finds room for a piece or two however much the application has under way.
  const bool shared = resync_active_ && !resync_end_sent_;
  const std::uint64_t messages = window_messages_ - (shared ? window_messages_ / 8 : 0);
  const std::uint64_t room =
      window_bytes_ - (shared ? std::min<std::uint64_t>(2 * kPieceMax.value(), window_bytes_ / 2) : 0);
  if (unapplied_messages_ + peer_reads_ >= messages) return false;
  if (unapplied_bytes_ > 0 && unapplied_bytes_ + bytes > room) return false;
  // The policy is about what clients wrote; a resync is bounded by the window.
  if (policy().mode != Mode::async || !in_ack_set_ || queue_bytes_ == 0) return true;
  const bool too_much = queue_bytes_ + bytes > policy().queue_bytes_max.value();
  const bool too_old = !ring_.empty() && now_ - ring_.at(ring_.head()).started > policy().queue_age_max;
  if (!too_much && !too_old) return true;
  // Without a disk of our own every answer waits for the peer: to give it up would be to lose the data.
  if (policy().queue_policy == QueuePolicy::block || detached_) return false;
  // Stop streaming, mark, resync by ourselves once the peer has drained what it got.
  event(EventKind::queue_full, Refusal::none, queue_bytes_);
  send(wire::Type::paused);
  end_session(false);
  phase_ = Phase::idle;
  track_restart_ = true;
  return false;
}

// May a write of this size start now? Asks for what is missing.
bool Mirror::Impl::write_gate(std::uint64_t bytes) {
  if (ring_.full()) return false;
  if (detached_ || meta_.failed()) {
    // Without a disk of our own: only once it is noted, durably, that ours lacks it.
    return detached_ && in_ack_set_ && detach_noted() && stream_has_room(bytes);
  }
  if (in_stream_) return stream_has_room(bytes);
  // New numbers begin with an empty ring. Their block is durable with what alone_ok() asks for.
  if (phase_ == Phase::preparing && !numbering_) return false;
  if (alone_ok()) return true;
  if (!negotiating()) request_degrade();
  return TB_MUTANT(bump_after_ack);
}

// Who leads after a power loss of the source? One that answered ahead of its peer (acked_ahead) has writes
// that are nowhere else; one that did not has nothing that the peer lacks, and the peer has not lost its
// cache. So what is answered *like sync* while acked_ahead is set, or on its way to the superblock, must be
// stable here, and what is answered *ahead* needs it durable first.
//
//   flag off ─first async write─▶ opening: all numbers up to ahead_after_ become stable here; later ones wait
//     ─▶ flag on, durable ─▶ answers ahead ─mode is sync again, peer has applied ahead_last_─▶ flag off,
//     durable
// An answer follows the mode of its own moment. Who is refused here is looked at again when the peer has got
// further, and when the flag or the mode has changed (ahead_held_).
bool Mirror::Impl::may_answer(OpIndex i) {
  const Op& op = ops_[i];
  const Mode mode = policy().mode;
  const bool settled = meta_.superblock_durable(ahead_ticket_);
  if (mode == Mode::async && sb().acked_ahead && settled) {
    if (!op.applied) ahead_last_ = std::max(ahead_last_, op.sequence);
    return true;
  }
  const bool peer_has_it = mode == Mode::memsync && !op.fua ? op.received : op.applied;
  const bool early = ahead_opening_ && op.sequence > ahead_after_;
  return peer_has_it && ((!sb().acked_ahead && settled && !early) || op.sequence <= local_stable_);
}

// Durable or on its way: see may_answer().
void Mirror::Impl::set_acked_ahead(bool ahead) {
  if (sb().acked_ahead == ahead) return;
  sb().acked_ahead = ahead;
  ahead_ticket_ = meta_.superblock_changed();
  ahead_held_ = true;
  again_ = true;
}

bool Mirror::Impl::pump_ahead() {
  if (policy().mode != Mode::async) {
    ahead_held_ = ahead_held_ || ahead_opening_;
    ahead_opening_ = false;
    if (sb().acked_ahead && in_ack_set_ && acting_source() && peer_applied_ >= ahead_last_)
      set_acked_ahead(false);
  } else if (ahead_opening_ && !detached_) {
    if (local_stable_ < ahead_after_) {
      const bool useful = ring_.local_done_through() >= ahead_after_ && flush_wanted_ <= flush_started_;
      if (useful) want_local_flush();
      return useful;
    }
    ahead_opening_ = false;
    set_acked_ahead(true);
  }
  if (!ahead_held_ || !meta_.superblock_durable(ahead_ticket_)) return false;
  ahead_held_ = false;
  check_started_writes();
  return true;
}

void Mirror::Impl::check_started_writes() {
  for (std::size_t n = 0; n < ops_.size(); ++n) {
    const Op& op = ops_[n];
    const bool write = op.kind == OpKind::write || op.kind == OpKind::zero;
    if (write && op.started && !op.replied) check_write(static_cast<OpIndex>(n));
  }
}

void Mirror::Impl::start_write(OpIndex i) {
  Op& op = ops_[i];
  TB_ASSERT(!ring_.full());
  op.started = true;
  op.sent = in_stream_;
  op.peer_expected = in_ack_set_;
  const bool is_zero = op.kind == OpKind::zero;
  const std::uint64_t bytes = is_zero ? 0 : op.range.length.value();
  op.sequence = ring_.push({i, op.sent, detached_, false, true, static_cast<std::uint32_t>(bytes), now_});
  TB_ASSERT(op.sequence < sb().sequence_limit.value());
  if (op.sequence % (std::uint64_t{1} << 32) == 0 && numbering_) {  // now and then: is the block half used?
    reserve_sequences();
    meta_.superblock_changed();
  }
  if (policy().mode == Mode::async && op.peer_expected && !sb().acked_ahead && !ahead_opening_) {
    ahead_opening_ = again_ = true;
    ahead_after_ = op.sequence - 1;
  }
  if (op.slot != kNoSlot) {
    IntentSlot& slot = meta_.intents.slot(op.slot);
    slot.sequence_max = op.sequence;
    if (op.sent) slot.sent_max = op.sequence;
    meta_.intents.touch(op.slot, op.range);
  }
  if (!op.sent && !TB_MUTANT(bits_not_set_alone)) meta_.set_bits(regions_out(op.range));
  if (op.sent) {
    queue_bytes_ += bytes;
    wire::Header h;
    h.type = is_zero ? wire::Type::zero : wire::Type::write;
    h.flags = static_cast<std::uint8_t>((op.fua ? wire::kFua : 0) | (op.may_unmap ? wire::kMayUnmap : 0));
    h.lacks = static_cast<std::uint8_t>(detached_ ? 1u << config_.node.value() : 0u);
    h.sequence = op.sequence;
    h.offset = op.range.offset.value();
    h.length = static_cast<std::uint32_t>(op.range.length.value());
    h.wire_length = static_cast<std::uint32_t>(bytes);
    send_header(h, op.buffer);
  }
  if (detached_) return;
  op.local_pending = true;
  ++disk_in_flight_;
  emit(DiskIo{is_zero ? DiskVerb::zero : DiskVerb::write, op.fua, op.may_unmap, disk_id(i), op.range,
              op.buffer});
}

void Mirror::Impl::on_local_write_done(OpIndex i, int error) {
  Op& op = ops_[i];
  const std::uint32_t generation = op.generation;
  op.local_ok = error == 0;
  ring_.set_local_done(op.sequence);
  if (error != 0) {
    // Ours is what differs now; as long as the peer takes part the region must not look equal.
    meta_.set_bits(regions_out(op.range));
    // A request that timed out still runs: it may land on whatever is written here later, so nothing is.
    const bool disk_gone = op.fua || in_ack_set_ || error == ETIMEDOUT;
    if (!acting_source() && (streaming() || disk_gone))
      replica_failed(error);  // we follow by now: nobody else knows of this bit
    else if (disk_gone)
      detach_local(error);
    else if (in_stream_ || negotiating())
      close_link(Refusal::replica_failed);  // what was said without this bit does not count
  }
  ring_.retire();
  // A failure may have answered it already.
  if (op.generation == generation && op.kind != OpKind::none && !op.replied) check_write(i);
  waiting_changed_ = true;
}

// Answers the write if everything it waits for has happened.
void Mirror::Impl::check_write(OpIndex i) {
  Op& op = ops_[i];
  TB_ASSERT(op.started && !op.replied);
  if (op.local_pending) return;
  if (!acting_source())
    return finish_write(i, Status::io_error);       // deposed: nothing is acknowledged any more
  const bool local_ok = op.local_ok && !detached_;  // what a detached disk took does not count
  if (op.peer_expected && !op.peer_lost) {
    if (!local_ok) {
      if (!in_ack_set_) return finish_write(i, Status::io_error);
      if (!TB_MUTANT(detach_acks_at_once) && (!detach_noted() || !op.applied)) return;
      return finish_write(i, Status::ok);
    }
    if (TB_MUTANT(ack_before_peer)) return finish_write(i, Status::ok);
    if (may_answer(i)) finish_write(i, Status::ok);
    return;
  }
  if (!local_ok) return finish_write(i, Status::io_error);
  if (!op.peer_lost || alone_ok() || caught_up(op.range) || TB_MUTANT(bump_after_ack)) {
    return finish_write(i, Status::ok);
  }
  if (op.orphan) return;
  // Not answered, but done here: others may pass. Reads of the region wait for its bit (region_blocked).
  op.orphan = true;
  orphans_.push_back(i);
  again_ = true;
  if (op.locked) unlock(i);
}

void Mirror::Impl::finish_write(OpIndex i, Status status) {
  Op& op = ops_[i];
  if (ring_.contains(op.sequence)) ring_.at(op.sequence).op = kNoOp;
  if (op.orphan) std::erase(orphans_, i);
  reply(op, status);
  release_buffer(op);
  free_op(i);
  again_ = true;
}

// Cumulative answers of the follower. REQUIRES: checked against what was sent.
void Mirror::Impl::on_ack(std::uint64_t received, std::uint64_t applied, std::uint64_t stable) {
  for (std::uint64_t s = std::max(peer_received_ + 1, ring_.head()); s <= received; ++s) {
    StreamEntry& e = ring_.at(s);
    if (!e.sent || e.op == kNoOp) continue;
    ops_[e.op].received = true;
    check_write(e.op);
  }
  for (std::uint64_t s = std::max(peer_applied_ + 1, ring_.head()); s <= applied; ++s) {
    StreamEntry& e = ring_.at(s);
    if (!e.sent || e.peer_done) continue;
    e.peer_done = true;
    TB_ASSERT(unapplied_messages_ > 0 && unapplied_bytes_ >= e.bytes);
    --unapplied_messages_;
    unapplied_bytes_ -= e.bytes;
    if (e.client) queue_bytes_ -= e.bytes;
    if (e.resync) --resync_messages_;
    if (e.op != kNoOp) {
      ops_[e.op].received = ops_[e.op].applied = true;
      check_write(e.op);
    }
  }
  if (received > peer_received_ || applied > peer_applied_ || stable > peer_stable_) last_progress_ = now_;
  peer_received_ = std::max(peer_received_, received);
  peer_applied_ = std::max(peer_applied_, applied);
  peer_stable_ = std::max(peer_stable_, stable);
  ring_.retire();
  waiting_changed_ = true;
  again_ = true;
}

// Nothing can be read or written any more: our disk is gone and no up-to-date peer is there.
bool Mirror::Impl::data_path_dead() const {
  return (detached_ && !in_ack_set_ && !negotiating()) || (meta_.failed() && !in_ack_set_);
}

void Mirror::Impl::fail_everything() {
  for (std::size_t n = 0; n < ops_.size(); ++n) {
    const auto i = static_cast<OpIndex>(n);
    Op& op = ops_[i];
    if ((op.kind != OpKind::write && op.kind != OpKind::zero) || !op.started || op.replied ||
        op.local_pending)
      continue;
    finish_write(i, Status::io_error);
  }
}

}  // namespace twinblock::core
