// The follower's apply path: the stream is carried out in order. What overlaps waits for its turn, what does
// not runs concurrently; a flush point is a barrier, so that after a power loss this replica equals a prefix
// up to a flush point plus some of what came before the next (P6).
//
//   received ─▶ queued ─▶ submitted (range lock, disk) ─▶ done ─▶ leaves the queue in order = applied
//                                             flush point done = stable
#include <algorithm>

#include "replicator/core/impl.hpp"

namespace twinblock::core {

bool Mirror::Impl::stream_message_ok(const MessageIn& in) const {
  const wire::Header& h = in.header;
  const bool is_read = h.type == wire::Type::read_request;
  if (!streaming() || leading_ || apply_full() || h.sequence >= kNumberMax) return false;
  // Counted by both sides: a lost or repeated message shows.
  if ((is_read ? h.sequence : h.handle) != stream_count_ + 1) return false;
  if (h.type == wire::Type::flush || h.type == wire::Type::resync_end) return h.sequence > received_;
  if (!is_read && h.sequence <= received_) return false;
  const std::uint64_t block = sb().geometry.logical_block_size;
  const std::uint64_t size = sb().geometry.size.value();
  if (h.length == 0 || h.offset >= size || h.length > size - h.offset) return false;
  if (h.offset % block != 0 || h.length % block != 0) return false;
  if (h.offset / kExtentSize.value() != (h.offset + h.length - 1) / kExtentSize.value()) return false;
  if (free_ops_.size() <= config_.client_ops_max / 2 || (h.type == wire::Type::write) != (in.payload != 0))
    return false;
  // Nobody resyncs a replica that is in sync.
  return (h.flags & wire::kResync) == 0 || !replica_uptodate_ || verdict_.stays_promotable;
}

void Mirror::Impl::on_stream(const MessageIn& in) {
  const wire::Header& h = in.header;
  if (detached_ || !stream_message_ok(in)) {
    if (in.payload != 0) emit(ReleaseBuffer{in.payload});
    if (!detached_) close_link(Refusal::bad_message);
    return;
  }
  ++stream_count_;
  ApplyEntry e;
  e.sequence = h.sequence;
  switch (h.type) {
    case wire::Type::flush:
      e.kind = ApplyEntry::Kind::flush;
      break;
    case wire::Type::resync_end: {
      const auto body = wire::decode_history(in.body);
      if (!body.has_value() || body->history.count == 0) return close_link(Refusal::bad_message);
      end_history_ = body->history;
      e.kind = ApplyEntry::Kind::resync_end;
      break;
    }
    default: {
      const bool is_read = h.type == wire::Type::read_request;
      e.kind = is_read ? ApplyEntry::Kind::read : ApplyEntry::Kind::write;
      e.op = new_op(is_read ? OpKind::peer_read : OpKind::apply);
      Op& op = ops_[e.op];
      op.range = {ByteOffset{h.offset}, ByteCount{h.length}};
      op.buffer = in.payload;
      op.zero = h.type == wire::Type::zero;
      op.fua = (h.flags & wire::kFua) != 0;
      op.resync = (h.flags & wire::kResync) != 0;
      op.may_unmap = (h.flags & wire::kMayUnmap) != 0;
      op.handle = h.handle;
      op.sequence = apply_popped_ + apply_.size();  // number of its entry
      op.request = session_;
      break;
    }
  }
  if (e.kind != ApplyEntry::Kind::read)
    received_high_ = received_ = h.sequence;
  else
    e.sequence = received_;
  apply_.push(e);
  ack_due_ = ack_due_ || policy().mode == Mode::memsync;
  again_ = true;
}

bool Mirror::Impl::pump_apply() {
  if (barrier_superblock_) pump_barrier();
  bool progress = false;
  while (apply_submitted_ < apply_.size()) {
    if (barrier_running_ && !TB_MUTANT(target_flush_is_no_barrier)) break;
    ApplyEntry& e = apply_[apply_submitted_];
    const bool barrier = e.kind == ApplyEntry::Kind::flush || e.kind == ApplyEntry::Kind::resync_end;
    if (barrier && barrier_running_) break;
    if (barrier && apply_submitted_ > 0 && !TB_MUTANT(target_flush_is_no_barrier)) break;
    ++apply_submitted_;
    submit_apply(e);
    progress = true;
    retire_apply();
  }
  return progress;
}

void Mirror::Impl::submit_apply(ApplyEntry& e) {
  e.submitted = true;
  if (e.kind == ApplyEntry::Kind::flush || e.kind == ApplyEntry::Kind::resync_end) {
    barrier_running_ = true;
    barrier_entry_ = apply_popped_ + apply_submitted_ - 1;
    if (e.kind == ApplyEntry::Kind::resync_end && TB_MUTANT(uptodate_without_flush))
      return on_barrier_flushed(-1);
    ++disk_in_flight_;
    return emit(DiskIo{DiskVerb::flush, false, false, kBarrierFlush | barrier_entry_, ByteRange{}, 0});
  }
  if (e.kind == ApplyEntry::Kind::read) e.done = true;  // not part of the prefix; its lock orders it
  const OpIndex i = e.op;
  const bool unlocked = TB_MUTANT(zero_piece_not_locked) && ops_[i].zero && ops_[i].resync;
  if (TB_MUTANT(target_overlap_unordered) || unlocked)
    apply_granted(i);
  else
    lock(i, e.kind == ApplyEntry::Kind::write);
}

void Mirror::Impl::apply_granted(OpIndex i) {
  Op& op = ops_[i];
  op.started = true;
  op.local_pending = true;
  ++disk_in_flight_;
  if (op.kind == OpKind::peer_read)
    return emit(DiskIo{DiskVerb::read, false, false, disk_id(i), op.range, 0});
  emit(DiskIo{op.zero ? DiskVerb::zero : DiskVerb::write, op.fua, op.may_unmap, disk_id(i), op.range,
              op.buffer});
}

void Mirror::Impl::on_apply_done(OpIndex i, int error) {
  const std::uint64_t number = ops_[i].sequence;
  release_buffer(ops_[i]);
  free_op(i);
  apply_[number - apply_popped_].done = true;
  shared_flush_ = flush_started_ + 1;
  if (error != 0) replica_failed(error);
  retire_apply();
  again_ = true;
}

void Mirror::Impl::retire_apply() {
  while (!apply_.empty() && apply_.front().done) {
    if (!detached_) {
      ack_due_ = ack_due_ || apply_.front().sequence > applied_;
      applied_ = std::max(applied_, apply_.front().sequence);
    }
    apply_.pop();
    ++apply_popped_;
    --apply_submitted_;
  }
}

void Mirror::Impl::on_barrier_flushed(int error) {
  ApplyEntry& e = apply_[barrier_entry_ - apply_popped_];
  again_ = true;
  if (error > 0) {
    barrier_running_ = false;
    e.done = true;
    replica_failed(error);
    return retire_apply();
  }
  if (e.kind == ApplyEntry::Kind::flush) {
    barrier_running_ = false;
    e.done = true;
    if (!detached_) stable_ = std::max(stable_, TB_MUTANT(stable_sequence_too_high) ? received_ : e.sequence);
    ack_due_ = true;
    return retire_apply();
  }
  // End of the resync, in this order: all applied (we are a barrier), flushed, now durable, then told.
  bitmap::Superblock& s = sb();
  adopt_history(end_history_);
  if (s.disk_state == DiskState::inconsistent) s.disk_state = DiskState::consistent;
  s.resync = {};
  s.lost_cache = false;
  set_acked_ahead(false);
  // Both sides keep the number of this moment: a copy put back from before it is recognised.
  s.stable_sequence = std::max(s.stable_sequence, SequenceNumber{e.sequence});
  peer().base_generation = s.current();
  peer().data = PeerData::maybe_current;
  barrier_ticket_ = degrade_ticket_ = meta_.superblock_changed();
  barrier_superblock_ = true;
  pump_barrier();
}

bool Mirror::Impl::pump_barrier() {
  if (!barrier_superblock_) return false;
  if (meta_.failed()) {  // never durable: the replica has failed, the barrier just ends
    barrier_superblock_ = barrier_running_ = false;
    apply_[barrier_entry_ - apply_popped_].done = true;
    retire_apply();
    return true;
  }
  if (!meta_.superblock_durable(barrier_ticket_) && !TB_MUTANT(uptodate_before_superblock)) return false;
  barrier_superblock_ = barrier_running_ = false;
  ApplyEntry& e = apply_[barrier_entry_ - apply_popped_];
  e.done = true;
  const std::uint64_t sequence = e.sequence;
  stable_ = std::max(stable_, sequence);
  if (streaming() && !leading_) {
    replica_uptodate_ = true;
    send(wire::Type::resync_done, sequence);
    resume_by_itself();
  }
  event(EventKind::resync_finished, Refusal::none, sb().current().value());
  retire_apply();
  ack_due_ = again_ = true;
  return true;
}

void Mirror::Impl::finish_peer_read(OpIndex i, int error, BufferId buffer) {
  Op& op = ops_[i];
  op.buffer = buffer;
  if (op.request == session_ && streaming()) {
    wire::Header h;
    h.type = wire::Type::read_reply;
    h.handle = op.handle;
    h.offset = op.range.offset.value();
    h.length = static_cast<std::uint32_t>(op.range.length.value());
    if (error != 0)
      h.flags = wire::kFailed;
    else
      h.wire_length = h.length;
    send_header(h, error == 0 ? buffer : 0);
  }
  release_buffer(op);
  free_op(i);
  again_ = true;
}

void Mirror::Impl::send_ack() {
  ack_due_ = false;
  if (!streaming() || leading_ || detached_ || received_ == 0) return;
  wire::Header h;
  h.type = wire::Type::ack;
  h.sequence = applied_;
  h.offset = received_;
  h.aux = std::min(stable_, applied_);
  send_header(h);
}

// What one side reports as saved is what the other may hold against it after a restore from backup.
void Mirror::Impl::save_stable() {
  if (!streaming() || detached_) return;
  if (stable_saving_ != 0 && meta_.superblock_durable(stable_ticket_)) {
    send(wire::Type::stable_saved, stable_saving_);
    stable_saving_ = 0;
  }
  const std::uint64_t stable = leading_ ? local_stable_ : stable_;
  if (now_ - stable_saved_at_ < Duration::seconds(10) || stable <= sb().stable_sequence.value()) return;
  stable_saved_at_ = now_;
  sb().stable_sequence = SequenceNumber{stable};
  stable_saving_ = stable;
  stable_ticket_ = meta_.superblock_changed();
}

void Mirror::Impl::drop_unsubmitted() {
  for (std::size_t n = apply_submitted_; n < apply_.size(); ++n) {
    ApplyEntry& e = apply_[n];
    e.done = true;
    if (e.op == kNoOp) continue;
    release_buffer(ops_[e.op]);
    free_op(e.op);
  }
  apply_submitted_ = apply_.size();
}

// The local disk (or metadata) failed while we are not source. All since the last good flush is unknown; the
// leader has it marked, since it was never reported stable.
void Mirror::Impl::replica_failed(int error) {
  if (detached_) return;
  detached_ = true;
  replica_uptodate_ = false;
  event(EventKind::disk_failed, Refusal::replica_failed, static_cast<std::uint64_t>(error));
  sb().disk_state = DiskState::failed;
  meta_.superblock_changed();
  if (streaming() && !leading_) {
    wire::Header h;
    h.type = wire::Type::replica_failed;
    h.aux = static_cast<std::uint64_t>(error);
    send_header(h);
  } else if (link_ != 0) {
    close_link(Refusal::replica_failed);
  }
  drop_unsubmitted();
  // Those that wait for a range are dropped by their grant's completion with an error; barriers end here.
  again_ = true;
}

}  // namespace twinblock::core
