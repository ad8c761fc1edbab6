// Reads at the source, and what happens when the local disk cannot read.
//
// A read holds its range shared, so it waits for overlapping writes in flight and they for it. When the local
// read fails the operation becomes a *repair*: it takes the range exclusively (a write that overtook it must
// not be overwritten with what the peer had before), reads from the peer, writes that to the local disk and
// answers. The local write is numbered and its extent hot, like any other.
#include "replicator/core/impl.hpp"

namespace twinblock::core {

void Mirror::Impl::on_client_read(const ClientRead& in) {
  TB_ASSERT(!in.range.empty() && in.range.end().value() <= sb().geometry.size.value());
  if (!export_open_) return emit(Reply{in.request, Status::not_source, in.buffer});
  const OpIndex i = new_op(OpKind::read);
  ops_[i].request = in.request;
  ops_[i].range = in.range;
  ops_[i].buffer = in.buffer;
  if (TB_MUTANT(read_ignores_writes))
    granted_.push_back(i);
  else
    lock(i, false);
}

bool Mirror::Impl::try_start_read(OpIndex i) {
  Op& op = ops_[i];
  if (region_blocked(op.range)) return step_aside(i);
  if (detached_) {
    if (!in_ack_set_ || !peer_read_room()) return false;
    op.started = true;
    read_from_peer(i);
    return true;
  }
  op.started = true;
  op.local_pending = true;
  ++disk_in_flight_;
  emit(DiskIo{DiskVerb::read, false, false, disk_id(i), op.range, op.buffer});
  return true;
}

void Mirror::Impl::on_local_read_done(OpIndex i, int error, BufferId) {
  Op& op = ops_[i];
  // A read that was under way when the disk failed may show what a failed flush has dropped.
  if (!acting_source() || (error == 0 && !detached_)) {
    reply(op, read_status());
    return free_op(i);
  }
  // Served by a peer only if that peer is up to date and equal there, or if it is our copy that is behind.
  const bool peer_good = in_ack_set_ && (detached_ || !meta_.dirty.any(regions_out(op.range)));
  if (!peer_good) {
    reply(op, Status::io_error);
    return free_op(i);
  }
  if (detached_) {  // in turn, behind those that wait already
    op.started = false;
    waiting_.push_back(i);
    waiting_changed_ = true;
    return;
  }
  start_repair(i);
}

void Mirror::Impl::start_repair(OpIndex i) {
  Op& op = ops_[i];
  op.kind = OpKind::repair;
  op.started = false;
  if (TB_MUTANT(repair_without_lock)) {
    if (op.locked) unlock(i);
    return granted_.push_back(i);
  }
  if (op.locked) unlock(i);
  lock(i, true);
}

void Mirror::Impl::read_from_peer(OpIndex i) {
  Op& op = ops_[i];
  op.started = true;
  if (!in_ack_set_) {
    reply(op, Status::io_error);
    return free_op(i);
  }
  wire::Header h;
  h.type = wire::Type::read_request;
  h.handle = op.generation << 16 | i;
  h.offset = op.range.offset.value();
  h.length = static_cast<std::uint32_t>(op.range.length.value());
  op.handle = h.handle;
  op.sent = true;
  ++peer_reads_;
  h.sequence = ++stream_count_;
  send_header(h);
}

void Mirror::Impl::on_read_reply(const MessageIn& in) {
  const auto i = static_cast<OpIndex>(in.header.handle & 0xffff);
  const bool known = i < ops_.size() && (ops_[i].kind == OpKind::read || ops_[i].kind == OpKind::repair) &&
                     ops_[i].sent && ops_[i].handle == in.header.handle && !ops_[i].local_pending;
  const bool failed = (in.header.flags & wire::kFailed) != 0;
  if (!known || (!failed && (in.payload == 0 || in.header.offset != ops_[i].range.offset.value() ||
                             in.header.length != ops_[i].range.length.value()))) {
    if (in.payload != 0) emit(ReleaseBuffer{in.payload});
    if (known) close_link(Refusal::bad_message);
    return;
  }
  Op& op = ops_[i];
  op.sent = false;
  --peer_reads_;
  waiting_changed_ = true;
  if (failed) {
    if (in.payload != 0) emit(ReleaseBuffer{in.payload});
    if (op.internal) fail_blocked(op.range);
    reply(op, Status::io_error);
    return free_op(i);
  }
  release_buffer(op);
  op.buffer = in.payload;
  if (op.kind == OpKind::read || detached_ || ring_.full() || op.slot == kNoSlot) {
    reply(op, read_status());
    return free_op(i);
  }
  if (op.internal) fail_orphans(op.range);  // the peer's copy, without them, becomes the truth
  op.sequence = ring_.push({kNoOp, false, false, false, false, 0, now_});
  IntentSlot& slot = meta_.intents.slot(op.slot);
  slot.sequence_max = op.sequence;
  meta_.intents.touch(op.slot, op.range);
  op.local_pending = true;
  ++disk_in_flight_;
  emit(DiskIo{DiskVerb::write, false, false, disk_id(i), op.range, op.buffer});
}

void Mirror::Impl::on_repair_done(OpIndex i, int error) {
  Op& op = ops_[i];
  ring_.set_local_done(op.sequence);
  ring_.retire();
  if (error == 0) {
    event(EventKind::read_repaired, Refusal::none, op.range.offset.value(), op.range.length.value());
    if (op.internal) {
      if (healed_count_ < healed_.size()) healed_[healed_count_++] = op.range.offset.value();
      resync_error_ = false;  // look again at once
      resync_cursor_ = 0;
      resync_retry_at_ = resync_error_until_ = Instant::never();
      again_ = true;
    }
  } else {
    meta_.set_bits(regions_out(op.range));
    if (acting_source())
      detach_local(error);
    else
      replica_failed(error);  // we follow by now, or will
  }
  reply(op, read_status());  // the data came from an up-to-date peer
  free_op(i);
  waiting_changed_ = true;
}

// The peer left: what was asked of it is not coming.
void Mirror::Impl::fail_peer_reads() {
  for (std::size_t n = 0; n < ops_.size(); ++n) {
    Op& op = ops_[n];
    if ((op.kind != OpKind::read && op.kind != OpKind::repair) || !op.sent) continue;
    op.sent = false;
    --peer_reads_;
    reply(op, Status::io_error);
    free_op(static_cast<OpIndex>(n));
  }
}

}  // namespace twinblock::core
