#include "replicator/engine/status_map.hpp"

#include <algorithm>

#include "base/assert.hpp"
#include "replicator/control/protocol_text.hpp"
#include "replicator/engine/done_text.hpp"
#include "replicator/engine/explain.hpp"
#include "replicator/engine/refusal_text.hpp"

namespace twinblock::engine {
namespace {

control::ReplicaState map(core::ReplicaState state) {
  switch (state) {
    case core::ReplicaState::uptodate:
      return control::ReplicaState::kUptodate;
    case core::ReplicaState::consistent:
      return control::ReplicaState::kConsistent;
    case core::ReplicaState::outdated:
      return control::ReplicaState::kOutdated;
    case core::ReplicaState::inconsistent:
      return control::ReplicaState::kInconsistent;
    case core::ReplicaState::failed:
      return control::ReplicaState::kFailed;
    case core::ReplicaState::diskless:
      return control::ReplicaState::kDiskless;
    case core::ReplicaState::unknown:
      return control::ReplicaState::kUnknown;
  }
  TB_ASSERT(false);
}

control::LinkState map(core::LinkState state) {
  switch (state) {
    case core::LinkState::down:
      return control::LinkState::kDown;
    case core::LinkState::connecting:
      return control::LinkState::kConnecting;
    case core::LinkState::connected:
      return control::LinkState::kConnected;
    case core::LinkState::resync_pending:
      return control::LinkState::kResyncPending;
    case core::LinkState::resyncing:
      return control::LinkState::kResyncing;
    case core::LinkState::paused:
      return control::LinkState::kPaused;
    case core::LinkState::split_brain:
      return control::LinkState::kSplitBrain;
    case core::LinkState::refused:
      return control::LinkState::kRefused;
  }
  TB_ASSERT(false);
}

std::optional<control::Resolution> map(core::Resolution resolution) {
  switch (resolution) {
    case core::Resolution::keep:
      return control::Resolution::kKeep;
    case core::Resolution::discard:
      return control::Resolution::kDiscard;
    case core::Resolution::none:
      return std::nullopt;
  }
  TB_ASSERT(false);
}

control::LinkState link_word(const core::MirrorSnapshot& s, const RunningFacts& facts) {
  if (s.link == core::LinkState::down && facts.link_wanted) return control::LinkState::kConnecting;
  return map(s.link);
}

bool differs(const core::MirrorSnapshot& s) {
  return s.dirty_bytes > 0 || s.replica == core::ReplicaState::inconsistent ||
         s.replica == core::ReplicaState::outdated;
}

// Who looks at a target without a link after a failure wants to know whether this copy may go on, and is not
// sent to a command that can only refuse.
std::string without_peer(const core::MirrorSnapshot& s, const std::string& mirror, const std::string& peer) {
  const std::string there =
      " when " + peer + " is connected; next: twinblock status " + mirror + " on " + peer;
  switch (s.promote_refusal) {
    case core::Refusal::no_peer_data:
      return "; this copy was never filled: that begins" + there;
    case core::Refusal::replica_inconsistent:
      return "; this copy is incomplete: its resync goes on" + there;
    case core::Refusal::replica_outdated:
      return "; this copy is known to be old: it is brought up to date" + there;
    case core::Refusal::peer_may_have_more:
    case core::Refusal::async_may_lose:
      return "; if " + peer + " is lost: twinblock promote " + mirror + " --confirm-dead " + peer;
    default:
      return {};
  }
}

std::string reason_of(const core::MirrorSnapshot& s, const control::MirrorConfig& config,
                      const RunningFacts& facts, control::MirrorState state) {
  const std::string& peer = config.peer_node().name;
  if (facts.stuck_disk_operations > 0) {
    return "the data disk does not answer: " + std::to_string(facts.stuck_disk_operations) +
           " operations timed out and have not come back";
  }
  if (facts.stuck_metadata_writes > 0) {
    return "the metadata does not answer: " + std::to_string(facts.stuck_metadata_writes) +
           " writes timed out and have not come back";
  }
  if (s.replica == core::ReplicaState::failed) return "this replica's disk or metadata has failed";
  if (s.refusal != core::Refusal::none) {
    const RefusalText& text = refusal_text(s.refusal);
    if (s.refusal == core::Refusal::config_differs && !facts.config_difference.empty()) {
      return "the configuration differs from the peer's: " + facts.config_difference +
             "; next: make the [[mirror]] tables equal, then: systemctl restart twinblock";
    }
    if (const Decision decided = decision_on(s, config); !decided.what.empty())
      return for_mirror(text.message, config.name, peer) + "; " + decided.what +
             "; next: " + decided.next_step;
    return for_mirror(text.message, config.name, peer) +
           "; next: " + for_mirror(text.next_step, config.name, peer);
  }
  if (s.paused) return "paused by hand; next: twinblock resume " + config.name;
  if (state == control::MirrorState::kWaitToResync) {
    return "hold_resync is set; next: twinblock resync " + config.name;
  }
  if (facts.starting) return "starting";
  if (!facts.link_wanted) return "disconnected by hand; next: twinblock connect " + config.name;
  if (!facts.link_up) {
    std::string text = "no link to " + peer + (facts.link_error.empty() ? "" : " (" + facts.link_error + ")");
    if (s.role == core::Role::target) text += without_peer(s, config.name, peer);
    return text;
  }
  if (state == control::MirrorState::kResyncing && s.replica == core::ReplicaState::inconsistent) {
    return "catching up; this copy is incomplete until the resync ends";
  }
  return {};
}

std::optional<control::ResyncProgress> progress_of(const core::MirrorSnapshot& s, const RunningFacts& facts) {
  if (s.resync_total_bytes == 0) return std::nullopt;
  control::ResyncProgress p;
  p.total_bytes = s.resync_total_bytes;
  p.done_bytes = s.resync_done_bytes;
  p.sent_bytes = s.resync_counters_now.sent_bytes;
  p.zero_bytes = s.resync_counters_now.zero_bytes;
  p.rate_bytes_per_s = facts.resync_rate;
  if (facts.resync_rate > 0) p.eta_s = (p.total_bytes - p.done_bytes) / facts.resync_rate;
  return p;
}

}  // namespace

control::MirrorState state_word(const core::MirrorSnapshot& s, const core::Policy& policy,
                                const RunningFacts& facts) {
  using State = control::MirrorState;
  if (s.replica == core::ReplicaState::failed) return State::kFailed;
  if (s.link == core::LinkState::split_brain) return State::kSplitBrain;
  if (s.paused || s.link == core::LinkState::paused) return State::kPaused;
  if (s.link == core::LinkState::resyncing) return State::kResyncing;
  const bool pending = s.link == core::LinkState::resync_pending;
  if (pending && policy.hold_resync) return State::kWaitToResync;
  if (pending) return State::kResyncPending;
  if (differs(s)) {
    const bool due = facts.link_wanted && s.link != core::LinkState::refused;
    return due ? State::kResyncPending : State::kOutOfSync;
  }
  return s.role == core::Role::source || s.role == core::Role::demoting ? State::kSource : State::kTarget;
}

std::int32_t promotion_score(const core::MirrorSnapshot& s) {
  if (s.role == core::Role::source) return 100;
  const bool usable =
      s.replica == core::ReplicaState::uptodate || s.replica == core::ReplicaState::consistent;
  if (!usable) return -1;
  if (s.replica == core::ReplicaState::uptodate && s.in_ack_set) return 90;
  if (s.replica == core::ReplicaState::uptodate && s.link == core::LinkState::connected) return 90;
  if (s.promotable) return 50;
  return s.term_own.value() != 0 && s.term_own == s.term_seen ? 10 : 5;
}

control::MirrorStatus running_status(const core::MirrorSnapshot& s, const core::Policy& policy,
                                     const control::MirrorConfig& config, const RunningFacts& facts) {
  control::MirrorStatus status;
  const bool source = s.role == core::Role::source || s.role == core::Role::demoting;
  status.role = source ? control::Role::kSource : control::Role::kTarget;
  status.state = state_word(s, policy, facts);
  status.mode = static_cast<control::Mode>(s.mode);
  status.generation = s.generation.value();
  status.term = s.term_seen.value();
  status.replica = map(s.replica);
  status.redundancy = s.redundancy;
  status.promotable = s.promotable;
  status.promotion_score = promotion_score(s);
  status.reason = reason_of(s, config, facts, status.state);
  status.resolution = map(s.resolution);
  status.frozen = s.frozen;
  if (s.frozen) {
    const std::string& lost = config.peer_node().name;
    const bool never = config.write_alone == control::WriteAlone::kNever;
    status.frozen_reason = "write_alone does not allow this node to write without " + lost +
                           "; next: bring " + lost + " back, or make sure that it is off and: twinblock " +
                           (never ? "set " + config.name + " write_alone=free"
                                  : "promote " + config.name + " --confirm-dead " + lost);
  }
  status.hot_extents = static_cast<std::uint32_t>(s.hot_extents);
  status.write_alone = control::to_string(config.write_alone);
  control::PeerStatus peer;
  peer.name = config.peer_node().name;
  peer.link = link_word(s, facts);
  peer.replica = map(s.peer_replica);
  peer.dirty_bytes = s.dirty_bytes;
  peer.resync = progress_of(s, facts);
  peer.queue_bytes = s.queue_bytes;
  if (s.oldest_unacknowledged != Instant::never()) {
    const Duration age = std::max(Duration{}, facts.now - s.oldest_unacknowledged);
    peer.rpo_s = static_cast<double>(age.nanoseconds()) / 1e9;
  }
  peer.path = facts.path;
  peer.resolution = map(s.peer_resolution);
  status.peers.push_back(std::move(peer));
  return status;
}

core::Policy policy_of(const control::MirrorConfig& config) {
  core::Policy p;
  p.mode = static_cast<core::Mode>(config.mode_towards(config.peer_node()));
  p.write_alone = static_cast<core::WriteAlone>(config.write_alone);
  p.after_restart = static_cast<core::AfterRestart>(config.after_restart);
  p.async_promote = static_cast<core::AsyncPromote>(config.async_promote);
  p.queue_policy = config.queue_policy == control::QueuePolicy::kBlock ? core::QueuePolicy::block
                                                                       : core::QueuePolicy::track;
  p.hold_resync = config.hold_resync;
  p.queue_bytes_max = config.queue_bytes_max;
  p.queue_age_max = config.queue_age_max;
  p.resync_rate_bytes_per_s_min = config.resync_rate_bytes_per_s_min.value();
  p.resync_rate_bytes_per_s_max = config.resync_rate_bytes_per_s_max.value();
  p.peer_timeout = config.peer_timeout;
  return p;
}

namespace {

struct EventText {
  const char* kind;
  control::Severity severity;
  const char* text;
  const char* a;  // what Event::a is, null: nothing
  const char* b;
};

EventText event_text(core::EventKind kind) {
  using K = core::EventKind;
  using S = control::Severity;
  switch (kind) {
    case K::link_up:
      return {"link.up", S::kInfo, "a connection to the peer is there", nullptr, nullptr};
    case K::link_down:
      return {"link.down", S::kWarning, "the connection to the peer is lost", nullptr, nullptr};
    case K::handshake_refused:
      return {"link.refused", S::kError, "the two nodes do not fit together", nullptr, nullptr};
    case K::split_brain:
      return {"split_brain", S::kCritical, "both sides took writes of their own", nullptr, nullptr};
    case K::session_started:
      return {"session.started", S::kInfo, "replication runs", "session", "rule"};
    case K::resync_started:
      return {"resync.started", S::kInfo, "resync begins", "bytes", "full"};
    case K::resync_finished:
      return {"resync.finished", S::kInfo, "resync is done", "generation", nullptr};
    case K::peer_uptodate:
      return {"peer.uptodate", S::kInfo, "the peer's copy is up to date", nullptr, nullptr};
    case K::generation_new:
      return {"generation.new", S::kInfo, "a new generation of the data", "generation", "cause"};
    case K::degraded:
      return {"degraded", S::kWarning, "writing without the peer: one copy", "generation", nullptr};
    case K::frozen:
      return {"frozen", S::kError, "writes wait for the right to write alone", nullptr, nullptr};
    case K::unfrozen:
      return {"unfrozen", S::kInfo, "writes go on", nullptr, nullptr};
    case K::promoted:
      return {"role.source", S::kInfo, "this node is source", "term", nullptr};
    case K::demoted:
      return {"role.target", S::kInfo, "this node is target", "term", nullptr};
    case K::deposed:
      return {"role.deposed", S::kError, "another node took over as source", "term", nullptr};
    case K::disk_failed:
      return {"disk.failed", S::kCritical, "the local disk failed", "errno", "offset"};
    case K::peer_disk_failed:
      return {"peer.disk_failed", S::kError, "the peer's disk failed", "errno", nullptr};
    case K::read_repaired:
      return {"read.repaired", S::kWarning, "a bad read was repaired from the peer", "offset", "length"};
    case K::metadata_failed:
      return {"metadata.failed", S::kCritical, "the metadata cannot be written", "errno", nullptr};
    case K::data_loss_forced:
      return {"data.loss", S::kCritical, "promoted by force: the peer's writes here are lost",
              "bytes_at_most", nullptr};
    case K::resync_discards:
      return {"data.discarded", S::kWarning, "this node's writes that the peer never had are overwritten",
              "bytes_at_most", nullptr};
    case K::rolled_back:
      return {"replica.rolled_back", S::kError, "a replica went back in time", nullptr, nullptr};
    case K::queue_full:
      return {"queue.full", S::kWarning, "the queue to the peer is full", "bytes", nullptr};
    case K::stopped:
      return {"stopped", S::kInfo, "stopped in order", nullptr, nullptr};
  }
  TB_ASSERT(false);
}

// As `status` and `explain` show them: generations in 16 hexadecimal digits, a cause as its word.
std::string field_text(std::string_view name, std::uint64_t value) {
  if (name == "cause" && value <= static_cast<std::uint64_t>(bitmap::GenerationCause::rewind))
    return std::string{cause_word(static_cast<bitmap::GenerationCause>(value))};
  if (name != "generation") return std::to_string(value);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text(16, '0');
  for (std::size_t i = text.size(); i-- > 0; value >>= 4) text[i] = kDigits[value & 0xf];
  return text;
}

}  // namespace

control::Event event_of(const core::Event& event, const control::MirrorConfig& config) {
  const EventText text = event_text(event.kind);
  control::Event result;
  result.mirror = config.name;
  result.kind = text.kind;
  result.severity = text.severity;
  result.text = text.text;
  if (event.reason != core::Refusal::none) {
    const RefusalText& why = refusal_text(event.reason);
    result.text += ": " + for_mirror(why.message, config.name, config.peer_node().name);
    result.fields.emplace_back("reason", why.word);
  }
  if (text.a != nullptr) result.fields.emplace_back(text.a, field_text(text.a, event.a));
  if (text.b != nullptr) result.fields.emplace_back(text.b, field_text(text.b, event.b));
  return result;
}

}  // namespace twinblock::engine
