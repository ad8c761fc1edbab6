// Commands and roles.
//
//   target ──promote──▶ promoting ──term durable here and at the connected peer──▶ source
//   source ──demote───▶ demoting  ──drained, flushed, log empty, told────────────▶ target
//   source ──a higher term was seen──▶ target (deposed: nothing is acknowledged any more)
#include <algorithm>

#include "replicator/core/impl.hpp"

namespace twinblock::core {

void Mirror::Impl::on_command(const Command& in) {
  switch (in.verb) {
    case Verb::promote:
      if (role_ == Role::source) return finish_command(in.id, Refusal::already_source);
      // Nor once the link is lost: what is confirmed or forced beside a live source says nothing of later.
      if (streaming() && peer_is_source_) return finish_command(in.id, Refusal::peer_is_source);
      if ((in.confirm_dead || in.force) && idle_with_peer())
        return finish_command(in.id, Refusal::peer_lives);
      if (promote_.active && promote_.command == 0 && promote_.stage == 0) {
        promote_.command = in.id;  // it was about to resume by itself: the operator asks for the same
        take_word(in.confirm_dead, in.force);
        return;
      }
      if (promote_.active || role_ != Role::target) return finish_command(in.id, Refusal::busy);
      return begin_promote(in.id, in.confirm_dead, in.force);
    case Verb::demote:
      if (role_ == Role::target && !promote_.active) return finish_command(in.id, Refusal::not_source);
      if (role_ != Role::source) return finish_command(in.id, Refusal::busy);
      if (clients_present_ && !in.force) return finish_command(in.id, Refusal::clients_connected);
      return begin_demote(in.id, false, false);
    case Verb::switchover:
      return on_switchover(in);
    case Verb::pause:
      return on_pause(in.id, true);
    case Verb::resume:
      return on_pause(in.id, false);
    case Verb::connect:
      return on_connect(in.id);
    case Verb::disconnect:
      end_connect(Refusal::link_lost);
      admin_disconnected_ = true;
      if (link_wanted_) emit(SetLinkWanted{false});
      link_wanted_ = false;
      close_link(Refusal::none);
      return finish_command(in.id, Refusal::none);
    case Verb::resync:
      return on_resync_command(in);
    case Verb::resolve_keep:
      return on_resolve(in, Resolution::keep);
    case Verb::resolve_discard:
      return on_resolve(in, Resolution::discard);
    case Verb::set_policy:
      config_.policy = in.policy;
      ahead_held_ = true;
      waiting_changed_ = again_ = true;
      return finish_command(in.id, Refusal::none);
    case Verb::confirm_dead:
      alone_granted_ = !in_stream_;  // said of a peer that is here it means nothing
      waiting_changed_ = again_ = true;
      return finish_command(in.id, Refusal::none);
    case Verb::release_resync:
      if (!streaming() && refusal_ != Refusal::none) return finish_command(in.id, refusal_);
      resync_released_ = true;
      again_ = true;
      return finish_command(in.id, Refusal::none);
    case Verb::stop:
      if (stop_.active) return finish_command(in.id, Refusal::stopping);
      end_connect(Refusal::stopping);
      stop_ = {true, in.id, 0, role_ == Role::source, 0, 0};
      again_ = true;
      return;
  }
}

// Whether the peer takes us is known after a handshake. That is worth a moment, but a peer that is not there
// says nothing: the wish stands without it.
void Mirror::Impl::on_connect(CommandId id) {
  constexpr Duration kPatience = Duration::seconds(3);  // longer than an engine waits before it dials again
  admin_disconnected_ = false;
  const bool was_wanted = link_wanted_;
  if (attached_ && !was_wanted) {
    link_wanted_ = true;
    emit(SetLinkWanted{true});
  }
  const bool news_come = !was_wanted || refusal_ != Refusal::none;
  if (!attached_ || connected() || !news_come || connect_.command != 0)
    return finish_command(id, connected() ? Refusal::none : refusal_);
  connect_ = {id, was_wanted ? refusal_ : Refusal::none, now_ + kPatience};
}

void Mirror::Impl::end_connect(Refusal result) {
  finish_command(connect_.command, result);
  connect_ = {};
}

void Mirror::Impl::pump_connect() {
  if (connect_.command == 0) return;
  if (connected()) return end_connect(Refusal::none);
  if (now_ >= connect_.deadline) end_connect(connect_.known);
}

void Mirror::Impl::on_pause(CommandId id, bool pause) {
  if (pause == paused_) return finish_command(id, Refusal::none);
  paused_ = pause;
  if (pause && link_ != 0 && hello_received_) {
    send(wire::Type::paused);
    end_session(false);
    phase_ = Phase::idle;
    phase_deadline_ = Instant::never();
  } else if (!pause && phase_ == Phase::idle) {
    start_round();
  }
  finish_command(id, Refusal::none);
}

// Why a command that needs the stream finds none.
Refusal Mirror::Impl::no_stream() const {
  if (refusal_ != Refusal::none) return refusal_;
  return idle_with_peer() ? Refusal::paused : Refusal::not_connected;
}

void Mirror::Impl::on_resync_command(const Command& in) {
  if (!streaming()) return finish_command(in.id, no_stream());
  if (in.full) {
    peer().needs_full = true;
    meta_.superblock_changed();
    start_round();
  }
  finish_command(in.id, Refusal::none);
}

void Mirror::Impl::on_resolve(const Command& in, Resolution resolution) {
  if (!undecided()) return finish_command(in.id, Refusal::no_split_brain);
  if (role_ == Role::source && resolution == Resolution::discard)
    return finish_command(in.id, Refusal::source_discards);
  if (resolve_command_ != 0) return finish_command(in.id, Refusal::busy);
  sb().resolution = resolution;
  sb().resolution_against = GenerationId{peer_state_.history.entries[0].id};
  resolve_ticket_ = meta_.superblock_changed();
  resolve_command_ = in.id;
  again_ = true;
}

// ------------------------------------------------------------------------------------------------ promote

Refusal Mirror::Impl::promote_refusal(bool confirm_dead, bool force) const {
  if (!attached_) return Refusal::busy;
  if (stop_.active) return Refusal::stopping;
  if (meta_.failed()) return Refusal::metadata_failed;
  if (detached_ || flush_failed_) return Refusal::replica_failed;
  if (sb().generation_count == 0 || sb().mirror_id == 0) return Refusal::no_peer_data;
  if (streaming()) {
    if (peer_is_source_) return Refusal::peer_is_source;
    if (leading_ || replica_uptodate_ || TB_MUTANT(promote_inconsistent)) return Refusal::none;
    return Refusal::resync_running;
  }
  if (sb().disk_state == DiskState::inconsistent && !force && !TB_MUTANT(promote_inconsistent)) {
    return Refusal::replica_inconsistent;
  }
  if (sb().disk_state == DiskState::outdated && !force) return Refusal::replica_outdated;
  if (force || TB_MUTANT(promote_consistent)) return Refusal::none;
  // A peer that was never met has nothing, unless it has just said that it is a mirror of its own.
  if (refusal_ == Refusal::mirror_id && peer().identity == 0 && !confirm_dead) return Refusal::mirror_id;
  if (peer().data == PeerData::lacks || peer().data == PeerData::handed_over) return Refusal::none;
  if (confirm_dead || (TB_MUTANT(boot_alone_if_was_source) && sb().was_source)) return Refusal::none;
  const bool risky = policy().mode == Mode::async && policy().async_promote == AsyncPromote::ask;
  return risky ? Refusal::async_may_lose : Refusal::peer_may_have_more;
}

void Mirror::Impl::begin_promote(CommandId id, bool confirm_dead, bool force) {
  TB_ASSERT(!promote_.active && role_ == Role::target);
  promote_ = {};
  promote_.active = true;
  promote_.command = id;
  promote_.deadline = now_ + policy().peer_timeout * 4;
  take_word(confirm_dead, force);
  again_ = true;
}

// Said of a peer that is here, in a session, paused or in a handshake, it means nothing, also when the link
// breaks before the promotion ends. What it says about writing alone counts from now on, so that a
// hello ends it (on_hello()).
void Mirror::Impl::take_word(bool confirm_dead, bool force) {
  if (connected() || negotiating()) return;
  promote_.confirm_dead = confirm_dead;
  promote_.force = force;
  alone_granted_ = alone_granted_ || confirm_dead || force;
}

void Mirror::Impl::abort_promote(Refusal why) {
  if (!promote_.active) return;
  if (sb().was_source && promote_.stage >= 2) {
    sb().was_source = false;
    meta_.superblock_changed();
  }
  if (promote_.confirm_dead || promote_.force) alone_granted_ = false;
  const CommandId id = promote_.command;
  promote_ = {};
  role_ = Role::target;
  finish_command(id, why);
  again_ = true;
}

// Our term came to nothing, but is on record here: messages of the session's leader are older now, and it
// does not know. A new round tells it.
void Mirror::Impl::give_up_term(Refusal why) {
  abort_promote(why);
  if (streaming() && !detached_ && !meta_.failed()) start_round();
}

bool Mirror::Impl::pump_promote() {
  if (!promote_.active) return false;
  const bool late = now_ >= promote_.deadline;
  switch (promote_.stage) {
    case 0: {
      // A handshake under way knows more soon; what was received is applied first (P6).
      const bool drained = apply_idle() || TB_MUTANT(promote_before_drain);
      if ((!attached_ || negotiating() || !drained) && !late) return false;
      const Refusal why = promote_refusal(promote_.confirm_dead, promote_.force);
      if (why != Refusal::none || negotiating() || !drained) {
        abort_promote(why != Refusal::none ? why : Refusal::timeout);
        return true;
      }
      role_ = Role::promoting;
      promote_.flush_ticket = want_local_flush();
      promote_.stage = 1;
      return true;
    }
    case 1:
      if (flush_failed_ || detached_) {
        abort_promote(Refusal::replica_failed);
        return true;
      }
      if (!local_flush_done(promote_.flush_ticket) || !sequences_ready()) return false;
      if (negotiating()) {  // the peer has come meanwhile and knows more: as in stage 0
        role_ = Role::target;
        promote_.stage = 0;
        return true;
      }
      // The session may have ended, or another round begun, while we flushed.
      if (const Refusal why = promote_refusal(promote_.confirm_dead, promote_.force); why != Refusal::none) {
        abort_promote(why);
        return true;
      }
      promote_.alone = !streaming();
      persist_promotion();
      promote_.stage = 2;
      return true;
    case 2:
      if (meta_.failed() || detached_) {
        abort_promote(Refusal::metadata_failed);
        return true;
      }
      if (!meta_.superblock_durable(promote_.ticket)) return false;
      if (!streaming()) {
        const Refusal why =
            promote_.alone ? Refusal::none : promote_refusal(promote_.confirm_dead, promote_.force);
        if (why != Refusal::none)
          abort_promote(why == Refusal::peer_may_have_more ? Refusal::link_lost : why);
        else
          promote_.stage = 4;
        return true;
      }
      send(wire::Type::term_taken, sb().term_own.value());
      promote_.stage = 3;
      return true;
    case 4:
      if (meta_.failed() || detached_ || late) {
        give_up_term(late ? Refusal::timeout : Refusal::replica_failed);
        return true;
      }
      if (!apply_idle() && !TB_MUTANT(promote_before_drain)) return false;
      if (!meta_.superblock_durable(promote_.ticket)) return false;
      become_source();  // what was received before is applied: nothing lands on our own writes
      return true;
    default:
      if (!streaming()) {
        promote_.stage = 2;  // the peer did not confirm: judge anew without it
        return true;
      }
      if (!late) return false;
      give_up_term(Refusal::timeout);
      return true;
  }
}

void Mirror::Impl::persist_promotion() {
  bitmap::Superblock& s = sb();
  s.term_seen = s.term_own = next_term(s.term_seen, config_.node);
  s.was_source = true;
  s.clean = false;
  s.resolution = Resolution::none;
  reserve_sequences();
  const bool behind = s.disk_state == DiskState::inconsistent || s.disk_state == DiskState::outdated;
  if (promote_.force && behind) {
    event(EventKind::data_loss_forced, Refusal::none, meta_.dirty.dirty_count() * s.geometry.region_size);
    new_generation(GenerationCause::forced);
    s.disk_state = DiskState::consistent;
    s.resync = {};
    peer().needs_full = true;
    peer().data = PeerData::lacks;
    lacks_by_right_ = true;
  } else if (peer().data == PeerData::handed_over || peer().data == PeerData::unknown) {
    peer().data = PeerData::maybe_current;
  }
  promote_.ticket = degrade_ticket_ = meta_.superblock_changed();
}

void Mirror::Impl::become_source() {
  const CommandId id = promote_.command;
  if (streaming()) alone_granted_ = false;
  promote_ = {};
  role_ = Role::source;
  export_open_ = true;
  peer_is_source_ = false;
  resync_released_ = false;  // what was checked before somebody else's tenure counts no more
  emit(ExportState{true});
  event(EventKind::promoted, Refusal::none, sb().term_own.value());
  finish_command(id, Refusal::none);
  if (switchover_command_ != 0) {
    finish_command(switchover_command_, Refusal::none);
    switchover_command_ = 0;
    switchover_deadline_ = Instant::never();
  }
  // The stream changes its direction: a new round makes us its leader.
  if (streaming() && !leading_) start_round();
  waiting_changed_ = again_ = true;
}

// after_restart = "resume": the last source becomes source again by itself if nobody objects.
void Mirror::Impl::resume_by_itself() {
  if (policy().after_restart != AfterRestart::resume || !sb().was_source || role_ != Role::target) return;
  if (promote_.active || stop_.active || peer_is_source_ || resume_tried_) return;
  if (streaming() && peer_state_.wants_source != 0 && peer_state_.term_own > sb().term_own.value()) return;
  if (promote_refusal(false, false) != Refusal::none) return;
  resume_tried_ = true;
  begin_promote(0, false, false);
}

void Mirror::Impl::on_term_taken(const MessageIn& in) {
  const Term theirs{in.header.sequence};
  if (follow_ups_.size() >= 8) return close_link(Refusal::bad_message);  // nobody takes that many at once
  const bool sane = streaming() && term_owner(theirs) == config_.peer && theirs > sb().term_seen &&
                    theirs.value() < kNumberMax;
  // Of two that are being promoted at once the higher term goes on.
  const bool mine_higher = promote_.active && promote_.stage >= 2 && sb().term_own > theirs;
  const bool mine_first = role_ == Role::source || role_ == Role::demoting || mine_higher;
  if (!sane || mine_first) return send(wire::Type::term_nack);
  if (promote_.active) abort_promote(Refusal::peer_took_term);
  demoted_heard_ = false;
  sb().term_seen = theirs;
  sb().was_source = false;
  if (peer().data == PeerData::handed_over) peer().data = PeerData::maybe_current;
  peer_is_source_ = true;
  // Metadata that failed remembers nothing; but neither can it make a source of this node again, now or after
  // a restart without a proof that it never got. To wait for it would keep the peer from taking over.
  if (meta_.failed()) return send(wire::Type::term_ack, theirs.value());
  follow_ups_.push_back({wire::Type::term_ack, meta_.superblock_changed(), theirs.value(), false});
}

void Mirror::Impl::on_demoted(const MessageIn& in) {
  if (!streaming() || leading_ || !peer_is_source_) return close_link(Refusal::bad_message);
  peer_is_source_ = false;
  demoted_heard_ = true;
  take_over_heard_ = (in.header.flags & wire::kTakeOver) != 0;
  again_ = true;
}

// The source said that it stopped; it counts once all that came before is applied.
void Mirror::Impl::take_note_of_demotion() {
  demoted_heard_ = false;
  const bool good = replica_uptodate_;
  if (good && peer().data != PeerData::lacks) peer().data = PeerData::handed_over;
  follow_ups_.push_back({wire::Type::demoted_ack, meta_.superblock_changed(), 0, take_over_heard_ && good});
}

// Answers that wait for our superblock.
bool Mirror::Impl::pump_follower_tickets() {
  pump_connect();
  if (switchover_command_ != 0 && now_ >= switchover_deadline_) {
    finish_command(switchover_command_, Refusal::timeout);
    switchover_command_ = 0;
    switchover_deadline_ = Instant::never();
  }
  if (resolve_command_ != 0 && meta_.superblock_durable(resolve_ticket_)) {
    finish_command(resolve_command_, Refusal::none);
    resolve_command_ = 0;
    close_link(Refusal::none);  // the next handshake finds the decision
    again_ = true;
  }
  if (attached_ && !resume_tried_ && phase_ == Phase::none) resume_by_itself();
  if (demoted_heard_ && apply_idle()) take_note_of_demotion();
  bool progress = degrade_heard_ && pump_degrade_heard();
  while (!follow_ups_.empty() && meta_.superblock_durable(follow_ups_.front().ticket)) {
    const FollowUp f = follow_ups_.front();
    follow_ups_.erase(follow_ups_.begin());
    if (session_ != 0) send(f.answer, f.term);
    if (f.promote && role_ == Role::target && !promote_.active) begin_promote(0, false, false);
    progress = true;
  }
  return progress;
}

// ------------------------------------------------------------------------------------------------ demote

void Mirror::Impl::on_switchover(const Command& in) {
  if (role_ == Role::source) {
    if (!in_ack_set_) return finish_command(in.id, in_stream_ ? Refusal::resync_running : no_stream());
    if (resync_active_) return finish_command(in.id, Refusal::resync_running);
    if (clients_present_ && !in.force) return finish_command(in.id, Refusal::clients_connected);
    return begin_demote(in.id, true, false);
  }
  if (role_ != Role::target || promote_.active || switchover_command_ != 0) {
    return finish_command(in.id, Refusal::busy);
  }
  if (!streaming() || !peer_is_source_) return finish_command(in.id, no_stream());
  if (!replica_uptodate_) return finish_command(in.id, Refusal::resync_running);
  switchover_command_ = in.id;
  switchover_deadline_ = now_ + policy().peer_timeout * 8;
  send(wire::Type::switchover_request, 0, static_cast<std::uint8_t>(in.force ? wire::kForce : 0));
}

// The target asks us to hand over.
void Mirror::Impl::on_switchover_request(const MessageIn& in) {
  if (role_ != Role::source || !in_ack_set_ || resync_active_) return send(wire::Type::term_nack);
  if (clients_present_ && (in.header.flags & wire::kForce) == 0) {
    return send(wire::Type::term_nack, 0, wire::kClientsConnected);
  }
  begin_demote(0, true, false);
}

void Mirror::Impl::begin_demote(CommandId id, bool take_over, bool stopping) {
  TB_ASSERT(role_ == Role::source && !demote_.active);
  demote_ = {};
  demote_.active = true;
  demote_.command = id;
  demote_.take_over = take_over;
  demote_.stopping = stopping;
  demote_.deadline = now_ + policy().peer_timeout * 4;
  role_ = Role::demoting;
  export_open_ = false;
  emit(ExportState{false});
  waiting_changed_ = again_ = true;
}

void Mirror::Impl::abort_demote(Refusal why) {
  const CommandId id = demote_.command;
  if (!sb().was_source) {
    sb().was_source = true;
    meta_.superblock_changed();
  }
  demote_ = {};
  role_ = Role::source;
  export_open_ = true;
  emit(ExportState{true});
  finish_command(id, why);
  waiting_changed_ = again_ = true;
}

bool Mirror::Impl::pump_demote() {
  if (!demote_.active) return false;
  if (now_ >= demote_.deadline && demote_.stage < 3) {
    if (!demote_.stopping) {
      abort_demote(Refusal::timeout);
      return true;
    }
    // Stopping must end: what could not be acknowledged by now is answered with an error.
    demote_.deadline = Instant::never();
    demote_.stage = 5;
    return true;
  }
  if (demote_.take_over && demote_.stage < 3 && !in_ack_set_) {
    abort_demote(Refusal::link_lost);  // nobody is there to take over
    return true;
  }
  switch (demote_.stage) {
    case 0:
      if (client_ops_ > 0 || flush_round_active_ || !flush_waiting_.empty()) return false;
      if (in_stream_ && unapplied_messages_ > 0) return false;
      demote_.flush_ticket = detached_ ? 0 : want_local_flush();
      if (in_stream_) {
        if (!send_flush_point()) return false;
        demote_.flush_point = flush_point_sent_;
      }
      demote_.stage = 1;
      return true;
    case 1:
      if (!detached_ && !local_flush_done(demote_.flush_ticket)) return false;
      if (in_stream_ && peer_stable_ < demote_.flush_point) return false;
      if (!in_stream_ && negotiating()) return false;
      if (((degrade_fact_ && !detached_) || degrade_running_) && !meta_.failed()) return false;
      drop_some(true);
      meta_.persist_pages();
      if (meta_.intents.changed()) meta_.want_record();
      sb().was_source = demote_.stopping;
      if (in_ack_set_ && unapplied_messages_ == 0) set_acked_ahead(false);
      demote_.ticket = meta_.superblock_changed();
      demote_.stage = 2;
      return true;
    case 2:
      // Without a disk of our own there is no log to empty, and the superblock is written if it can be.
      if (detached_ || meta_.failed()) {
        if (!meta_.failed() && !meta_.superblock_durable(demote_.ticket)) return false;
        tell_demoted();
        return true;
      }
      if (!meta_.superblock_durable(demote_.ticket) || !meta_.pages_durable()) return false;
      if (meta_.intents.used_count() > 0 && drop_some(true)) meta_.want_record();
      if (meta_.intents.used_count() > 0 || !meta_.log_settled()) {
        if (!meta_.log_settled()) meta_.want_record();
        return false;
      }
      tell_demoted();
      return true;
    case 3:
      if (in_ack_set_ && now_ < demote_.deadline) return false;
      // Told, but whether the peer took over is not known: this is no source any more, and no success.
      finish_demote(demote_.take_over ? Refusal::link_lost : Refusal::none);
      return true;
    case 5: {
      fail_everything();
      role_ = Role::target;
      waiting_changed_ = true;
      finish_demote();
      return true;
    }
    default:
      finish_demote();
      return true;
  }
}

void Mirror::Impl::tell_demoted() {
  if (!in_stream_) {
    demote_.stage = 4;
    return;
  }
  // A peer in the middle of its resync is told, too, and not waited for: it would go on believing in a
  // source, and never be promoted in this session. A proof it is to those only that are up to date.
  demote_.stage = 3;
  demote_.deadline = now_ + policy().peer_timeout * 2;
  send(wire::Type::demoted, 0, static_cast<std::uint8_t>(demote_.take_over ? wire::kTakeOver : 0));
}

void Mirror::Impl::finish_demote(Refusal result) {
  const CommandId id = demote_.command;
  demote_ = {};
  role_ = Role::target;
  resume_tried_ = true;
  frozen_ = degrade_wanted_ = degrade_fact_ = false;
  event(EventKind::demoted, Refusal::none, sb().term_own.value());
  finish_command(id, result);
  waiting_changed_ = again_ = true;
}

// A higher term exists. From this step on nothing is acknowledged.
void Mirror::Impl::depose(std::uint64_t term) {
  const CommandId id = demote_.active ? demote_.command : 0;
  demote_ = {};
  role_ = Role::target;
  export_open_ = false;
  frozen_ = degrade_wanted_ = degrade_fact_ = false;
  sb().was_source = false;
  // Written down though this handshake may come to nothing: the next term taken here has to be above it.
  sb().term_seen = std::max(sb().term_seen, Term{term});
  if (peer().data == PeerData::lacks) peer().data = PeerData::lacked;
  degrade_ticket_ = meta_.superblock_changed();
  emit(ExportState{false});
  event(EventKind::deposed, Refusal::peer_took_term, term);
  finish_command(id, Refusal::peer_took_term);
  fail_everything();
  waiting_changed_ = again_ = true;
}

// ------------------------------------------------------------------------------------------------ stop

// A clean end: as source hand over first; then everything is flushed, the log is empty, and the mark `clean`
// is written last.
bool Mirror::Impl::pump_stop() {
  if (!stop_.active) return false;
  switch (stop_.stage) {
    case 0:
      if (promote_.active) {
        abort_promote(Refusal::stopping);
        return true;
      }
      if (role_ == Role::source) {
        begin_demote(0, false, true);
        return true;
      }
      if (role_ != Role::target || client_ops_ > 0) return false;
      link_wanted_ = false;
      emit(SetLinkWanted{false});
      close_link(Refusal::none);
      stop_.stage = 1;
      return true;
    case 1:
      if (!apply_idle() || pieces_ > 0) return false;
      if (!attached_ && !meta_.failed()) return false;
      stop_.flush_ticket = detached_ || flush_failed_ ? 0 : want_local_flush();
      stop_.stage = 2;
      return true;
    case 2:
      if (!detached_ && !flush_failed_ && !local_flush_done(stop_.flush_ticket)) return false;
      if (!meta_.failed()) {
        drop_some(true);
        meta_.persist_pages();
        if (meta_.intents.changed()) meta_.want_record();
        if (!meta_.pages_durable() || !meta_.log_settled()) return false;
        sb().clean = !detached_ && meta_.intents.used_count() == 0;
        stop_.ticket = meta_.superblock_changed();
      }
      stop_.stage = 3;
      return true;
    case 3:
      if (!meta_.failed() && !meta_.superblock_durable(stop_.ticket)) return false;
      stop_.stage = 4;
      event(EventKind::stopped);
      finish_command(stop_.command, Refusal::none);
      return true;
    default:
      return false;
  }
}

}  // namespace twinblock::core
