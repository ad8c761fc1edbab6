// Client flushes, stability and the way of intents out of the log.
//
// A client flush is one round: a local flush that starts after it and, with a peer in the ack set, a flush
// point in the stream that the peer reports stable. Flushes that arrive while a round runs make up the next
// one. A round ends with the ack set as of its end: a peer that left is not waited for, but only once it is
// durably known to lack something (P7), for it may still be promoted with what it had not flushed.
#include <algorithm>

#include "replicator/core/impl.hpp"

namespace twinblock::core {

void Mirror::Impl::on_client_flush(const ClientFlush& in) {
  if (!export_open_) return emit(Reply{in.request, Status::not_source, 0});
  flush_waiting_.push_back(in.request);
  again_ = true;
}

bool Mirror::Impl::send_flush_point() {
  if (!in_stream_ || ring_.full() || unapplied_messages_ >= window_messages_ + 32) return false;
  wire::Header h;
  h.type = wire::Type::flush;
  h.sequence = flush_point_sent_ = ring_.push({kNoOp, true, true, false, false, 0, now_});
  send_header(h);
  return true;
}

bool Mirror::Impl::pump_flush() {
  const auto answer_all = [this](std::vector<RequestId>& requests, Status status) {
    for (const RequestId r : requests) emit(Reply{r, status, 0});
    requests.clear();
  };
  if (!acting_source() || data_path_dead()) {
    const Status why = acting_source() ? Status::io_error : Status::not_source;
    answer_all(flush_round_, why);
    answer_all(flush_waiting_, why);
    flush_round_active_ = false;
    return false;
  }
  if (!flush_round_active_) {
    if (flush_waiting_.empty()) return false;
    std::swap(flush_round_, flush_waiting_);
    flush_round_active_ = true;
    flush_round_sequence_ = 0;
    flush_round_ticket_ = detached_ || TB_MUTANT(flush_peer_only) ? 0 : want_local_flush();
  }
  const bool peer_counts = in_ack_set_ && policy().mode != Mode::async && !TB_MUTANT(flush_local_only);
  if (in_ack_set_ && flush_round_sequence_ == 0) {
    // To an async peer it goes too, as a point that orders the stream, and is not waited for.
    if (!send_flush_point()) return false;
    flush_round_sequence_ = flush_point_sent_;
  }
  if (!detached_ && !local_flush_done(flush_round_ticket_)) return false;
  if (detached_ && !detach_noted()) return false;
  if ((peer_counts || detached_) && peer_stable_ < flush_round_sequence_) return false;
  if (!in_ack_set_ && !alone_ok() && !TB_MUTANT(bump_after_ack)) {
    if (!negotiating() && !in_stream_) request_degrade();  // else it joins the ack set in a moment
    return false;
  }
  answer_all(flush_round_, Status::ok);
  flush_round_active_ = false;
  again_ = true;
  return true;
}

void Mirror::Impl::ask_stability() {
  stability_wanted_ = true;
  again_ = true;
}

bool Mirror::Impl::droppable(const IntentSlot& slot) const {
  if (!slot.used || slot.pins > 0) return false;
  if (TB_MUTANT(intent_dropped_at_completion)) return true;
  if (!meta_.superblock_durable(relied_ticket_)) return false;  // also when the link is lost meanwhile
  if (slot.sequence_max > local_stable_) return false;
  if (in_stream_ && slot.sent_max > peer_stable_ && !TB_MUTANT(intent_ignores_peer_stable)) return false;
  return meta_.extent_bits_durable(slot.extent) || TB_MUTANT(pages_not_persisted_before_drop);
}

// Drops droppable slots: all of them, or the few that were used longest ago. False: there was none.
bool Mirror::Impl::drop_some(bool all) {
  constexpr int kAtOnce = 8;
  int dropped = 0;
  const auto slots = meta_.intents.slots();
  for (int n = 0; n < (all ? 1 : kAtOnce); ++n) {
    std::size_t best = slots.size();
    for (std::size_t i = 0; i < slots.size(); ++i) {
      if (!droppable(slots[i])) continue;
      if (all) {
        meta_.intents.drop(static_cast<SlotIndex>(i));
        ++dropped;
      } else if (best == slots.size() || slots[i].sequence_max < slots[best].sequence_max) {
        best = i;
      }
    }
    if (all || best == slots.size()) break;
    meta_.intents.drop(static_cast<SlotIndex>(best));
    ++dropped;
  }
  return dropped > 0;
}

// Extents that are written all the time are never stable everywhere, and their slots never free: whoever
// wants another extent would wait for ever. After a while the slot that is hot for longest takes no new
// writes, until it is stable and goes to the one who waits.
Instant Mirror::Impl::drain_at() const {
  constexpr Duration kPatience = Duration::seconds(1);
  return slot_wait_since_ == Instant::never() ? Instant::never() : slot_wait_since_ + kPatience;
}

void Mirror::Impl::begin_draining() {
  const IntentSlot* oldest = nullptr;
  for (const IntentSlot& s : meta_.intents.slots()) {
    if (s.used && (oldest == nullptr || s.since < oldest->since)) oldest = &s;
  }
  if (oldest != nullptr) draining_ = oldest->extent;
  ask_stability();
}

void Mirror::Impl::end_draining() {
  if (!draining_ || meta_.intents.find(*draining_) != kNoSlot) return;
  draining_.reset();
  slot_wait_since_ = now_;  // the next one begins to wait
}

// Keeps the log short: asks for stability before slots run out and when intents grow old; when everything is
// stable, a record without them is written, so that a crash at rest costs nothing.
bool Mirror::Impl::pump_intents() {
  if (stability_wanted_) {
    const bool point_pending = in_stream_ && flush_point_sent_ > peer_stable_;
    if (!point_pending) {
      if (!detached_ && flush_wanted_ <= flush_started_) want_local_flush();
      if (!in_stream_ || send_flush_point()) stability_wanted_ = false;
    }
    for (const IntentSlot& s : meta_.intents.slots()) {
      if (s.used && s.pins == 0 && !meta_.extent_bits_durable(s.extent)) meta_.want_extent_pages(s.extent);
    }
  }
  end_draining();
  const std::uint32_t used = meta_.intents.used_count();
  const std::uint32_t bound = sb().geometry.hot_extents;
  if (slots_wanted_ && drop_some(false)) {
    slots_wanted_ = false;
    waiting_changed_ = true;
    return true;
  }
  if (slots_wanted_ && !draining_ && now_ >= drain_at()) begin_draining();
  if (slots_wanted_ && !stability_wanted_ && !flush_running_ && flush_point_sent_ <= peer_stable_) {
    // The last round of stability freed nothing that is not pinned: go on asking only while something can
    // change.
    const auto slots = meta_.intents.slots();
    const bool some =
        std::any_of(slots.begin(), slots.end(), [](const IntentSlot& s) { return s.pins == 0; });
    if (some && !meta_.busy()) ask_stability();
  }
  if (used == 0) intent_check_at_ = Instant::never();
  if (now_ < intent_check_at_) return false;
  intent_check_at_ = now_ + config_.intent_age_max / 4;
  const auto old = [&](const IntentSlot& s) {
    return s.used && s.pins == 0 && (now_ - s.since >= config_.intent_age_max || used * 8 > bound * 7);
  };
  bool ask = false;
  for (std::size_t i = 0; i < meta_.intents.slots().size(); ++i) {
    const IntentSlot& s = meta_.intents.slots()[i];
    if (!old(s)) continue;
    if (droppable(s))
      meta_.intents.drop(static_cast<SlotIndex>(i));
    else
      ask = true;
  }
  if (ask) ask_stability();
  if (meta_.intents.changed()) meta_.want_record();
  return ask;
}

}  // namespace twinblock::core
