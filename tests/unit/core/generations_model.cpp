#include "tests/unit/core/generations_model.hpp"

#include <algorithm>

namespace twinblock::core::model {

// ------------------------------------------------------------------------------------------------ writing

std::optional<Broken> Model::acknowledge(State& s, Small n, Small write) const {
  const Small generation = s.node[n].memory.current();
  s.acked = with(s.acked, bit(write));
  if ((s.acked_in[generation] & ~s.node[n].content) != 0) {
    return Broken{"P10: two sources acknowledged writes in one generation"};
  }
  s.acked_in[generation] = with(s.acked_in[generation], bit(write));
  return std::nullopt;
}

// Answers the write in flight.
std::optional<Broken> Model::answer(State& s, Small n) const {
  Node& node = s.node[n];
  const Small write = s.pending.write;
  if (s.pending.orphan != 0) {
    if (conditions_.fault != Fault::bump_after_ack) node.durable = node.memory;
    node.degrading = 0;
  } else if (s.pending.applied == 0) {
    // The follower gets it later in the stream, if the link lives; its intent stays.
    s.session.late = with(s.session.late, bit(write));
  }
  s.pending = {};
  return acknowledge(s, n, write);
}

// The follower has applied everything that was sent.
void Model::drain(State& s) const {
  Node& follower = s.node[other(s.session.leader)];
  follower.content = with(follower.content, s.session.late);
  s.session.late = 0;
}

std::optional<Broken> Model::write_alone(State& s, Small n) const {
  Node& node = s.node[n];
  if (conditions_.fault != Fault::bump_after_ack) node.durable = node.memory;
  node.degrading = 0;
  const Small write = s.written++;
  s.went_on[n] = 1;
  node.content = with(node.content, bit(write));
  node.dirty = with(node.dirty, bit(write));
  return acknowledge(s, n, write);
}

void Model::end_session(State& s) const {
  if (streaming(s)) {
    Node& leader = s.node[s.session.leader];
    if (leader.running != 0) {  // a crashed one finds its intents at the next start
      leader.dirty = with(leader.dirty, leader.hot);
      leader.hot = 0;
    }
    if (s.pending.active != 0) s.pending.orphan = 1;
  }
  const Small link = s.session.link;
  s.session = {};
  s.session.link = link;
}

void Model::crash(State& s, Small n, bool saved) const {
  Node& node = s.node[n];
  node.running = 0;
  end_session(s);
  if (s.pending.active != 0 && s.pending.node == n) s.pending = {};
  if (saved) node.durable = node.memory;
  node.memory = node.durable;
  node.promote_stage = node.promote_kind = node.demote_stage = 0;
  node.degrading = node.granted = 0;
  node.role = code(Role::target);
}

void Model::boot(State& s, Small n) const {
  Node& node = s.node[n];
  node.running = 1;
  if (conditions_.fault != Fault::hot_extents_forgotten) node.dirty = with(node.dirty, node.hot);
  node.hot = 0;
  if (conditions_.power_cuts) node.memory.lost_cache = 1;
  if (node.memory.disk == code(DiskState::failed)) node.memory.disk = code(DiskState::inconsistent);
  node.durable = node.memory;
}

// ------------------------------------------------------------------------------------------------ handshake

std::optional<Broken> Model::check_verdict(const State& s, const Verdict& v) const {
  if (conditions_.fault != Fault::newest_wins && !(verdict(s, 1) == v))
    return Broken{"the two sides disagree"};
  if (v.kind == VerdictKind::refuse) {
    if (s.tainted == 0 && v.refusal == Refusal::split_brain && conditions_.fault == Fault::none) {
      return Broken{"split-brain although nobody forced or confirmed wrongly, row " + std::to_string(v.rule)};
    }
    return std::nullopt;
  }
  const Node& leader = s.node[v.leader.value()];
  const Node& follower = s.node[other(v.leader.value())];
  if (leader.memory.disk != code(DiskState::consistent)) return Broken{"a bad replica leads"};
  const bool follower_is_source =
      follower.role == code(Role::source) && leader.memory.term_seen <= follower.memory.term_own;
  if (follower_is_source) return Broken{"a source follows, row " + std::to_string(v.rule)};
  const Small gone = s.acked & follower.content & ~leader.content;
  if (gone != 0 && v.rule != 80) {
    return Broken{"P10: acknowledged writes would be overwritten silently, row " + std::to_string(v.rule)};
  }
  const Small differ = leader.content ^ follower.content;
  if (v.kind == VerdictKind::in_sync && differ != 0) return Broken{"in sync, but the contents differ"};
  if (v.stays_promotable && (differ & s.acked) != 0)
    return Broken{"row 63 although acknowledged data differ"};
  return std::nullopt;
}

std::optional<Broken> Model::negotiate(State& s) const {
  const Verdict v = verdict(s, 0);
  if (auto broken = check_verdict(s, v)) return broken;
  const std::array<bool, 2> was = {acting_source(s.node[0]), acting_source(s.node[1])};
  for (Small n = 0; n < 2; ++n) {
    Node& node = s.node[n];
    if (!was[n] || s.node[other(n)].memory.term_seen <= node.memory.term_own) continue;
    node.role = code(Role::target);  // deposed
    node.memory.was_source = 0;
    if (s.pending.active != 0 && s.pending.node == n) s.pending = {};
  }
  if (v.kind != VerdictKind::refuse) prepare(s, v);
  return std::nullopt;
}

// prepare_session() and the first stage of pump_prepare() of the leader.
void Model::prepare(State& s, const Verdict& v) const {
  const Small l = v.leader.value();
  Node& leader = s.node[l];
  Node& follower = s.node[other(l)];
  Record& r = leader.memory;
  if (v.kind == VerdictKind::resync) {
    if (v.full) leader.dirty = kAllRegions;
    if (conditions_.fault != Fault::follower_bits_ignored) {
      leader.dirty = with(leader.dirty, with(follower.dirty, follower.hot));
    }
    leader.dirty = with(leader.dirty, leader.hot);
  }
  if (v.rule == 80) {  // the operator gave these up
    const Small gone = static_cast<Small>(s.acked & follower.content & ~leader.content);
    s.acked = without(s.acked, gone);
    for (Small& set : s.acked_in) set = without(set, gone);
  }
  const bool same = v.kind == VerdictKind::in_sync || v.stays_promotable;
  const bool equal_generation = follower.memory.current() == r.current();
  r.peer_known = 1;
  r.base = follower.memory.current();
  r.needs_full = 0;
  if (same) {
    if (r.data != code(PeerData::handed_over) || leader.role == code(Role::source)) {
      r.data = code(PeerData::maybe_current);
    }
    if (v.kind == VerdictKind::in_sync) r.lost_cache = 0;
  } else if (!equal_generation || conditions_.fault == Fault::lacks_before_follower ||
             conditions_.fault == Fault::bump_at_handshake) {
    if (equal_generation && conditions_.fault == Fault::bump_at_handshake && r.count < kHistory) {
      r.push(++s.generations, GenerationCause::degraded);
    }
    r.data = code(PeerData::lacks);
  } else {
    r.data = code(PeerData::maybe_current);
  }
  r.resolution = r.against = 0;
  r.term_seen = std::max(r.term_seen, follower.memory.term_seen);
  s.session.phase = code(Phase::negotiated);
  s.session.leader = l;
  s.session.rule = v.rule;
  s.session.resync = v.kind == VerdictKind::resync;
  s.session.same = same;
  s.session.follower_sees_source =
      leader.role == code(Role::source) && follower.memory.term_seen <= r.term_own;
}

// The leader's superblock is durable; the follower takes session_start.
void Model::offer(State& s) const {
  Node& leader = s.node[s.session.leader];
  Node& follower = s.node[other(s.session.leader)];
  leader.durable = leader.memory;
  Record& r = follower.memory;
  r.mirror_known = r.peer_known = 1;
  r.term_seen = std::max(r.term_seen, leader.memory.term_seen);
  const bool from_source = s.session.follower_sees_source != 0;
  if (from_source || r.term_own < leader.memory.term_own) r.was_source = 0;
  r.resolution = r.against = 0;
  if (r.data != code(PeerData::handed_over) || from_source || s.session.resync != 0) {
    r.data = code(PeerData::maybe_current);
  }
  r.needs_full = 0;
  if (s.session.resync != 0 && s.session.same == 0) {
    r.disk = code(DiskState::inconsistent);
    r.resync_active = 1;
    r.resync_generation = leader.memory.current();
  } else {
    r.disk = code(DiskState::consistent);
    if (s.session.resync == 0) r.lost_cache = 0;
    r.base = r.current();
  }
  s.session.phase = code(Phase::offered);
}

// The follower's superblock is durable; the leader takes session_ready.
std::optional<Broken> Model::ready(State& s) const {
  Node& leader = s.node[s.session.leader];
  Node& follower = s.node[other(s.session.leader)];
  if (conditions_.fault != Fault::resync_before_inconsistent) follower.durable = follower.memory;
  follower.dirty = follower.hot = 0;
  leader.granted = 0;
  s.went_on = {};
  if (s.session.resync == 0) {
    leader.dirty = 0;
    leader.hot = 0;
  }
  if (s.session.same == 0) leader.memory.data = code(PeerData::lacks);
  s.session.phase = code(Phase::streaming);
  s.session.follower_uptodate = s.session.in_ack_set = s.session.same;
  return std::nullopt;
}

std::optional<Broken> Model::copy(State& s, Small region) const {
  Node& leader = s.node[s.session.leader];
  Node& follower = s.node[other(s.session.leader)];
  const Small b = bit(region);
  if ((s.acked & b & follower.content & ~leader.content) != 0) {
    return Broken{"P10: an acknowledged write was overwritten"};
  }
  follower.content = with(without(follower.content, b), static_cast<Small>(leader.content & b));
  leader.dirty = without(leader.dirty, b);
  return std::nullopt;
}

// The end of a resync: join (leader, memory) - end (durable there, told, follower, memory) - done (durable).
void Model::finish(State& s, Step step) const {
  Node& leader = s.node[s.session.leader];
  Record& f = s.node[other(s.session.leader)].memory;
  if (step == Step::join) {
    s.session.joining = 1;
    if (conditions_.fault != Fault::mark_cleared_too_late) leader.memory.data = code(PeerData::maybe_current);
    return;
  }
  if (step == Step::end) {
    drain(s);
    leader.durable = leader.memory;
    s.session.end_sent = s.session.in_ack_set = 1;
    f.count = leader.memory.count;
    f.id = leader.memory.id;
    f.cause = leader.memory.cause;
    if (f.disk == code(DiskState::inconsistent)) f.disk = code(DiskState::consistent);
    f.resync_active = f.resync_generation = 0;
    f.lost_cache = 0;
    f.base = f.current();
    f.data = code(PeerData::maybe_current);
    return;
  }
  s.node[other(s.session.leader)].durable = f;
  s.session.follower_uptodate = 1;
  leader.memory.base = leader.memory.current();
  leader.memory.data = code(PeerData::maybe_current);
  leader.memory.lost_cache = 0;
  s.session.resync = s.session.joining = s.session.end_sent = 0;
}

// ------------------------------------------------------------------------------------------------ roles

void Model::persist_promotion(State& s, Small n, How how) const {
  Node& node = s.node[n];
  Record& r = node.memory;
  if (how == How::confirm_dead && !right_confirm(s, n)) s.tainted = 1;
  if (how == How::force) s.tainted = 1;
  r.term_seen = r.term_own = term_after(r.term_seen, n);
  r.was_source = 1;
  const bool handed_over = r.data == code(PeerData::handed_over);
  const bool behind = r.disk != code(DiskState::consistent);
  if (how == How::force && behind) {
    r.push(++s.generations, GenerationCause::forced);
    s.went_on[n] = 1;
    r.disk = code(DiskState::consistent);
    r.resync_active = r.resync_generation = 0;
    r.needs_full = 1;
    r.data = code(PeerData::lacks);
  } else if (r.data == code(PeerData::handed_over) || r.data == code(PeerData::unknown)) {
    r.data = code(PeerData::maybe_current);
  }
  node.role = code(Role::promoting);
  node.promote_stage = 1;
  node.promote_kind = handed_over ? kHandedOver : static_cast<Small>(how);
}

void Model::promote_forward(State& s, Small n) const {
  Node& node = s.node[n];
  Node& peer = s.node[other(n)];
  node.durable = node.memory;
  const auto abort = [&] {
    node.role = code(Role::target);
    node.promote_stage = 0;
    node.memory.was_source = 0;
  };
  if (!streaming(s)) {
    // "Handed over" was used up by persist_promotion(), but it was good.
    if (node.promote_kind == kHandedOver || may_promote(s, n, static_cast<How>(node.promote_kind)))
      become_source(s, n);
    else
      abort();
    return;
  }
  const bool mine_first = peer.promote_stage != 0 && peer.memory.term_own > node.memory.term_own;
  if (mine_first || (peer.role != code(Role::target) && peer.promote_stage == 0)) return abort();
  if (peer.promote_stage != 0) {
    peer.promote_stage = 0;
    peer.role = code(Role::target);
  }
  peer.memory.term_seen = node.memory.term_own;
  peer.memory.was_source = 0;
  if (peer.memory.data == code(PeerData::handed_over) && conditions_.fault != Fault::handover_outlives_term) {
    peer.memory.data = code(PeerData::maybe_current);
  }
  (leads(s, n) ? s.session.follower_sees_source : s.session.leader_sees_source) = 1;
  node.promote_stage = 2;
}

void Model::become_source(State& s, Small n) const {
  Node& node = s.node[n];
  node.role = code(Role::source);
  node.granted = node.promote_kind == static_cast<Small>(How::confirm_dead) ||
                 node.promote_kind == static_cast<Small>(How::force);
  node.promote_stage = node.promote_kind = 0;
  if (follows(s, n)) end_session(s);  // a new round makes us the leader
}

void Model::demote(State& s, const Event& e) const {
  Node& node = s.node[e.node];
  Node& peer = s.node[other(e.node)];
  const auto ended = [&] {
    node.role = code(Role::target);
    node.demote_stage = 0;
  };
  switch (e.step) {
    case Step::demote:
      --s.left.demotions;
      node.role = code(Role::demoting);
      node.memory.was_source = 0;
      node.demote_stage = 1;
      return;
    case Step::demote_forward: {
      node.durable = node.memory;
      const bool told = leads(s, e.node) && s.session.in_ack_set != 0 && s.session.resync == 0;
      if (!told) return ended();
      node.hot = 0;  // both flushed
      s.session.follower_sees_source = 0;
      if (peer.memory.data != code(PeerData::lacks)) peer.memory.data = code(PeerData::handed_over);
      node.demote_stage = 2;
      return;
    }
    case Step::demote_answered:
      peer.durable = peer.memory;
      return ended();
    default:
      return ended();
  }
}

// ------------------------------------------------------------------------------------------------ one step

void Model::dispatch(State& s, const Event& e, std::optional<Broken>& broken) const {
  Node& node = s.node[e.node];
  switch (e.step) {
    case Step::write_start:
      s.pending = {1, s.written++, e.node, s.session.in_ack_set, 0, s.session.end_sent, 0};
      node.content = with(node.content, bit(s.pending.write));
      node.hot = with(node.hot, bit(s.pending.write));
      return;
    case Step::write_apply:
      s.node[other(e.node)].content = with(s.node[other(e.node)].content, bit(s.pending.write));
      s.pending.applied = 1;
      return;
    case Step::write_ack:
      broken = answer(s, e.node);
      return;
    case Step::write_settle:
      drain(s);
      node.hot = 0;
      return;
    case Step::degrade:
      if (conditions_.fault != Fault::no_bump) node.memory.push(++s.generations, GenerationCause::degraded);
      node.memory.data = code(PeerData::lacks);
      node.degrading = 1;
      s.went_on[e.node] = 1;
      return;
    case Step::write_alone:
      broken = write_alone(s, e.node);
      return;
    case Step::grant:
      if (!right_confirm(s, e.node)) s.tainted = 1;
      node.granted = 1;
      return;
    case Step::cut:
      --s.left.cuts;
      end_session(s);
      s.session.link = 0;
      return;
    case Step::heal:
      s.session.link = 1;
      return;
    case Step::crash_saved:
    case Step::crash_lost:
      --s.left.crashes;
      return crash(s, e.node, e.step == Step::crash_saved);
    case Step::boot:
      return boot(s, e.node);
    case Step::disk_failure:
      --s.left.disk_failures;
      node.memory.disk = code(DiskState::failed);
      return crash(s, e.node, true);
    case Step::negotiate:
      broken = negotiate(s);
      return;
    case Step::offer:
      return offer(s);
    case Step::ready:
      broken = ready(s);
      return;
    case Step::copy:
      broken = copy(s, e.argument);
      return;
    case Step::join:
    case Step::end:
    case Step::done:
      return finish(s, e.step);
    case Step::promote:
      --s.left.promotions;
      return persist_promotion(s, e.node, static_cast<How>(e.argument));
    case Step::promote_forward:
      return promote_forward(s, e.node);
    case Step::promote_answered:
      if (!streaming(s)) {
        node.promote_stage = 1;
        return promote_forward(s, e.node);
      }
      s.node[other(e.node)].durable = s.node[other(e.node)].memory;
      return become_source(s, e.node);
    case Step::demote:
    case Step::demote_forward:
    case Step::demote_answered:
    case Step::demote_timeout:
      return demote(s, e);
    case Step::resolve_keep:
    case Step::resolve_discard:
      --s.left.resolutions;
      node.memory.resolution =
          static_cast<Small>(e.step == Step::resolve_keep ? Resolution::keep : Resolution::discard);
      node.memory.against = s.node[other(e.node)].memory.current();
      node.durable = node.memory;
      return;
  }
}

std::optional<Broken> Model::apply(State& s, const Event& e) const {
  std::optional<Broken> broken;
  dispatch(s, e, broken);
  if (!broken) broken = check(s);
  return broken;
}

// What must hold in every state.
std::optional<Broken> Model::check(const State& s) const {
  for (Small n = 0; n < 2; ++n) {
    const Node& node = s.node[n];
    if (node.role != code(Role::source)) continue;
    if (node.memory.disk != code(DiskState::consistent)) return Broken{"a bad replica is source"};
    if (s.tainted == 0 && (s.acked & ~node.content) != 0) {
      return Broken{"P1: an acknowledged write is missing on the source"};
    }
  }
  if (streaming(s)) {
    const Node& follower = s.node[other(s.session.leader)];
    if (follower.role == code(Role::source)) return Broken{"two sources in one session"};
    const Small flying = s.pending.active != 0 ? bit(s.pending.write) : Small{0};
    const Small differ = static_cast<Small>((s.node[0].content ^ s.node[1].content) & ~flying);
    const Small unequal = static_cast<Small>(differ & ~s.node[s.session.leader].dirty);
    if (s.session.follower_uptodate != 0 && s.session.resync == 0 && unequal != 0) {
      return Broken{"P8: up to date, but the contents differ"};
    }
    if (s.session.follower_uptodate != 0 && (differ & s.acked) != 0) {
      return Broken{"P1: up to date, but an acknowledged write is missing"};
    }
  }
  return std::nullopt;
}

}  // namespace twinblock::core::model
