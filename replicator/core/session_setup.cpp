// From the verdict to the stream.
//
// Leader:    bits of both merged ─▶ pages durable ─▶ named by a record ─▶ superblock {base generation, what
//            the peer has} ─▶ session_start ─▶ session_ready received ─▶ the peer is in the stream from the
//            next number on
// Follower:  session_start ─▶ superblock {term, inconsistent + where from} ─▶ own bits cleared ─▶
// session_ready
//
// A crash between any two leaves more bits than needed, or a follower marked inconsistent that nothing was
// written to yet; the leader's base generation then equals the follower's, so the bits go on being usable.
#include <algorithm>

#include "replicator/core/impl.hpp"

namespace twinblock::core {
namespace {
constexpr std::size_t kBitmapChunk = 32u << 10;  // bytes of raw bits per message
// 12 days at a million writes per second; half used, the next one is taken.
constexpr std::uint64_t kSequenceBlock = std::uint64_t{1} << 40;
}  // namespace

// The follower's bits, its hot extents of before included; chunks without a bit are left out.
void Mirror::Impl::send_bitmap() {
  const std::uint64_t region_size = sb().geometry.region_size;
  if (!TB_MUTANT(follower_bits_ignored)) {
    for (std::uint64_t first = 0; first < meta_.dirty.region_count(); first += kBitmapChunk * 8) {
      const std::uint64_t count =
          std::min<std::uint64_t>(kBitmapChunk * 8, meta_.dirty.region_count() - first);
      if (!meta_.dirty.any({RegionIndex{first}, count})) continue;
      const std::size_t bytes = static_cast<std::size_t>((count + 7) / 8);
      meta_.dirty.copy_bytes(RegionIndex{first}, std::span{body_}.first(bytes));
      resync_cursor_ = first * region_size;
      send_body(wire::Type::bitmap_data, bytes);
    }
  }
  send(wire::Type::bitmap_end);
}

void Mirror::Impl::on_bitmap_data(const MessageIn& in) {
  const std::uint64_t region_size = sb().geometry.region_size;
  const std::uint64_t first = in.header.offset / region_size;
  const bool sane = phase_ == Phase::bitmap && in.header.offset % (region_size * 8) == 0 &&
                    first < meta_.dirty.region_count() && in.body.size() <= kBitmapChunk && !in.body.empty();
  if (!sane) return close_link(Refusal::bad_message);
  meta_.merge_bits(RegionIndex{first}, in.body);
}

wire::History Mirror::Impl::my_history() const {
  wire::History h;
  h.count = sb().generation_count;
  for (std::uint32_t i = 0; i < h.count; ++i) {
    const bitmap::GenerationEntry& g = sb().generations[i];
    h.entries[i] = {g.id.value(), g.parent.value(), g.first_sequence.value(),
                    static_cast<std::uint8_t>(g.cause)};
  }
  return h;
}

void Mirror::Impl::adopt_history(const wire::History& h) {
  sb().generation_count = std::min<std::uint32_t>(h.count, bitmap::kHistoryMax + 1);
  for (std::uint32_t i = 0; i < sb().generation_count; ++i) {
    const wire::HistoryEntry& e = h.entries[i];
    const auto cause = static_cast<GenerationCause>(std::min<std::uint8_t>(e.cause, 4));
    sb().generations[i] = {GenerationId{e.id}, GenerationId{e.parent}, SequenceNumber{e.first_sequence},
                           cause};
  }
}

void Mirror::Impl::remember_peer() {
  bitmap::PeerRecord& p = peer();
  p.identity = peer_hello_.identity;
  p.incarnation = peer_hello_.incarnation;
}

// Numbers at or above the limit were never given by anybody. Takes a block of them for us, or goes on with
// ours. REQUIRES: the superblock is written before any of the numbers is used; sequences_ready().
void Mirror::Impl::reserve_sequences() {
  if (!numbering_) {
    TB_ASSERT(ring_.empty());
    const std::uint64_t heard = received_high_ == 0 ? 0 : received_high_ + kSequenceBlock;
    const std::uint64_t base = std::max({sb().sequence_limit.value(), heard, ring_.next()});
    ring_.restart(base);
    sb().sequence_limit = SequenceNumber{base + kSequenceBlock};
    numbering_ = true;
  } else if (sb().sequence_limit.value() - ring_.next() < kSequenceBlock / 2) {
    sb().sequence_limit = SequenceNumber{sb().sequence_limit.value() + kSequenceBlock};
  }
}

// The session gets its name, durable with the leader's superblock before it is offered.
void Mirror::Impl::mark_session() {
  const NodeView self = my_view();
  const NodeView other = peer_view();
  const SessionMarks theirs = marks_of(other, self);
  SessionMarks mine = marks_of(self, other);
  if (knows_another(self, other)) mine.common = theirs.newest;  // it says so itself, and nothing contradicts
  const SessionMarks marks = begin_session(mine, theirs, random_.name());
  // What was remembered as stable is of a session before the one that both share, and was judged then.
  if (!(marks.common == mine.common)) peer().stable_sequence = SequenceNumber{peer_state_.stable_sequence};
  peer().session = {marks.newest.count, marks.newest.id};
  peer().session_common = {marks.common.count, marks.common.id};
}

void Mirror::Impl::prepare_session() {
  phase_ = Phase::preparing;
  prepare_stage_ = 0;
  if (verdict_.kind == VerdictKind::resync && verdict_.full) {
    meta_.set_all_bits();
    // Until the bits are durable a crash must not make less of it.
    peer().needs_full = true;
  }
  // The follower is about to become a mixture. What was acknowledged with its help has to be stable here
  // before. One flush since then is enough: on a slow disk it outlives the handshake that asked for it.
  const bool overwrites = verdict_.kind == VerdictKind::resync && !verdict_.stays_promotable && !detached_;
  prepare_flush_ = overwrites ? shared_flush_ : 0;
  if (flush_started_ < prepare_flush_) want_local_flush();
  meta_.persist_pages();
  again_ = true;
}

bool Mirror::Impl::pump_prepare() {
  if (prepare_stage_ == 0) {
    if (peer_state_.sequence_limit > sb().sequence_limit.value()) {
      sb().sequence_limit = SequenceNumber{peer_state_.sequence_limit};
      numbering_ = false;
    }
    if (!meta_.pages_durable() || !sequences_ready()) return false;
    record_ticket_ = meta_.record_pages();  // the peer is about to forget its own bits
    prepare_stage_ = 1;
  }
  if (prepare_stage_ == 1) {
    if (!meta_.pages_recorded(record_ticket_) || !local_flush_done(prepare_flush_)) return false;
    const bool same = verdict_.kind == VerdictKind::in_sync || verdict_.stays_promotable;
    remember_peer();
    mark_session();
    bitmap::PeerRecord& p = peer();
    p.base_generation = GenerationId{peer_state_.history.count == 0 ? 0 : peer_state_.history.entries[0].id};
    const bool same_generation = p.base_generation == sb().current();
    // What an operator ordered (a full copy, a resolution) is forgotten only once the peer has marked itself.
    if (!(detached_ && verdict_.kind == VerdictKind::in_sync) && (same || !same_generation))
      p.needs_full = false;
    // A peer of our own generation counts as complete, and may be promoted, until it has marked itself: only
    // then (session_ready) it is one that lacks something. Meanwhile nothing is answered without it.
    if (verdict_.kind == VerdictKind::in_sync) {
      sb().lost_cache = false;
      if (policy().mode != Mode::async) set_acked_ahead(false);
    }
    if (p.data != PeerData::lacks || same) lacks_by_right_ = false;
    if (!same && !same_generation)
      p.data = PeerData::lacks;
    else if (same && (p.data != PeerData::handed_over || role_ == Role::source))
      p.data = PeerData::maybe_current;
    sb().term_seen = std::max(sb().term_seen, Term{peer_state_.term_seen});
    reserve_sequences();
    session_ticket_ = degrade_ticket_ = meta_.superblock_changed();
    waiting_changed_ = true;
    prepare_stage_ = 2;
    return true;
  }
  if (!meta_.superblock_durable(session_ticket_)) return false;
  waiting_changed_ = true;
  wire::SessionStartBody b;
  b.resync = verdict_.kind == VerdictKind::resync;
  b.stays_promotable = verdict_.stays_promotable;
  b.dirty_regions = meta_.dirty.dirty_count();
  b.mirror_id = sb().mirror_id;
  b.group_id = sb().group_id;
  b.sequence_limit = sb().sequence_limit.value();
  b.session = {peer().session.count, peer().session.id};
  b.history = my_history();
  phase_ = Phase::offered;
  send_body(wire::Type::session_start, b);
  return true;
}

void Mirror::Impl::on_session_start(const MessageIn& in) {
  const auto body = wire::decode_session_start(in.body);
  const bool sane = body.has_value() && phase_ == Phase::following && body->history.count > 0 &&
                    body->sequence_limit < kNumberMax && in.header.term < kNumberMax &&
                    body->mirror_id != 0 && (sb().mirror_id == 0 || sb().mirror_id == body->mirror_id) &&
                    (body->resync != 0) == (verdict_.kind == VerdictKind::resync) &&
                    (body->stays_promotable != 0) == verdict_.stays_promotable && body->session.id != 0 &&
                    body->session.count > marks_of(my_view(), peer_view()).newest.count &&
                    body->session.count < kNumberMax;
  if (!sane) return close_link(Refusal::bad_message);
  start_body_ = *body;
  bitmap::Superblock& s = sb();
  if (verdict_.kind == VerdictKind::resync && my_state_.dirty_regions > 0 && my_state_.history.count > 0) {
    event(EventKind::resync_discards, Refusal::none, my_state_.dirty_regions * s.geometry.region_size);
  }
  s.mirror_id = body->mirror_id;
  s.group_id = body->group_id;
  s.term_seen = std::max(s.term_seen, Term{in.header.term});
  s.sequence_limit = std::max(s.sequence_limit, SequenceNumber{body->sequence_limit});
  numbering_ = false;
  // The last source may resume after it was brought up to date by a target that never wrote.
  if (peer_is_source_ || s.term_own < Term{peer_state_.term_own}) s.was_source = false;
  s.resolution = Resolution::none;
  remember_peer();
  peer().stable_sequence = SequenceNumber{peer_state_.stable_sequence};
  peer().session = peer().session_common = {body->session.count, body->session.id};
  if (peer().data != PeerData::handed_over || peer_is_source_ || verdict_.kind == VerdictKind::resync) {
    peer().data = PeerData::maybe_current;
  }
  peer().needs_full = false;
  if (verdict_.kind == VerdictKind::resync && !verdict_.stays_promotable) {
    s.disk_state = DiskState::inconsistent;
    s.resync = {true, config_.peer, GenerationId{body->history.entries[0].id}, ByteOffset{0}};
  } else {
    s.disk_state = DiskState::consistent;
    if (verdict_.kind == VerdictKind::in_sync) {
      s.lost_cache = false;
      set_acked_ahead(false);
    }
    peer().base_generation = s.current();
  }
  if (peer_state_.disk_state == static_cast<std::uint8_t>(DiskState::failed)) {
    // We follow a source without a disk: it lacks everything from here on.
    peer().data = PeerData::lacks;
    peer().needs_full = true;
    adopt_history(body->history);
  }
  session_ticket_ = degrade_ticket_ = meta_.superblock_changed();
  phase_ = Phase::adopting;
  again_ = true;
}

bool Mirror::Impl::pump_adopt() {
  if (!meta_.superblock_durable(session_ticket_) && !TB_MUTANT(resync_before_inconsistent)) return false;
  // The leader has our bits, durably; ours say nothing any more.
  if (!peer().needs_full) meta_.clear_all_bits();
  meta_.persist_pages();
  received_ = applied_ = stable_ = 0;
  ack_due_ = false;
  stable_saved_at_ = now_;
  replica_uptodate_ = verdict_.kind == VerdictKind::in_sync || verdict_.stays_promotable;
  forget_word();
  phase_ = Phase::streaming;
  phase_deadline_ = Instant::never();
  wire::SessionReadyBody b;
  b.window_messages = config_.window_messages;
  b.window_bytes = config_.window_bytes;
  send_body(wire::Type::session_ready, b);
  event(EventKind::session_started, Refusal::none, session_, verdict_.rule);
  if (replica_uptodate_) resume_by_itself();
  return true;
}

void Mirror::Impl::on_session_ready(const MessageIn& in) {
  const auto body = wire::decode_session_ready(in.body);
  if (!body.has_value() || phase_ != Phase::offered || body->window_messages < 16 ||
      body->window_bytes < kPieceMax.value()) {
    return close_link(Refusal::bad_message);
  }
  window_messages_ = std::min<std::uint32_t>(body->window_messages, 2048);
  window_bytes_ = body->window_bytes;
  phase_ = Phase::streaming;
  phase_deadline_ = Instant::never();
  peer_hello_.mirror_id = sb().mirror_id;  // a fresh target has adopted it by now
  // It has written down the session. What was remembered of it before is forgotten only now; and it is not
  // relied on (droppable(), pump_clear()) before that is durable here.
  peer().stable_sequence = SequenceNumber{peer_state_.stable_sequence};
  if (!TB_MUTANT(session_never_common)) peer().session_common = peer().session;
  relied_ticket_ = meta_.superblock_changed();
  in_stream_ = true;
  peer_received_ = peer_applied_ = peer_stable_ = flush_point_sent_ = ring_.next() - 1;
  unapplied_messages_ = unapplied_bytes_ = queue_bytes_ = resync_messages_ = 0;
  last_progress_ = now_;
  in_ack_set_ = verdict_.kind == VerdictKind::in_sync || verdict_.stays_promotable;
  if (verdict_.kind == VerdictKind::resync && !verdict_.stays_promotable &&
      (peer().data != PeerData::lacks || peer().needs_full || sb().resolution != Resolution::none)) {
    if (peer().data != PeerData::lacks) lacks_by_right_ = false;
    peer().needs_full = false;
    sb().resolution = Resolution::none;
    peer().data = PeerData::lacks;  // it is durably inconsistent now
    degrade_ticket_ = meta_.superblock_changed();
    degrade_running_ = true;  // who waits is answered when this is durable
  }
  forget_word();
  degrade_wanted_ = degrade_fact_ = false;
  if (frozen_) event(EventKind::unfrozen);
  frozen_ = false;
  if (detached_) degrade_acked_ = true;  // same generation: the peer has noted it
  event(EventKind::session_started, Refusal::none, session_, verdict_.rule);
  if (verdict_.kind == VerdictKind::resync) begin_resync();
  check_orphans();
  waiting_changed_ = again_ = true;
  resume_by_itself();
}

}  // namespace twinblock::core
