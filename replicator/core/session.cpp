// The link and the handshake up to the verdict. The conversation and its cut points: docs/internals/
// wire_protocol.md. Whatever message the link dies behind, both sides are back at Phase::none with durable
// state that decide() understands, and no lock or operation waits for the link.
#include <algorithm>
#include <type_traits>

#include "replicator/core/impl.hpp"

namespace twinblock::core {
namespace {

bool is_stream(wire::Type t) {
  return t == wire::Type::write || t == wire::Type::zero || t == wire::Type::flush ||
         t == wire::Type::resync_end;
}
bool outside_session(wire::Type t) {
  return t == wire::Type::hello || t == wire::Type::state || t == wire::Type::verdict ||
         t == wire::Type::refuse || t == wire::Type::ping || t == wire::Type::pong || t == wire::Type::paused;
}

}  // namespace

void Mirror::Impl::send_header(wire::Header h, BufferId payload) {
  if (link_ == 0 || link_closing_) return;
  h.term = sb().term_seen.value();
  h.session = outside_session(h.type) ? 0 : session_;
  if (is_stream(h.type)) {
    h.handle = ++stream_count_;
    if (unapplied_messages_ == 0) last_progress_ = now_;
    ++unapplied_messages_;
    if (h.type == wire::Type::write) unapplied_bytes_ += h.wire_length;
  }
  last_sent_ = now_;
  emit(Send{link_, h, {}, payload});
}

void Mirror::Impl::send(wire::Type type, std::uint64_t sequence, std::uint8_t flags, std::uint32_t handle) {
  wire::Header h;
  h.type = type;
  h.sequence = sequence;
  h.flags = flags;
  h.handle = handle;
  send_header(h);
}

template <class Body>
void Mirror::Impl::send_body(wire::Type type, const Body& body, std::uint32_t handle) {
  if (link_ == 0 || link_closing_) return;
  std::size_t size = 0;
  if constexpr (std::is_same_v<Body, std::size_t>)
    size = body;  // already in body_
  else
    size = wire::encode(body, body_);
  wire::Header h;
  h.type = type;
  h.handle = handle;
  h.length = h.wire_length = static_cast<std::uint32_t>(size);
  h.term = sb().term_seen.value();
  h.session = outside_session(type) ? 0 : session_;
  if (type == wire::Type::bitmap_data) h.offset = resync_cursor_;
  last_sent_ = now_;
  // Each body gets room of its own until the engine copied it, right after this step.
  body_out_.push_back(
      std::vector<std::byte>(body_.begin(), body_.begin() + static_cast<std::ptrdiff_t>(size)));
  if (is_stream(type)) {
    h.handle = ++stream_count_;
    h.sequence = resync_end_sequence_;
    if (unapplied_messages_ == 0) last_progress_ = now_;
    ++unapplied_messages_;
  }
  emit(Send{link_, h, body_out_.back(), 0});
}
template void Mirror::Impl::send_body(wire::Type, const wire::DegradeBody&, std::uint32_t);
template void Mirror::Impl::send_body(wire::Type, const wire::HistoryBody&, std::uint32_t);
template void Mirror::Impl::send_body(wire::Type, const wire::SessionStartBody&, std::uint32_t);
template void Mirror::Impl::send_body(wire::Type, const wire::SessionReadyBody&, std::uint32_t);
template void Mirror::Impl::send_body(wire::Type, const std::size_t&, std::uint32_t);

void Mirror::Impl::on_link_up(LinkId link) {
  if (link_ != 0) on_link_down(link_);
  link_ = link;
  link_closing_ = false;
  phase_ = Phase::hello;
  phase_deadline_ = now_ + policy().peer_timeout * 2;
  last_received_ = last_sent_ = now_;
  hello_received_ = false;
  round_ = 0;
  peer_paused_ = false;
  event(EventKind::link_up, Refusal::none, link);
  wire::HelloBody h;
  h.mirror_id = sb().mirror_id;
  h.node = config_.node.value();
  h.identity = sb().identity;
  h.incarnation = sb().incarnation;
  h.size = sb().geometry.size.value();
  h.region_size = sb().geometry.region_size;
  h.logical_block_size = sb().geometry.logical_block_size;
  h.hot_extents = sb().geometry.hot_extents;
  h.mirror_name = config_.mirror_name;
  h.config_text = config_.config_text;
  send_body(wire::Type::hello, h);
}

void Mirror::Impl::on_link_down(LinkId link) {
  if (link != link_) return;
  if (phase_ != Phase::none) event(EventKind::link_down, Refusal::none, link);
  end_session(true);
  link_ = 0;
  link_closing_ = false;
}

void Mirror::Impl::close_link(Refusal why) {
  if (link_ == 0 || link_closing_) return;
  emit(CloseLink{link_, why});
  link_closing_ = true;
  end_session(true);
}

// Alive, making progress, and on time.
void Mirror::Impl::keepalive() {
  if (link_ == 0 || link_closing_) return;
  const Duration timeout = policy().peer_timeout;
  const bool silent = now_ - last_received_ >= timeout;
  const bool stuck = in_stream_ && unapplied_messages_ > 0 && now_ - last_progress_ >= timeout * 2;
  if (silent || stuck || now_ >= phase_deadline_) {
    event(EventKind::link_down, Refusal::timeout, link_);
    return close_link(Refusal::timeout);
  }
  if (now_ - last_sent_ >= timeout / 3) send(wire::Type::ping);
  save_stable();
}

void Mirror::Impl::on_message(const MessageIn& in) {
  const auto drop = [&] {
    if (in.payload != 0) emit(ReleaseBuffer{in.payload});
  };
  if (in.link != link_ || link_closing_) return drop();
  last_received_ = now_;
  const wire::Type type = in.header.type;
  // Of what belongs to this conversation; the rest changes nothing.
  const bool ours = in.header.session == session_ && session_ != 0;
  if (hello_received_ && (outside_session(type) ? in.header.session == 0 : ours)) heed_term(in.header.term);
  if (type == wire::Type::ping) return send(wire::Type::pong);
  if (type == wire::Type::pong) return;
  if (outside_session(type)) {
    drop();
    return dispatch_control(in);
  }
  // What belongs to an older round or to a source of an older term is not for us any more.
  if (session_ == 0 || in.header.session != session_) return drop();
  const bool old_term = !leading_ && in.header.term < sb().term_seen.value();
  if (old_term && type != wire::Type::term_nack) return drop();
  if (is_stream(type) || type == wire::Type::read_request) return on_stream(in);
  if (type == wire::Type::read_reply) return on_read_reply(in);
  drop();
  dispatch_control(in);
}

void Mirror::Impl::dispatch_control(const MessageIn& in) {
  const wire::Header& h = in.header;
  switch (h.type) {
    case wire::Type::hello:
      return on_hello(in);
    case wire::Type::state:
      return on_state(in);
    case wire::Type::verdict:
      return on_verdict(in);
    case wire::Type::refuse:
      // Its reason is ours as well: what does not fit, fits on neither side.
      refusal_ = h.handle > 0 && h.handle <= static_cast<std::uint32_t>(Refusal::resync_origin_lost)
                     ? static_cast<Refusal>(h.handle)
                     : Refusal::peer_refused;
      return;
    case wire::Type::bitmap_data:
      return on_bitmap_data(in);
    case wire::Type::bitmap_end:
      if (phase_ != Phase::bitmap) return close_link(Refusal::bad_message);
      return prepare_session();
    case wire::Type::session_start:
      return on_session_start(in);
    case wire::Type::session_ready:
      return on_session_ready(in);
    case wire::Type::ack: {
      const bool sane =
          in_stream_ && h.sequence <= h.offset && h.aux <= h.sequence && h.offset < ring_.next();
      if (!in_stream_) return;
      if (!sane) return close_link(Refusal::bad_message);
      return on_ack(h.offset, h.sequence, h.aux);
    }
    case wire::Type::resync_done:
      return on_resync_done(in);
    case wire::Type::replica_failed:
      event(EventKind::peer_disk_failed, Refusal::peer_disk_failed, h.aux);
      return close_link(Refusal::peer_disk_failed);
    case wire::Type::stable_saved:
      if (h.sequence > peer().stable_sequence.value() &&
          h.sequence < (leading_ ? peer_stable_ + 1 : kNumberMax)) {
        peer().stable_sequence = SequenceNumber{h.sequence};
        meta_.superblock_changed();
      }
      return;
    case wire::Type::degrade:
      return on_degrade(in);
    case wire::Type::degrade_ack:
      return on_degrade_ack();
    case wire::Type::demoted:
      return on_demoted(in);
    case wire::Type::demoted_ack:
      if (demote_.active && demote_.stage == 3) demote_.stage = 4;
      again_ = true;
      return;
    case wire::Type::term_taken:
      return on_term_taken(in);
    case wire::Type::term_ack:
      if (promote_.active && promote_.stage == 3 && h.sequence == sb().term_own.value()) promote_.stage = 4;
      again_ = true;
      return;
    case wire::Type::term_nack:
      if (promote_.active && promote_.stage == 3) give_up_term(Refusal::peer_refused);
      if (switchover_command_ != 0) {
        const bool held = (h.flags & wire::kClientsConnected) != 0;
        finish_command(switchover_command_, held ? Refusal::clients_connected : Refusal::peer_refused);
        switchover_command_ = 0;
        switchover_deadline_ = Instant::never();
      }
      return;
    case wire::Type::switchover_request:
      return on_switchover_request(in);
    case wire::Type::paused:
      if (!hello_received_) return close_link(Refusal::bad_message);
      peer_paused_ = true;
      end_session(false);
      phase_ = Phase::idle;
      phase_deadline_ = Instant::never();
      return;
    default:
      return close_link(Refusal::bad_message);
  }
}

// ------------------------------------------------------------------------------------------------ hello

Refusal Mirror::Impl::check_hello(const wire::HelloBody& h) const {
  const bitmap::Geometry& g = sb().geometry;
  if (h.protocol_max < wire::kProtocolMin || h.protocol_min > wire::kProtocolMax)
    return Refusal::protocol_version;
  if (h.required_features != 0) return Refusal::required_feature;
  if (h.mirror_name != config_.mirror_name) return Refusal::mirror_name;
  if (h.mirror_id != 0 && sb().mirror_id != 0 && h.mirror_id != sb().mirror_id) return Refusal::mirror_id;
  if (h.node != config_.peer.value() || h.identity == 0 || h.identity == sb().identity)
    return Refusal::node_index;
  if (h.size != g.size.value() || h.region_size != g.region_size ||
      h.logical_block_size != g.logical_block_size) {
    return Refusal::geometry;
  }
  if (h.config_text != config_.config_text) return Refusal::config_differs;
  return Refusal::none;
}

void Mirror::Impl::on_hello(const MessageIn& in) {
  auto body = wire::decode_hello(in.body);
  if (!body.has_value() || phase_ != Phase::hello || hello_received_) return close_link(Refusal::bad_message);
  // Also from one that does not fit any more, as long as it is the peer we know.
  const bool known = body->mirror_id == sb().mirror_id && body->identity == peer().identity &&
                     body->identity != 0 && body->node == config_.peer.value();
  if (known) {
    heed_term(in.header.term);
    alone_granted_ = false;  // it lives
  }
  if (const Refusal why = check_hello(*body); why != Refusal::none) {
    refusal_ = why;
    event(EventKind::handshake_refused, why);
    send(wire::Type::refuse, 0, 0, static_cast<std::uint32_t>(why));
    return close_link(why);
  }
  peer_hello_ = std::move(*body);
  hello_received_ = true;
  alone_granted_ = false;  // also of one that takes the place of the peer we knew
  again_ = true;
}

// ------------------------------------------------------------------------------------------------ rounds

bool Mirror::Impl::can_negotiate() const {
  const bool promoting = promote_.active && promote_.stage > 0;
  // A state names only what a crash cannot take back: the peer forgets older marks for it.
  const bool marks_durable = meta_.failed() || (meta_.superblock_durable(session_ticket_) &&
                                                meta_.superblock_durable(stable_ticket_));
  return attached_ && marks_durable && !promoting && !demote_.active && !degrade_running_ && apply_idle() &&
         !paused_ && !track_restart_ && !stop_.active && follow_ups_.empty() && !piece_being_read() &&
         resolve_command_ == 0;
}

// Those that still wait for their range end by themselves once they get it (op.handle); what they wait for
// may itself wait for the peer.
bool Mirror::Impl::piece_being_read() const {
  return pieces_ > 0 && std::any_of(ops_.begin(), ops_.end(), [](const Op& op) {
           return op.kind == OpKind::resync && op.local_pending;
         });
}

void Mirror::Impl::start_round() {
  end_session(false);
  ++round_;
  phase_ = Phase::state;
  phase_deadline_ = now_ + policy().peer_timeout * 2;
  state_sent_ = state_received_ = verdict_received_ = false;
  peer_paused_ = false;
  again_ = true;
}

bool Mirror::Impl::pump_session() {
  if (link_ == 0 || link_closing_) return false;
  switch (phase_) {
    case Phase::hello:
      if (hello_received_ && paused_) {  // the link stays, the stream does not begin
        send(wire::Type::paused);
        phase_ = Phase::idle;
        phase_deadline_ = Instant::never();
        return true;
      }
      if (!hello_received_ || !can_negotiate()) return false;
      start_round();
      return true;
    case Phase::state:
      if (paused_) {
        send(wire::Type::paused);
        end_session(false);
        phase_ = Phase::idle;
        phase_deadline_ = Instant::never();
        return true;
      }
      if (!state_sent_ && can_negotiate()) send_state();
      if (!state_sent_ || !state_received_) return false;
      evaluate();
      return true;
    case Phase::preparing:
      return pump_prepare();
    case Phase::adopting:
      return pump_adopt();
    case Phase::idle:
      // Frozen: there is no right to write alone, so waiting for the peer is all that is left.
      if (!track_restart_ || !(alone_ok() || frozen_)) return false;
      track_restart_ = false;
      start_round();
      return true;
    default:
      return false;
  }
}

void Mirror::Impl::send_state() {
  const bitmap::Superblock& s = sb();
  wire::StateBody b;
  b.round = round_;
  b.nonce = nonce_ = static_cast<std::uint32_t>(random_.name());
  b.is_source = role_ == Role::source;
  b.wants_source = policy().after_restart == AfterRestart::resume && s.was_source;
  b.disk_state = static_cast<std::uint8_t>(detached_ || meta_.failed() ? DiskState::failed : s.disk_state);
  b.was_source = s.was_source;
  b.clean = !s.lost_cache;
  // How writes were answered so far: an async source that has answered nothing ahead of its peer waited for
  // it.
  const Mode waited = policy().mode == Mode::async ? Mode::memsync : policy().mode;
  b.mode = static_cast<std::uint8_t>(s.acked_ahead ? Mode::async : waited);
  b.term_own = s.term_own.value();
  b.term_seen = s.term_seen.value();
  b.history = my_history();
  b.base_for_you = peer().base_generation.value();
  const bool lacks = degrade_fact_ || peer().data == PeerData::lacked;  // to decide() the fact counts
  b.data_of_you = static_cast<std::uint8_t>(lacks ? PeerData::lacks : peer().data);
  b.needs_full = peer().needs_full;
  b.your_identity = peer().identity;
  b.session = {peer().session.count, peer().session.id};
  b.session_common = {peer().session_common.count, peer().session_common.id};
  b.your_stable_sequence = peer().stable_sequence.value();
  b.dirty_regions = meta_.dirty.dirty_count();
  b.resync_active = s.resync.active;
  b.resync_from = s.resync.from.value();
  b.resync_generation = s.resync.generation.value();
  b.resolution = static_cast<std::uint8_t>(s.resolution);
  b.resolution_against = s.resolution_against.value();
  b.stable_sequence = s.stable_sequence.value();
  b.sequence_limit = s.sequence_limit.value();
  my_state_ = b;
  state_sent_ = true;
  send_body(wire::Type::state, b);
}

void Mirror::Impl::on_state(const MessageIn& in) {
  const auto body = wire::decode_state(in.body);
  const bool sane = body.has_value() && hello_received_ && body->disk_state <= 3 && body->data_of_you <= 3 &&
                    body->mode <= 2 && body->resolution <= 2 && body->sequence_limit < kNumberMax &&
                    body->term_own < kNumberMax && body->term_seen < kNumberMax &&
                    body->stable_sequence < kNumberMax && body->history.count <= wire::kHistoryMax &&
                    body->session.count < kNumberMax && body->session_common.count <= body->session.count;
  if (!sane) return close_link(Refusal::bad_message);
  if (paused_) {  // not now; ours will be the higher round when we go on
    heed_term(body->term_seen);
    round_ = std::max(round_, body->round);
    return;
  }
  if (phase_ == Phase::idle && !track_restart_ && body->round <= round_) {
    start_round();  // it asks, but our rounds crossed while the stream was stopped: a new one for both
    return;
  }
  if (body->round < round_) return heed_term(body->term_seen);
  if (body->round > round_) {
    end_session(false);
    round_ = body->round;
    phase_ = Phase::state;
    phase_deadline_ = now_ + policy().peer_timeout * 2;
    state_sent_ = verdict_received_ = false;
    peer_paused_ = false;
  } else if (phase_ != Phase::state) {
    return;
  }
  peer_state_ = *body;
  peer_state_known_ = true;
  peer_said_at_ = now_;
  state_received_ = true;
  again_ = true;
  if (promote_.active && promote_.stage >= 2 && body->term_seen > sb().term_own.value()) {
    abort_promote(Refusal::peer_took_term);
  }
  note_peer_terms();
  heed_term(body->term_seen);
}

// Somebody was promoted behind our back: whoever fenced us may write already. Each message says it: a peer
// that is paused, or refuses us, sends no state.
void Mirror::Impl::heed_term(std::uint64_t term) {
  if (acting_source() && term > sb().term_own.value() && term < kNumberMax && !TB_MUTANT(older_term_accepted))
    depose(term);
}

// A later tenure of the peer ends what we knew of it: it may have written, so neither "it lacks something"
// nor "it handed over" is a proof for us any more (P9). That we have what it never got stays true, and may be
// the only sign of it (rows 42 and 53).
void Mirror::Impl::note_peer_terms() {
  const bool later = peer_state_.term_own > sb().term_own.value();
  const bool proof = peer().data == PeerData::lacks || peer().data == PeerData::handed_over;
  const bool has_disk = peer_state_.disk_state != static_cast<std::uint8_t>(DiskState::failed);
  const bool news = peer_state_.term_seen > sb().term_seen.value();
  const bool stale = later && proof && has_disk && peer_state_.term_own > sb().term_seen.value();
  if (!news && !stale) return;
  if (stale) peer().data = peer().data == PeerData::lacks ? PeerData::lacked : PeerData::maybe_current;
  // Also while a promotion begins: its term will be above. (One that has its term was given up for this one.)
  if (news && !acting_source()) sb().term_seen = Term{peer_state_.term_seen};
  degrade_ticket_ = meta_.superblock_changed();
}

NodeView Mirror::Impl::my_view() const {
  return {config_.node, sb().identity, sb().mirror_id, my_state_};
}
NodeView Mirror::Impl::peer_view() const {
  return {config_.peer, peer_hello_.identity, peer_hello_.mirror_id, peer_state_};
}

void Mirror::Impl::evaluate() {
  if (acting_source() && peer_state_.term_seen > sb().term_own.value() && !TB_MUTANT(older_term_accepted)) {
    depose(peer_state_.term_seen);
    return start_round();  // our state said otherwise
  }
  verdict_ = decide(my_view(), peer_view());
  wire::VerdictBody b;
  b.kind = static_cast<std::uint8_t>(verdict_.kind);
  b.rule = verdict_.rule;
  b.leader = verdict_.leader.value();
  b.full = verdict_.full;
  b.stays_promotable = verdict_.stays_promotable;
  phase_ = Phase::verdict;
  send_body(wire::Type::verdict, b, round_);
  if (verdict_received_) enter_session();
}

void Mirror::Impl::on_verdict(const MessageIn& in) {
  const auto body = wire::decode_verdict(in.body);
  if (!body.has_value()) return close_link(Refusal::bad_message);
  if (in.header.handle != round_) return;
  peer_verdict_ = *body;
  verdict_received_ = true;
  if (phase_ == Phase::verdict) enter_session();
}

void Mirror::Impl::enter_session() {
  const wire::VerdictBody& p = peer_verdict_;
  if (p.kind != static_cast<std::uint8_t>(verdict_.kind) || p.rule != verdict_.rule ||
      p.leader != verdict_.leader.value() || (p.full != 0) != verdict_.full ||
      (p.stays_promotable != 0) != verdict_.stays_promotable) {
    refusal_ = Refusal::verdict_differs;
    event(EventKind::handshake_refused, refusal_, p.rule, verdict_.rule);
    return close_link(refusal_);
  }
  if (verdict_.kind == VerdictKind::refuse) {
    refusal_ = verdict_.refusal;
    const bool split = refusal_ == Refusal::split_brain;
    event(split ? EventKind::split_brain : EventKind::handshake_refused, refusal_, verdict_.rule);
    return close_link(refusal_);
  }
  refusal_ = Refusal::none;
  const std::uint64_t mixed = (std::uint64_t{my_state_.nonce} + peer_state_.nonce) * 0x9e3779b97f4a7c15u;
  session_ = static_cast<std::uint32_t>(mixed >> 32) | 1u;
  leading_ = verdict_.leader == config_.node;
  peer_is_source_ = effective_source(peer_state_, my_state_);
  stream_count_ = 0;
  // A source never follows; neither does a node that is about to become one.
  if (!leading_ && (acting_source() || (promote_.active && promote_.stage > 0))) {
    refusal_ = Refusal::two_sources;
    return close_link(refusal_);
  }
  if (!leading_) {
    phase_ = Phase::following;
    if (verdict_.kind == VerdictKind::resync && !verdict_.full && my_state_.dirty_regions > 0) send_bitmap();
    return;
  }
  const bool bits_come =
      verdict_.kind == VerdictKind::resync && !verdict_.full && peer_state_.dirty_regions > 0;
  if (bits_come)
    phase_ = Phase::bitmap;
  else
    prepare_session();
}

// ------------------------------------------------------------------------------------------------ the end

void Mirror::Impl::end_session(bool link_lost) {
  if (streaming()) shared_flush_ = flush_started_ + 1;
  if (leading_) end_leading();
  if (detached_) fail_everything();  // our disk is gone, and the peer is not there to have taken them
  fail_peer_reads();
  replica_uptodate_ = demoted_heard_ = degrade_due_ = degrade_heard_ = false;
  peer_is_source_ = false;
  leading_ = false;
  session_ = 0;
  flush_round_sequence_ = 0;
  std::erase_if(follow_ups_, [](const FollowUp& f) { return !f.promote; });
  if (link_lost) {
    if (connect_.command != 0 && refusal_ != Refusal::none) end_connect(refusal_);
    phase_ = Phase::none;
    phase_deadline_ = Instant::never();
    track_restart_ = false;
  }
  waiting_changed_ = again_ = true;
}

// The peer gets nothing more: what it may not have stable becomes bits, who waited for it waits for P7.
void Mirror::Impl::end_leading() {
  resync_active_ = resync_joining_ = resync_end_sent_ = ahead_opening_ = false;
  sent_pieces_.clear();
  demand_region_ = UINT64_MAX;
  if (!in_stream_) return;
  in_stream_ = in_ack_set_ = alone_granted_ = false;
  const std::uint64_t per_extent = sb().geometry.regions_per_extent();
  for (IntentSlot& slot : meta_.intents.slots()) {
    if (slot.used && slot.sent_max > peer_stable_ && !TB_MUTANT(bits_not_set_on_link_loss)) {
      const std::uint64_t first = slot.extent.value() * per_extent;
      for (std::uint64_t r = 0; r < per_extent && first + r < meta_.dirty.region_count(); ++r) {
        if ((slot.touched[r / 64] >> (r % 64) & 1) != 0) meta_.set_bits({RegionIndex{first + r}, 1});
      }
    }
    slot.sent_max = 0;
  }
  unapplied_messages_ = unapplied_bytes_ = queue_bytes_ = resync_messages_ = 0;
  for (std::uint64_t s = ring_.head(); s < ring_.next(); ++s) {
    StreamEntry& e = ring_.at(s);
    if (!e.sent) continue;
    // Answered ahead of an async peer, and now it does not get it: a fact to be written down at once.
    if (!e.peer_done && e.client && e.op == kNoOp) degrade_fact_ = true;
    e.peer_done = true;
    if (e.op == kNoOp) continue;
    // Also what the peer has applied: it is not in the ack set any more, and may lose it again.
    const OpIndex i = e.op;
    ops_[i].peer_lost = true;
    // Perhaps stable there already, but not here, and who knows whether it ever is.
    if (ops_[i].local_pending) meta_.set_bits(regions_out(ops_[i].range));
    if (!ops_[i].local_pending) check_write(i);
  }
  ring_.retire();
  if (!orphans_.empty() || degrade_fact_) request_degrade();
}

}  // namespace twinblock::core
