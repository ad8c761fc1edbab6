// The start, what a node says of itself, and what may happen next.
#include "tests/unit/core/generations_model.hpp"

#include <algorithm>

namespace twinblock::core::model {
namespace {
constexpr std::uint64_t kMirrorId = 0xAA;

std::uint64_t real_term(Small t) {
  return t == 0 ? 0 : (std::uint64_t{t} >> 1) << 8 | (t & 1u);
}
}  // namespace

bool Record::knows(Small generation) const {
  return generation != 0 && std::find(id.begin(), id.begin() + count, generation) != id.begin() + count;
}

void Record::push(Small generation, GenerationCause why) {
  std::shift_right(id.begin(), id.end(), 1);
  std::shift_right(cause.begin(), cause.end(), 1);
  id[0] = generation;
  cause[0] = static_cast<Small>(why);
  if (count < kHistory) ++count;
}

State Model::initial() const {
  State s;
  s.left = conditions_.budget;
  for (Small n = 0; n < 2; ++n) {
    Record& r = s.node[n].memory;
    r.push(1, GenerationCause::created);
    r.disk = code(DiskState::consistent);
    r.data = code(PeerData::maybe_current);
    r.base = 1;
    r.term_own = n == 0 ? term_after(0, 0) : Small{0};
    r.term_seen = term_after(0, 0);
  }
  s.node[0].memory.was_source = 1;
  s.node[0].role = code(Role::source);
  s.session.phase = code(Phase::streaming);
  s.session.in_ack_set = s.session.follower_uptodate = s.session.follower_sees_source = 1;
  if (conditions_.fresh_target) {
    s.session = {};
    Record& a = s.node[0].memory;
    a.peer_known = 0;
    a.base = 0;
    a.needs_full = 1;
    a.data = code(PeerData::lacks);
    s.node[0].dirty = kAllRegions;
    Record& b = s.node[1].memory;
    b = {};
    b.mirror_known = b.peer_known = 0;
    b.disk = code(DiskState::inconsistent);
    b.needs_full = 1;
    b.data = code(PeerData::lacks);
    s.node[1].dirty = kAllRegions;
  }
  for (Node& n : s.node) n.durable = n.memory;
  return s;
}

NodeView Model::view(const State& s, Small n) const {
  const Node& node = s.node[n];
  const Record& r = node.memory;
  NodeView v;
  v.node = NodeIndex{n};
  v.identity = 100u + n;
  v.mirror_id = r.mirror_known != 0 ? kMirrorId : 0;
  wire::StateBody& b = v.state;
  b.is_source = node.role == code(Role::source);
  b.disk_state = r.disk;
  b.was_source = r.was_source;
  b.clean = r.lost_cache == 0;
  b.term_own = real_term(r.term_own);
  b.term_seen = real_term(r.term_seen);
  b.history.count = r.count;
  for (Small i = 0; i < r.count; ++i) {
    b.history.entries[i].id = r.id[i];
    b.history.entries[i].parent = i + 1 < r.count ? r.id[i + 1u] : 0;
    b.history.entries[i].cause = r.cause[i];
  }
  b.base_for_you = r.base;
  b.data_of_you = r.data;
  b.needs_full = r.needs_full;
  b.your_identity = r.peer_known != 0 ? 100u + other(n) : 0;
  b.dirty_regions = static_cast<std::uint64_t>(__builtin_popcount(node.dirty | node.hot));
  b.resync_active = r.resync_active;
  b.resync_from = other(n);
  b.resync_generation = r.resync_generation;
  b.resolution = r.resolution;
  b.resolution_against = r.against;
  return v;
}

Verdict Model::verdict(const State& s, Small mine) const {
  Verdict v = decide(view(s, mine), view(s, other(mine)));
  if (conditions_.fault == Fault::newest_wins && v.kind == VerdictKind::refuse &&
      v.refusal == Refusal::split_brain) {
    const bool first = s.node[0].memory.term_own > s.node[1].memory.term_own;
    v = {VerdictKind::resync, Refusal::none, 81, NodeIndex{static_cast<Small>(first ? 0 : 1)}, false, false};
  }
  return v;
}

// ------------------------------------------------------------------------------------- what may happen next

// A lone write needs "the peer lacks it"; who writes waits until that is durable.
bool Model::alone_ok(const Node& n) const {
  return n.memory.data == code(PeerData::lacks);
}

// The other one is dead, and it got no right of its own to go on after we last heard of it: neither the right
// to write alone, with a generation that we do not know, nor the source's role handed over by us.
bool Model::right_confirm(const State& s, Small n) const {
  const Node& dead = s.node[other(n)];
  if (dead.running != 0 || dead.durable.data == code(PeerData::handed_over)) return false;
  return s.went_on[other(n)] == 0 || s.node[n].memory.knows(dead.durable.current());
}

// promote_refusal() of the core.
bool Model::may_promote(const State& s, Small n, How how) const {
  const Node& node = s.node[n];
  const Record& r = node.memory;
  if (r.count == 0 || r.mirror_known == 0) return false;
  const bool bad = r.disk != code(DiskState::consistent);
  if (streaming(s)) {
    const bool lead = leads(s, n);
    if ((lead ? s.session.leader_sees_source : s.session.follower_sees_source) != 0) return false;
    return lead || s.session.follower_uptodate != 0;
  }
  if (bad) return how == How::force || conditions_.fault == Fault::promote_inconsistent;
  if (how == How::force || conditions_.fault == Fault::promote_without_proof) return true;
  if (r.data == code(PeerData::lacks) || r.data == code(PeerData::handed_over)) return true;
  if (how == How::confirm_dead) return true;
  return conditions_.fault == Fault::lone_boot_if_was_source && r.was_source != 0;
}

void Model::events(const State& s, std::vector<Event>& out) const {
  out.clear();
  for (Small n = 0; n < 2; ++n) node_events(s, n, out);
  session_events(s, out);
}

void Model::source_events(const State& s, Small n, std::vector<Event>& out) const {
  const Node& node = s.node[n];
  const bool room = s.written < s.left.writes && s.written < kRegions && s.pending.active == 0;
  if (node.role == code(Role::source) && room) {
    // Regions that may differ from a peer that counts are not written until they are equal (region_blocked).
    const bool blocked = (node.dirty & bit(s.written)) != 0 && !alone_ok(node);
    if (leads(s, n) && !blocked) out.push_back({Step::write_start, n});
    const bool quiet = !streaming(s) && !negotiating(s);
    if (quiet && (alone_ok(node) || node.degrading != 0)) out.push_back({Step::write_alone, n});
  }
  const bool wants = node.role == code(Role::source) && !streaming(s) && !negotiating(s) &&
                     node.degrading == 0 && !alone_ok(node) && s.generations < s.left.generations;
  const bool allowed = conditions_.write_alone_free || node.granted != 0;
  if (wants && allowed) out.push_back({Step::degrade, n});
  if (wants && !allowed && (conditions_.wrong_confirms || right_confirm(s, n)))
    out.push_back({Step::grant, n});
  if (node.role == code(Role::source) && s.pending.active == 0 && node.degrading == 0 &&
      s.left.demotions > 0 && !negotiating(s)) {
    out.push_back({Step::demote, n});
  }
  if (node.demote_stage == 1) out.push_back({Step::demote_forward, n});
  if (node.demote_stage == 2) {
    out.push_back({Step::demote_timeout, n});
    if (streaming(s)) out.push_back({Step::demote_answered, n});
  }
}

void Model::node_events(const State& s, Small n, std::vector<Event>& out) const {
  const Node& node = s.node[n];
  if (node.running == 0) {
    out.push_back({Step::boot, n});
    return;
  }
  source_events(s, n, out);
  const bool target = node.role == code(Role::target) && node.promote_stage == 0;
  if (target && s.left.promotions > 0 && !negotiating(s)) {
    if (may_promote(s, n, How::plain)) {
      out.push_back({Step::promote, n, static_cast<Small>(How::plain)});
    } else {
      const bool confirm = conditions_.wrong_confirms || right_confirm(s, n);
      if (confirm && may_promote(s, n, How::confirm_dead)) {
        out.push_back({Step::promote, n, static_cast<Small>(How::confirm_dead)});
      }
      const bool bad = node.memory.disk != code(DiskState::consistent);
      if (conditions_.wrong_confirms && bad && may_promote(s, n, How::force) &&
          s.generations < s.left.generations) {
        out.push_back({Step::promote, n, static_cast<Small>(How::force)});
      }
    }
  }
  if (node.promote_stage == 1) out.push_back({Step::promote_forward, n});
  if (node.promote_stage == 2) out.push_back({Step::promote_answered, n});
  if (s.left.crashes > 0) {
    out.push_back({Step::crash_saved, n});
    if (!(node.memory == node.durable)) out.push_back({Step::crash_lost, n});
  }
  const bool alone = !streaming(s) && !negotiating(s);
  if (s.left.disk_failures > 0 && (alone || !leads(s, n)) && !negotiating(s) &&
      node.memory.disk == code(DiskState::consistent)) {
    out.push_back({Step::disk_failure, n});
  }
}

void Model::session_events(const State& s, std::vector<Event>& out) const {
  const Node& a = s.node[0];
  const Node& b = s.node[1];
  const Pending& p = s.pending;
  if (s.session.link == 0) out.push_back({Step::heal});
  if (s.session.link != 0 && s.left.cuts > 0) out.push_back({Step::cut});
  const bool both = s.session.link != 0 && a.running != 0 && b.running != 0;
  const auto idle = [](const Node& n) {
    return n.promote_stage == 0 && n.demote_stage == 0 && n.degrading == 0;
  };
  if (both && s.session.phase == code(Phase::none) && idle(a) && idle(b)) {
    out.push_back({Step::negotiate});
    if (s.left.resolutions > 0 && verdict(s, 0).refusal == Refusal::split_brain) {
      for (Small n = 0; n < 2; ++n) {
        out.push_back({Step::resolve_keep, n});
        if (!acting_source(s.node[n])) out.push_back({Step::resolve_discard, n});
      }
    }
  }
  if (s.session.phase == code(Phase::negotiated)) out.push_back({Step::offer});
  if (s.session.phase == code(Phase::offered)) out.push_back({Step::ready});
  if (p.active != 0 && p.orphan == 0 && p.applied == 0) out.push_back({Step::write_apply, p.node});
  if (p.active != 0) {
    const bool expected = p.expected != 0 && conditions_.fault != Fault::ack_before_peer;
    const bool equal =
        leads(s, p.node) && s.session.in_ack_set != 0 && (s.node[p.node].dirty & bit(p.write)) == 0;
    const bool orphan_ok = alone_ok(s.node[p.node]) || s.node[p.node].degrading != 0 || equal;
    if (p.orphan != 0 ? orphan_ok : (!expected || p.applied != 0)) out.push_back({Step::write_ack, p.node});
  }
  if (!streaming(s)) return;
  const Node& leader = s.node[s.session.leader];
  if (p.active == 0 && leader.hot != 0) out.push_back({Step::write_settle, s.session.leader});
  if (s.session.resync == 0) return;
  for (Small r = 0; r < kRegions; ++r) {
    if (s.session.end_sent == 0 && (leader.dirty & bit(r)) != 0) {
      out.push_back({Step::copy, s.session.leader, r});
      break;  // disk order
    }
  }
  if (leader.dirty == 0 && s.session.joining == 0) out.push_back({Step::join});
  const bool drained = p.active == 0 || p.applied != 0 || p.after_end != 0;
  if (s.session.joining != 0 && s.session.end_sent == 0 && drained) out.push_back({Step::end});
  if (s.session.end_sent != 0) out.push_back({Step::done});
}

}  // namespace twinblock::core::model
