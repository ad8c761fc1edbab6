// The operation table, range locks, replies and local flushes.
#include <algorithm>

#include "replicator/core/impl.hpp"

namespace twinblock::core {

OpIndex Mirror::Impl::new_op(OpKind kind) {
  TB_ASSERT(!free_ops_.empty());
  const OpIndex i = free_ops_.back();
  free_ops_.pop_back();
  const std::uint32_t generation = ops_[i].generation + 1;
  ops_[i] = Op{};
  ops_[i].kind = kind;
  ops_[i].generation = generation;
  if (kind == OpKind::read || kind == OpKind::write || kind == OpKind::zero) ++client_ops_;
  return i;
}

void Mirror::Impl::free_op(OpIndex i) {
  Op& op = ops_[i];
  TB_ASSERT(op.kind != OpKind::none && !op.local_pending);
  const bool client = op.kind == OpKind::read || op.kind == OpKind::write || op.kind == OpKind::zero ||
                      op.kind == OpKind::repair;
  if (client) {
    --client_ops_;
    client_answered_at_ = now_;
  }
  if (op.locked) unlock(i);
  if (op.slot != kNoSlot) meta_.intents.unpin(op.slot);
  op.kind = OpKind::none;
  op.slot = kNoSlot;
  free_ops_.push_back(i);
}

OpId Mirror::Impl::disk_id(OpIndex i) const {
  return kOpTable | std::uint64_t{ops_[i].generation} << 16 | i;
}

void Mirror::Impl::lock(OpIndex i, bool exclusive) {
  ops_[i].locked = true;
  if (locks_.acquire(i, ops_[i].range, exclusive)) granted_.push_back(i);
}

void Mirror::Impl::unlock(OpIndex i) {
  ops_[i].locked = false;
  // A holder that was granted but not acted on yet leaves the list, too.
  std::replace(granted_.begin(), granted_.end(), i, kNoOp);
  locks_.release(i, [this](OpIndex next) { granted_.push_back(next); });
}

void Mirror::Impl::drain_granted() {
  for (std::size_t n = 0; n < granted_.size(); ++n) {
    const OpIndex i = granted_[n];
    if (i == kNoOp) continue;
    granted_[n] = kNoOp;
    on_granted(i);
  }
  granted_.clear();
  again_ = true;
}

void Mirror::Impl::on_granted(OpIndex i) {
  switch (ops_[i].kind) {
    case OpKind::read:
    case OpKind::write:
    case OpKind::zero:
    case OpKind::repair:
      waiting_.push_back(i);
      waiting_changed_ = true;
      return;
    case OpKind::resync:
      return read_piece(i);
    case OpKind::clear_bits:
      return clear_piece(i);
    case OpKind::apply:
    case OpKind::peer_read:
      return apply_granted(i);
    case OpKind::none:
      break;
  }
  TB_ASSERT(false);
}

void Mirror::Impl::release_buffer(Op& op) {
  if (op.buffer == 0) return;
  emit(ReleaseBuffer{op.buffer});
  op.buffer = 0;
}

void Mirror::Impl::reply(Op& op, Status status) {
  TB_ASSERT(!op.replied);
  op.replied = true;
  if (op.internal) return release_buffer(op);
  const bool is_read = op.kind == OpKind::read || op.kind == OpKind::repair;
  emit(Reply{op.request, status, is_read ? op.buffer : 0});
  if (is_read) op.buffer = 0;  // the engine's again
}

bitmap::RegionRun Mirror::Impl::regions_out(const ByteRange& range) const {
  const std::uint64_t size = sb().geometry.region_size;
  const std::uint64_t first = range.offset.value() / size;
  const std::uint64_t last = (range.end().value() - 1) / size;
  return {RegionIndex{first}, last - first + 1};
}

ByteRange Mirror::Impl::range_of(const bitmap::RegionRun& run) const {
  const std::uint64_t size = sb().geometry.region_size;
  const std::uint64_t begin = run.first.value() * size;
  const std::uint64_t end = std::min((run.first.value() + run.count) * size, sb().geometry.size.value());
  return {ByteOffset{begin}, ByteCount{end - begin}};
}

// ---------------------------------------------------------------------------------------- local flushes
// At most one running and one waiting. A ticket names the first flush that starts after it was taken.

std::uint64_t Mirror::Impl::want_local_flush() {
  flush_wanted_ = flush_started_ + 1;
  again_ = true;
  return flush_wanted_;
}

void Mirror::Impl::pump_local_flush() {
  if (flush_running_ || flush_wanted_ <= flush_started_) return;
  if (detached_ || flush_failed_) return;  // whoever waits learns from detached_ or flush_failed_
  ++flush_started_;
  flush_running_ = true;
  flush_cover_ = ring_.local_done_through();
  ++disk_in_flight_;
  emit(DiskIo{DiskVerb::flush, false, false, kLocalFlush | flush_started_, ByteRange{}, 0});
}

void Mirror::Impl::on_local_flush_done(int error) {
  flush_running_ = false;
  again_ = true;
  waiting_changed_ = true;
  if (error != 0 && TB_MUTANT(failed_flush_retried)) {
    --flush_started_;
    return;
  }
  if (error != 0) {
    // Never retried into success: the kernel may have dropped the pages it could not write.
    flush_failed_ = true;
    if (acting_source())
      detach_local(error);
    else
      replica_failed(error);
    return;
  }
  flush_done_ = flush_started_;
  local_stable_ = std::max(local_stable_, flush_cover_);
}

}  // namespace twinblock::core
