// Resync, the leader's side: dirty regions in disk order, in pieces of up to 1 MiB, numbered and sent in the
// same stream as writes, so that order needs no further thought: a piece read under a shared range lock is
// older than every write that waits for the lock and newer than every write before it.
//
// A bit is cleared when the piece is stable at the peer, a local flush that began after the read has ended,
// and nobody holds or waits for the range (an exclusive lock of its own). Writes that pass in between were
// sent to the peer and keep their extent hot.
#include <algorithm>
#include <span>

#include "replicator/core/impl.hpp"

namespace twinblock::core {

void Mirror::Impl::begin_resync() {
  resync_active_ = true;
  resync_joining_ = resync_end_sent_ = false;
  resync_error_ = false;
  healed_count_ = 0;
  resync_counters_before_ = resync_counters_;
  resync_cursor_ = 0;
  resync_retry_at_ = resync_error_until_ = Instant::never();
  resync_total_bytes_ = meta_.dirty.dirty_count() * sb().geometry.region_size;
  event(EventKind::resync_started, Refusal::none, resync_total_bytes_, verdict_.full);
}

bool Mirror::Impl::resync_may_start() const {
  const bool held = policy().hold_resync && !resync_released_ && !verdict_.stays_promotable;
  return resync_active_ && in_stream_ && !detached_ && !held;
}

// Who waits for the resync itself (for its region, or to be told that the peer lacks it) does not slow it
// down.
bool Mirror::Impl::application_active() const {
  if (client_ops_ > blocked_.size() + orphans_.size()) return true;
  return now_ < client_answered_at_ + ResyncRate::kIdleAfter;
}

void Mirror::Impl::set_resync_rate() {
  const ResyncRate::Limits limits{policy().resync_rate_bytes_per_s_min, policy().resync_rate_bytes_per_s_max};
  resync_rate_.set_rate(now_, ResyncRate::rate(limits, application_active()));
}

// Of the target's window the application leaves a part free (stream_has_room), so this always becomes true.
bool Mirror::Impl::resync_has_room() const {
  if (sent_pieces_.size() + pieces_ >= 250 || resync_messages_ + pieces_ >= window_messages_ / 2)
    return false;
  if (unapplied_messages_ + pieces_ >= window_messages_) return false;
  return unapplied_bytes_ + (pieces_ + 1) * kPieceMax.value() <= window_bytes_;
}

// A region that an application waits for goes at once, and the ceiling makes up for it afterwards.
bool Mirror::Impl::pump_demand() {
  if (demand_region_ == UINT64_MAX || resync_error_) return false;
  const bitmap::RegionRun run{RegionIndex{demand_region_}, 1};
  const bool due = meta_.dirty.any(run) && !piece_under_way(demand_region_);
  demand_region_ = UINT64_MAX;
  const bool go = due && pieces_ < config_.resync_pieces_max + 4 && sent_pieces_.size() + pieces_ < 250;
  if (go) {
    resync_rate_.take(sb().geometry.region_size);
    start_piece(run);
  }
  // Somebody waits for what is under way: do not leave it until the end of the pass.
  if (!sent_pieces_.empty()) stabilise_pieces();
  return go;
}

// What a slow resync takes at once is seen to move, and is earned in a second.
std::uint64_t Mirror::Impl::piece_regions() const {
  const std::uint64_t region_size = sb().geometry.region_size;
  const ResyncRate::Limits limits{policy().resync_rate_bytes_per_s_min, policy().resync_rate_bytes_per_s_max};
  const std::uint64_t rate = ResyncRate::rate(limits, application_active());
  const std::uint64_t bytes = rate == 0 ? kPieceMax.value() : std::min(rate, kPieceMax.value());
  return std::max<std::uint64_t>(bytes / region_size, 1);
}

// A pass may take hours, and a link that is lost takes all back that is not stable on both sides: now and
// then it is made so.
void Mirror::Impl::secure_pieces() {
  if (sent_pieces_.empty() || stability_wanted_) return;
  const SentPiece& oldest = sent_pieces_.front();
  const bool asked = oldest.sequence <= flush_point_sent_ && oldest.flush_ticket <= flush_wanted_;
  const bool due = sent_pieces_.size() >= 128 || now_ - oldest.sent_at >= config_.intent_age_max;
  if (due && !asked) ask_stability();
}

// Asks once for what was sent: if its bits wait for something else (pump_clear), more flushes do not help.
// REQUIRES: there are sent pieces.
void Mirror::Impl::stabilise_pieces() {
  const bool asked = flush_point_sent_ > sent_pieces_[sent_pieces_.size() - 1].sequence;
  if (!asked && !stability_wanted_ && flush_point_sent_ <= peer_stable_) ask_stability();
}

bool Mirror::Impl::pump_resync() {
  bool progress = pump_clear();
  if (!resync_may_start() || resync_end_sent_) return progress;
  if (now_ < resync_error_until_ && resync_error_until_ != Instant::never()) return progress;
  resync_error_until_ = resync_retry_at_ = Instant::never();
  set_resync_rate();
  secure_pieces();
  progress |= pump_demand();
  const std::uint64_t region_size = sb().geometry.region_size;
  const std::uint64_t piece_max = piece_regions();
  const bool active = application_active();
  const std::uint32_t limit =
      active ? std::max(config_.resync_pieces_max / 4, 1u) : config_.resync_pieces_max;
  while (pieces_ < limit && resync_has_room()) {
    const auto run = meta_.dirty.next_dirty(RegionIndex{resync_cursor_}, piece_max);
    if (!run) return pass_ended() || progress;
    if (!resync_rate_.may_go()) {
      // Or earlier, when the application falls silent.
      const Instant ready = resync_rate_.ready_at();
      resync_retry_at_ = active ? std::min(ready, now_ + ResyncRate::kIdleAfter) : ready;
      return progress;
    }
    const std::uint64_t per_extent = sb().geometry.regions_per_extent();
    const std::uint64_t room = per_extent - run->first.value() % per_extent;
    const bitmap::RegionRun piece{run->first, std::min(run->count, room)};
    resync_rate_.take(piece.count * region_size);
    resync_cursor_ = piece.first.value() + piece.count;
    progress |= start_piece(piece);
  }
  return progress;
}

bool Mirror::Impl::piece_under_way(std::uint64_t region) const {
  const auto inside = [region](const bitmap::RegionRun& run) {
    return region >= run.first.value() && region < run.first.value() + run.count;
  };
  for (std::size_t n = 0; n < sent_pieces_.size(); ++n) {
    if (inside(sent_pieces_[n].run)) return true;
  }
  for (const Op& op : ops_) {
    if ((op.kind == OpKind::resync || op.kind == OpKind::clear_bits) && inside(regions_out(op.range)))
      return true;
  }
  return false;
}

// Nothing dirty behind the cursor: wait for what is under way, then look again from the start.
bool Mirror::Impl::pass_ended() {
  if (pieces_ > 0) return false;
  if (!sent_pieces_.empty()) {
    const std::uint64_t last = sent_pieces_[sent_pieces_.size() - 1].sequence;
    if (flush_point_sent_ < last && !stability_wanted_) {
      ask_stability();
      return true;
    }
    return false;
  }
  if (meta_.dirty.dirty_count() == 0) {
    pump_resync_end();
    return false;
  }
  resync_cursor_ = 0;
  if (resync_error_) {
    resync_error_ = false;
    resync_error_until_ = now_ + Duration::seconds(2);
    return false;
  }
  return true;
}

bool Mirror::Impl::start_piece(bitmap::RegionRun run) {
  const OpIndex i = new_op(OpKind::resync);
  ++pieces_;
  ops_[i].range = range_of(run);
  ops_[i].handle = session_;
  if (TB_MUTANT(resync_without_lock))
    granted_.push_back(i);
  else
    lock(i, false);
  return true;
}

void Mirror::Impl::read_piece(OpIndex i) {
  Op& op = ops_[i];
  if (op.handle != session_ || !in_stream_) {
    --pieces_;
    return free_op(i);
  }
  op.local_pending = true;
  ++disk_in_flight_;
  emit(DiskIo{DiskVerb::read, false, false, disk_id(i), op.range, 0, Look::zeroes});
}

void Mirror::Impl::on_piece_read(OpIndex i, const DiskDone& in) {
  Op& op = ops_[i];
  op.buffer = in.buffer;
  const bool current = op.handle == session_ && in_stream_ && !detached_;
  if (in.error != 0 && current) {
    resync_error_ = true;  // its bits stay; the operator sees where
    if (verdict_.stays_promotable && in_ack_set_) heal_piece(op.range, in.error);
    event(EventKind::disk_failed, Refusal::none, static_cast<std::uint64_t>(in.error),
          op.range.offset.value());
  }
  if (in.error == 0 && current && !ring_.full()) send_piece(i, in.digest.zero);
  release_buffer(op);
  --pieces_;
  free_op(i);
  again_ = true;
}

// Our own crash left this range hot, and now it cannot be read. The peer's copy is complete; where it differs
// from ours nothing was acknowledged, and nobody has read here since. So it becomes the truth: it is written
// over ours, and the resync finds both equal. A disk that cannot read what was just written there has failed.
void Mirror::Impl::heal_piece(ByteRange range, int error) {
  const auto healed = std::span{healed_}.first(healed_count_);
  const bool again = std::any_of(healed.begin(), healed.end(), [&range](std::uint64_t at) {
    return at >= range.offset.value() && at < range.end().value();
  });
  if (again || healed_count_ == healed_.size())
    return acting_source() ? detach_local(error) : replica_failed(error);
  const OpIndex i = new_op(OpKind::read);
  ops_[i].range = range;
  ops_[i].internal = true;
  start_repair(i);
}

// Neither copy of the range can be read: who waits for it is told, not held for ever.
void Mirror::Impl::fail_blocked(const ByteRange& range) {
  for (std::size_t n = blocked_.size(); n > 0; --n) {
    const OpIndex i = blocked_[n - 1];
    if (!ops_[i].range.overlaps(range)) continue;
    std::erase(blocked_, i);
    reply(ops_[i], Status::io_error);
    release_buffer(ops_[i]);
    free_op(i);
  }
  fail_orphans(range);
}

// Writes done here alone, which wait for the peer to come back: they cannot be answered with success any
// more.
void Mirror::Impl::fail_orphans(const ByteRange& range) {
  for (std::size_t n = orphans_.size(); n > 0; --n) {
    const OpIndex i = orphans_[n - 1];
    if (ops_[i].range.overlaps(range)) finish_write(i, Status::io_error);
  }
}

// REQUIRES: the range lock is held since before the read: the number given here is the place in the stream
// that the data belongs to. Zeroes travel without a payload; the space under them stays allocated (no
// may_unmap), as it was on the target.
void Mirror::Impl::send_piece(OpIndex i, bool zero) {
  const Op& op = ops_[i];
  const auto length = static_cast<std::uint32_t>(op.range.length.value());
  wire::Header h;
  h.type = zero ? wire::Type::zero : wire::Type::write;
  h.flags = wire::kResync;
  h.wire_length = zero ? 0 : length;
  h.sequence = ring_.push({kNoOp, true, true, false, false, h.wire_length, now_, true});
  ++resync_messages_;
  h.offset = op.range.offset.value();
  h.length = length;
  send_header(h, zero ? 0 : op.buffer);
  (zero ? resync_counters_.zero_bytes : resync_counters_.sent_bytes) += length;
  sent_pieces_.push({regions_out(op.range), h.sequence, flush_started_ + 1, now_});
}

bool Mirror::Impl::pump_clear() {
  bool progress = false;
  if (!meta_.superblock_durable(relied_ticket_)) return false;
  while (!sent_pieces_.empty()) {
    const SentPiece piece = sent_pieces_.front();
    const bool stable = piece.sequence <= peer_stable_ && local_flush_done(piece.flush_ticket);
    if (!stable && !(TB_MUTANT(bit_cleared_at_completion) && piece.sequence <= peer_applied_)) break;
    sent_pieces_.pop();
    const OpIndex i = new_op(OpKind::clear_bits);
    ++pieces_;
    ops_[i].range = range_of(piece.run);
    ops_[i].handle = session_;
    lock(i, true);
    progress = true;
  }
  return progress;
}

void Mirror::Impl::clear_piece(OpIndex i) {
  const bool current = ops_[i].handle == session_ && in_stream_;
  if (current) meta_.clear_bits(regions_out(ops_[i].range));
  --pieces_;
  free_op(i);
  if (current) check_orphans();
  waiting_changed_ = again_ = true;
}

// Every bit is cleared. From the moment the peer may call itself up to date we must not believe otherwise:
// first that is made durable, then the end is announced, and from that number on the peer is waited for.
void Mirror::Impl::pump_resync_end() {
  if (!resync_joining_) {
    resync_joining_ = true;
    if (!TB_MUTANT(mark_cleared_too_late)) peer().data = PeerData::maybe_current;
    lacks_by_right_ = false;
    join_ticket_ = meta_.superblock_changed();
    again_ = true;
    return;
  }
  if (!meta_.superblock_durable(join_ticket_) || ring_.full()) return;
  wire::HistoryBody body;
  body.history = my_history();
  resync_end_sequence_ = ring_.push({kNoOp, true, true, false, false, 0, now_});
  send_body(wire::Type::resync_end, body);
  resync_end_sent_ = true;
  in_ack_set_ = true;
  again_ = waiting_changed_ = true;
}

void Mirror::Impl::on_resync_done(const MessageIn& in) {
  if (!resync_end_sent_ || in.header.sequence != resync_end_sequence_) return;
  resync_active_ = resync_joining_ = resync_end_sent_ = false;
  peer().base_generation = sb().current();
  peer().data = PeerData::maybe_current;
  peer().stable_sequence = std::max(peer().stable_sequence, SequenceNumber{resync_end_sequence_});
  sb().lost_cache = false;
  if (policy().mode != Mode::async && peer_applied_ >= ahead_last_) set_acked_ahead(false);
  meta_.superblock_changed();
  meta_.persist_pages();
  event(EventKind::resync_finished, Refusal::none, sb().current().value());
  event(EventKind::peer_uptodate);
  if (degrade_due_) announce_detached();
  check_orphans();
  waiting_changed_ = again_ = true;
}

// The peer is up to date with us in this range again.
bool Mirror::Impl::caught_up(const ByteRange& range) const {
  const bool counts = in_ack_set_ && (!resync_end_sent_ || verdict_.stays_promotable);
  return counts && !meta_.dirty.any(regions_out(range));
}

// Writes that lost their peer and were not answered: answered once the peer is known to lack them, or has
// them after all.
void Mirror::Impl::check_orphans() {
  for (std::size_t n = orphans_.size(); n > 0; --n) {
    const OpIndex i = orphans_[n - 1];
    if (!acting_source() || detached_)
      finish_write(i, Status::io_error);
    else if (alone_ok() || caught_up(ops_[i].range))
      finish_write(i, Status::ok);
  }
}

}  // namespace twinblock::core
