// Writing without some replica: the peer's, or our own.
//
// Order of durable events when the peer is lost (P7):   right to write alone ─▶ {new generation, "peer lacks
// it"} in our superblock ─▶ first answer. A crash before the superblock: nothing was acknowledged that the
// peer lacks. A crash after it: the peer is known to be older, whoever comes back first.
// When our own disk is lost the same goes to the peer's superblock, which then is the only good one.
#include "replicator/core/impl.hpp"

namespace twinblock::core {

// The peer is durably known to lack something of our generation: it is not waited for.
bool Mirror::Impl::alone_ok() const {
  // A target under resync is durably inconsistent: nobody promotes it, so no right is needed beside it.
  const bool right =
      lacks_by_right_ || alone_granted_ || in_stream_ || policy().write_alone == WriteAlone::free;
  return peer().data == PeerData::lacks && right && meta_.superblock_durable(degrade_ticket_);
}

void Mirror::Impl::new_generation(GenerationCause cause) {
  const GenerationId id{random_.name()};
  sb().push_generation(id, SequenceNumber{ring_.next()}, cause);
  event(EventKind::generation_new, Refusal::none, id.value(), static_cast<std::uint64_t>(cause));
}

void Mirror::Impl::request_degrade() {
  if (degrade_wanted_ || degrade_running_) return;
  degrade_wanted_ = true;
  again_ = true;
}

bool Mirror::Impl::pump_degrade() {
  if (degrade_running_) {
    if (!meta_.superblock_durable(degrade_ticket_)) return false;
    degrade_running_ = false;
    if (!in_stream_) event(EventKind::degraded, Refusal::none, sb().current().value());
    check_orphans();
    waiting_changed_ = true;
    return true;
  }
  if (degrade_fact_ && alone_ok()) degrade_fact_ = false;  // written down already
  if (degrade_fact_ && !in_stream_ && !negotiating() && acting_source()) degrade_wanted_ = true;
  // Writes that lost the peer and are done here wait for this, too, however late they were done.
  if (!orphans_.empty() && !in_stream_ && !negotiating() && acting_source() && !alone_ok())
    degrade_wanted_ = true;
  if (!degrade_wanted_) return false;
  if (in_stream_ || negotiating() || !acting_source() || detached_ || meta_.failed() || alone_ok()) {
    degrade_wanted_ = false;
    waiting_changed_ = waiting_changed_ || alone_ok();
    return false;
  }
  const bool right = policy().write_alone == WriteAlone::free || alone_granted_;
  if (!right) {
    if (!frozen_) event(EventKind::frozen, Refusal::peer_may_have_more);
    frozen_ = true;
    if (!degrade_fact_ || peer().data == PeerData::lacks) return false;
  } else {
    if (frozen_) event(EventKind::unfrozen);
    frozen_ = false;
  }
  degrade_wanted_ = degrade_fact_ = false;
  // Known to lack something already: only the right was missing.
  if (peer().data != PeerData::lacks && !TB_MUTANT(no_bump)) new_generation(GenerationCause::degraded);
  peer().data = PeerData::lacks;
  lacks_by_right_ = right;
  degrade_ticket_ = meta_.superblock_changed();
  degrade_running_ = true;
  return true;
}

// The local data disk (or the metadata) failed while we are source.
void Mirror::Impl::detach_local(int error) {
  if (detached_) return;
  detached_ = true;
  event(EventKind::disk_failed, Refusal::replica_failed, static_cast<std::uint64_t>(error));
  resync_active_ = false;
  sb().disk_state = DiskState::failed;
  again_ = true;
  waiting_changed_ = true;
  if (!in_ack_set_) {
    meta_.superblock_changed();
    if (in_stream_ || negotiating()) close_link(Refusal::replica_failed);
    return fail_everything();
  }
  degrade_acked_ = false;
  if (resync_end_sent_ && !verdict_.stays_promotable) {
    degrade_due_ = true;  // it is not up to date yet: told when it says so
    meta_.superblock_changed();
    return;
  }
  announce_detached();
}

// Nothing more is acknowledged until the peer has noted, durably, that our copy lacks it; and we have, lest
// this copy counts as complete after a crash.
void Mirror::Impl::announce_detached() {
  degrade_due_ = false;
  new_generation(GenerationCause::degraded);
  detach_ticket_ = meta_.superblock_changed();
  wire::DegradeBody body;
  body.history = my_history();
  body.lacks = static_cast<std::uint8_t>(1u << config_.node.value());
  send_body(wire::Type::degrade, body);
}

void Mirror::Impl::on_degrade(const MessageIn& in) {
  const auto body = wire::decode_degrade(in.body);
  const bool sane = body.has_value() && streaming() && !leading_ && replica_uptodate_ &&
                    body->history.count > 1 && body->history.entries[1].id == sb().current().value() &&
                    body->lacks == 1u << config_.peer.value();
  if (!sane || degrade_heard_ || follow_ups_.size() >= 8) return close_link(Refusal::bad_message);
  // We become the only copy: first what was received before has to be written here, and be stable. A crash
  // before that must not leave a replica that believes to have everything.
  degrade_history_ = body->history;
  degrade_heard_ = true;
  degrade_flush_ = 0;
  degrade_after_ = apply_popped_ + apply_.size();
  again_ = true;
}

// REQUIRES: degrade_heard_.
bool Mirror::Impl::pump_degrade_heard() {
  if (detached_ || apply_popped_ < degrade_after_) return false;
  if (degrade_flush_ == 0) {
    degrade_flush_ = want_local_flush();
    return true;
  }
  if (!local_flush_done(degrade_flush_)) return false;
  degrade_heard_ = false;
  if (degrade_history_.entries[1].id != sb().current().value()) {
    close_link(Refusal::bad_message);
    return true;
  }
  adopt_history(degrade_history_);
  peer().data = PeerData::lacks;
  peer().needs_full = true;
  meta_.set_all_bits();
  degrade_ticket_ = meta_.superblock_changed();
  follow_ups_.push_back({wire::Type::degrade_ack, degrade_ticket_, 0, false});
  return true;
}

void Mirror::Impl::on_degrade_ack() {
  if (!detached_ || !in_ack_set_) return;
  degrade_acked_ = true;
  check_started_writes();
  waiting_changed_ = again_ = true;
}

}  // namespace twinblock::core
