#include "replicator/core/mirror.hpp"

#include <algorithm>

#include "base/overloaded.hpp"
#include "replicator/core/impl.hpp"

namespace twinblock::core {

Mirror::Mirror(Config config, bitmap::Recovered recovered)
    : impl_{std::make_unique<Impl>(std::move(config), std::move(recovered))} {}
Mirror::~Mirror() = default;

void Mirror::start(Instant now, Outputs& out) {
  impl_->start(now, out);
}
void Mirror::step(Instant now, const Input& in, Outputs& out) {
  impl_->step(now, in, out);
}
void Mirror::turn_end(Instant now, Outputs& out) {
  impl_->turn_end(now, out);
}
Instant Mirror::next_deadline() const {
  return impl_->next_deadline();
}
MirrorSnapshot Mirror::snapshot() const {
  return impl_->snapshot();
}
const bitmap::Superblock& Mirror::superblock() const {
  return impl_->meta_.superblock;
}
const wire::StateBody* Mirror::peer_state() const {
  return impl_->peer_state_known_ ? &impl_->peer_state_ : nullptr;
}
const bitmap::DirtyMap& Mirror::dirty() const {
  return impl_->meta_.dirty;
}
bool Mirror::is_hot(ExtentIndex extent) const {
  return impl_->meta_.intents.find(extent) != kNoSlot;
}
void Mirror::check_invariants() const {
  impl_->check_deep();
}

namespace {
constexpr std::size_t kRingCapacity = 4096;
constexpr std::size_t kSentPiecesMax = 256;
constexpr std::size_t kSpareOps = 64;  // resync pieces, bit clears
}  // namespace

Mirror::Impl::Impl(Config config, bitmap::Recovered recovered)
    : config_{std::move(config)},
      meta_{(
                [&] {
                  // Extents hot at the crash: the peer may differ in all of their regions.
                  if (TB_MUTANT(hot_extents_forgotten)) {
                    recovered.hot.clear();
                    recovered.all_hot = false;
                  }
                  auto& map = recovered.dirty[config_.peer.value()];
                  const bitmap::Geometry& g = recovered.superblock.geometry;
                  if (!map) map.emplace(g.region_count());
                  if (recovered.all_hot) map->set_all();
                  for (const ExtentIndex e : recovered.hot) {
                    const std::uint64_t first = std::uint64_t{e.value()} * g.regions_per_extent();
                    if (first >= g.region_count()) continue;
                    map->set({RegionIndex{first},
                              std::min<std::uint64_t>(g.regions_per_extent(), g.region_count() - first)});
                  }
                }(),
                std::move(recovered)),
            config_.peer},
      random_{config_.random_seed},
      ops_(config_.client_ops_max + config_.window_messages + kSpareOps),
      locks_{ops_.size()},
      ring_{kRingCapacity},
      sent_pieces_{kSentPiecesMax},
      apply_{config_.window_messages + 64} {
  TB_ASSERT(ops_.size() < kNoOp);
  free_ops_.reserve(ops_.size());
  for (std::size_t i = ops_.size(); i > 0; --i) free_ops_.push_back(static_cast<OpIndex>(i - 1));
  granted_.reserve(ops_.size());
  waiting_.reserve(ops_.size());
  orphans_.reserve(ops_.size());
  blocked_.reserve(ops_.size());
  flush_waiting_.reserve(config_.client_ops_max);
  flush_round_.reserve(config_.client_ops_max);
  follow_ups_.reserve(16);
  body_.resize(wire::kBodySizeMax);
}

void Mirror::Impl::start(Instant now, Outputs& out) {
  now_ = now;
  out_ = &out;
  bitmap::Superblock& s = sb();
  ++s.attach_count;
  // After a reboot without a clean stop what was not flushed is gone; a killed daemon loses nothing.
  if (!s.clean && (config_.boot_id == 0 || s.boot_id != config_.boot_id)) s.lost_cache = true;
  s.boot_id = config_.boot_id;
  s.clean = false;
  // A disk that failed was detached with unknown content since its last good flush; the peer's bits cover it.
  if (s.disk_state == DiskState::failed) s.disk_state = DiskState::inconsistent;
  if (peer().identity == 0) {  // never met: it has nothing
    peer().needs_full = true;
    peer().data = PeerData::lacks;
    meta_.set_all_bits();
  }
  ring_.restart(std::max<std::uint64_t>(s.sequence_limit.value(), 1));
  attach_ticket_ = meta_.superblock_changed();
  meta_.persist_pages();
  attach_begun_ = true;
  last_progress_ = stable_saved_at_ = client_answered_at_ = now;
  resync_rate_.start(now);
  pump();
}

// Bits of what was hot are durable before the log may forget it; then the log is written empty.
void Mirror::Impl::pump_attach() {
  if (!attach_begun_ || attached_ || meta_.failed()) return;
  if (!meta_.superblock_durable(attach_ticket_) || !meta_.pages_durable()) return;
  meta_.forget_recovered_log();
  if (!meta_.log_settled()) return;
  attached_ = true;
  if (!admin_disconnected_ && !link_wanted_) {
    link_wanted_ = true;
    emit(SetLinkWanted{true});
  }
  again_ = true;
}

void Mirror::Impl::step(Instant now, const Input& in, Outputs& out) {
  TB_ASSERT(now >= now_);
  now_ = now;
  out_ = &out;
  if (turn_ended_) {
    body_out_.clear();
    turn_ended_ = false;
  }
  std::visit(overloaded{
                 [&](const ClientRead& m) { on_client_read(m); },
                 [&](const ClientWrite& m) {
                   on_client_write(OpKind::write, m.request, m.range, m.buffer, m.fua, false);
                 },
                 [&](const ClientZero& m) {
                   on_client_write(OpKind::zero, m.request, m.range, 0, m.fua, m.may_unmap);
                 },
                 [&](const ClientFlush& m) { on_client_flush(m); },
                 [&](const ClientCancel& m) { on_client_cancel(m); },
                 [&](const ClientsPresent& m) { clients_present_ = m.any; },
                 [&](const DiskDone& m) { on_disk_done(m); },
                 [&](const MetaDone& m) { on_meta_done(m); },
                 [&](const LinkUp& m) { on_link_up(m.link); },
                 [&](const LinkDown& m) { on_link_down(m.link); },
                 [&](const MessageIn& m) { on_message(m); },
                 [&](const Tick&) {},
                 [&](const Command& m) { on_command(m); },
             },
             in);
  pump();
  check_invariants();
}

void Mirror::Impl::turn_end(Instant now, Outputs& out) {
  now_ = now;
  out_ = &out;
  pump();
  turn_ended_ = true;
  if (ack_due_) send_ack();
  meta_.pump(out);
}

void Mirror::Impl::on_disk_done(const DiskDone& in) {
  TB_ASSERT(disk_in_flight_ > 0);
  --disk_in_flight_;
  switch (in.op >> 60) {
    case kLocalFlush >> 60:
      return on_local_flush_done(in.error);
    case kBarrierFlush >> 60:
      return on_barrier_flushed(in.error);
    default:
      break;
  }
  const auto i = static_cast<OpIndex>(in.op & 0xffff);
  Op& op = ops_[i];
  TB_ASSERT(op.kind != OpKind::none && disk_id(i) == in.op && op.local_pending);
  op.local_pending = false;
  switch (op.kind) {
    case OpKind::read:
      return on_local_read_done(i, in.error, in.buffer);
    case OpKind::write:
    case OpKind::zero:
      return on_local_write_done(i, in.error);
    case OpKind::repair:
      return on_repair_done(i, in.error);
    case OpKind::resync:
      return on_piece_read(i, in);
    case OpKind::apply:
      return on_apply_done(i, in.error);
    case OpKind::peer_read:
      return finish_peer_read(i, in.error, in.buffer);
    case OpKind::none:
    case OpKind::clear_bits:
      break;
  }
  TB_ASSERT(false);
}

void Mirror::Impl::on_meta_done(const MetaDone& in) {
  const bool was_failed = meta_.failed();
  TB_ASSERT(meta_.on_done(in.op, in.error));
  waiting_changed_ = true;
  if (!was_failed && meta_.failed()) {
    event(EventKind::metadata_failed, Refusal::metadata_failed, static_cast<std::uint64_t>(in.error));
    if (acting_source())
      detach_local(in.error);
    else
      replica_failed(in.error);
  }
  if (detached_ && degrade_acked_) check_started_writes();  // detach_noted()
}

void Mirror::Impl::pump() {
  // Each pass may enable another; the bound is a guard against a livelock between two conditions.
  for (int pass = 0; pump_once(); ++pass) TB_ASSERT(pass < 10000);
}

bool Mirror::Impl::pump_once() {
  again_ = false;
  if (!attached_) pump_attach();
  keepalive();
  bool more = pump_session();
  more |= pump_degrade();
  more |= pump_promote();
  more |= pump_ahead();
  more |= pump_demote();
  more |= pump_stop();
  more |= pump_follower_tickets();
  more |= pump_waiting();
  more |= pump_flush();
  more |= pump_apply();
  more |= pump_resync();
  more |= pump_intents();
  pump_local_flush();
  if (!granted_.empty()) drain_granted();
  return more || again_;
}

Instant Mirror::Impl::next_deadline() const {
  Instant t = std::min({intent_check_at_, switchover_deadline_, connect_.deadline});
  if (slots_wanted_ && !draining_) t = std::min(t, drain_at());
  if (promote_.active && (promote_.stage == 0 || promote_.stage >= 3)) t = std::min(t, promote_.deadline);
  if (demote_.active && demote_.stage <= 3) t = std::min(t, demote_.deadline);
  if (resync_may_start() && !resync_end_sent_) t = std::min({t, resync_retry_at_, resync_error_until_});
  if (link_ != 0 && !link_closing_) t = std::min(t, phase_deadline_);
  if (link_ != 0 && !link_closing_) {
    t = std::min(t, last_sent_ + policy().peer_timeout / 3);
    t = std::min(t, last_received_ + policy().peer_timeout);
    if (in_stream_ && unapplied_messages_ > 0) t = std::min(t, last_progress_ + policy().peer_timeout * 2);
  }
  if (streaming() && !detached_ && (leading_ ? local_stable_ : stable_) > sb().stable_sequence.value()) {
    t = std::min(t, stable_saved_at_ + Duration::seconds(10));
  }
  return t;
}

void Mirror::Impl::check_invariants() const {
  TB_ASSERT(!in_ack_set_ || in_stream_);
  TB_ASSERT(!in_stream_ || (leading_ && streaming()));
  TB_ASSERT(role_ != Role::source || !promote_.active);
  TB_ASSERT(peer_applied_ <= peer_received_ || !in_stream_);
}

void Mirror::Impl::check_deep() const {
  check_invariants();
  for (const Op& op : ops_) {
    if (op.kind == OpKind::none) continue;
    if (op.slot != kNoSlot) TB_ASSERT(meta_.intents.slots()[op.slot].used);
    if ((op.kind == OpKind::write || op.kind == OpKind::zero) && op.local_pending &&
        !TB_MUTANT(intent_after_data)) {
      TB_ASSERT(op.slot != kNoSlot && meta_.intents.slots()[op.slot].listed);  // P3
    }
  }
}

}  // namespace twinblock::core
