#include "replicator/core/decide.hpp"

#include "replicator/core/mutants.hpp"

namespace twinblock::core {
namespace {

using wire::StateBody;

bool has_data(const NodeView& v) {
  return v.mirror_id != 0 && v.state.history.count > 0;
}
std::uint64_t current(const StateBody& s) {
  return s.history.count == 0 ? 0 : s.history.entries[0].id;
}
DiskState disk(const StateBody& s) {
  return static_cast<DiskState>(s.disk_state);
}

// Position of a generation in a history; count if absent. 0 is the current one.
std::uint32_t position(const StateBody& s, std::uint64_t id) {
  for (std::uint32_t i = 0; i < s.history.count; ++i) {
    if (s.history.entries[i].id == id) return i;
  }
  return s.history.count;
}
bool knows(const StateBody& s, std::uint64_t id) {
  return id != 0 && position(s, id) < s.history.count;
}

bool common_ancestor(const StateBody& a, const StateBody& b) {
  for (std::uint32_t i = 0; i < a.history.count; ++i) {
    if (knows(b, a.history.entries[i].id)) return true;
  }
  return false;
}

// The leader's bits for the follower cover every difference: they belong to this very replica, and it stands
// at the generation they are relative to or at a later one of the leader's own history.
bool bits_usable(const NodeView& leader, const NodeView& follower) {
  const StateBody& l = leader.state;
  const std::uint64_t theirs = current(follower.state);
  if (l.needs_full != 0 || l.your_identity != follower.identity || theirs == 0) return false;
  if (l.base_for_you == theirs) return true;
  if (!knows(l, l.base_for_you)) return false;
  return knows(l, theirs) && position(l, theirs) <= position(l, l.base_for_you);
}

// A replica that says less than its peer remembers of it was restored from an older copy.
bool rolled_back(const NodeView& v, const StateBody& remembered) {
  if (remembered.your_identity != v.identity) return false;
  return v.state.attach_count < remembered.your_attach_count ||
         v.state.stable_sequence < remembered.your_stable_sequence;
}

Verdict refuse(std::uint8_t rule, Refusal why) {
  Verdict v;
  v.rule = rule;
  v.refusal = why;
  return v;
}

Verdict resync(std::uint8_t rule, const NodeView& leader, const NodeView& follower, bool full) {
  Verdict v;
  v.kind = VerdictKind::resync;
  v.rule = rule;
  v.leader = leader.node;
  v.full = full || !bits_usable(leader, follower);
  return v;
}

const NodeView& first_leader(const NodeView& a, const NodeView& b) {
  const bool a_source = effective_source(a.state, b.state);
  const bool b_source = effective_source(b.state, a.state);
  if (a_source != b_source) return a_source ? a : b;
  // Whoever may have lost unflushed data in a power loss learns it back from the one that did not: a target
  // in sync has everything that was acknowledged.
  const auto async = static_cast<std::uint8_t>(Mode::async);
  if (a.state.clean != b.state.clean && a.state.mode != async && b.state.mode != async) {
    return a.state.clean != 0 ? a : b;
  }
  if (a.state.term_own != b.state.term_own) return a.state.term_own > b.state.term_own ? a : b;
  if (a.state.was_source != b.state.was_source) return a.state.was_source != 0 ? a : b;
  return a.node < b.node ? a : b;
}

// Rows 60 to 63: both stand at the same generation.
Verdict same_generation(const NodeView& a, const NodeView& b) {
  const NodeView& leader = first_leader(a, b);
  const NodeView& follower = &leader == &a ? b : a;
  const StateBody& l = leader.state;
  const StateBody& f = follower.state;
  const bool identity_known = l.your_identity == follower.identity;
  if (l.needs_full != 0 || f.needs_full != 0 || !identity_known) return resync(60, leader, follower, true);
  if (l.dirty_regions == 0 && f.dirty_regions == 0) {
    Verdict v;
    v.kind = VerdictKind::in_sync;
    v.rule = 61;
    v.leader = leader.node;
    return v;
  }
  Verdict v = resync(62, leader, follower, false);
  // What differs was never acknowledged: the source waited for this peer until it crashed or lost the link.
  v.stays_promotable = !v.full && static_cast<PeerData>(l.data_of_you) != PeerData::lacks &&
                       f.dirty_regions == 0 && disk(f) == DiskState::consistent &&
                       l.mode == static_cast<std::uint8_t>(Mode::sync) &&
                       f.mode == static_cast<std::uint8_t>(Mode::sync);
  if (v.stays_promotable) v.rule = 63;
  return v;
}

// Rows 50 to 53: at least one side is a mixture.
Verdict with_inconsistent(const NodeView& a, const NodeView& b) {
  const bool a_bad = disk(a.state) == DiskState::inconsistent;
  const bool b_bad = disk(b.state) == DiskState::inconsistent;
  if (a_bad && b_bad) return refuse(50, Refusal::no_good_copy);
  const NodeView& good = a_bad ? b : a;
  const NodeView& bad = a_bad ? a : b;
  if (bad.state.resync_active != 0 && bad.state.resync_generation != 0 &&
      !knows(good.state, bad.state.resync_generation)) {
    return refuse(51, Refusal::resync_origin_lost);
  }
  // A disk that failed under a source alone holds the newest history, though damaged: nobody may overwrite it
  // by himself.
  const std::uint64_t theirs = current(bad.state);
  const bool behind = theirs == 0 || knows(good.state, theirs) || bad.state.resync_active != 0;
  if (!behind) return refuse(53, Refusal::no_good_copy);
  return resync(52, good, bad, false);
}

// Rows 80 to 83: neither knows the other's current generation.
Verdict diverged(const NodeView& a, const NodeView& b) {
  const auto gives_up = [](const NodeView& self, const NodeView& other) {
    return static_cast<Resolution>(self.state.resolution) == Resolution::discard &&
           self.state.resolution_against == current(other.state);
  };
  const auto insists = [](const NodeView& self, const NodeView& other) {
    return static_cast<Resolution>(self.state.resolution) == Resolution::keep &&
           self.state.resolution_against == current(other.state);
  };
  const bool a_loses = gives_up(a, b) || insists(b, a);
  const bool b_loses = gives_up(b, a) || insists(a, b);
  if (a_loses != b_loses) {
    const NodeView& winner = a_loses ? b : a;
    const NodeView& loser = a_loses ? a : b;
    Verdict v = resync(80, winner, loser, false);
    // The union of both bitmaps covers all differences if both are relative to the same ancestor.
    const StateBody& w = winner.state;
    const StateBody& l = loser.state;
    v.full = !(w.needs_full == 0 && l.needs_full == 0 && w.your_identity == loser.identity &&
               l.your_identity == winner.identity && w.base_for_you == l.base_for_you &&
               knows(w, w.base_for_you) && knows(l, l.base_for_you));
    return v;
  }
  if (TB_MUTANT(split_brain_newest_wins)) {
    const NodeView& leader = first_leader(a, b);
    return resync(81, leader, &leader == &a ? b : a, false);
  }
  if (common_ancestor(a.state, b.state)) return refuse(82, Refusal::split_brain);
  return refuse(83, Refusal::unrelated);
}

}  // namespace

bool effective_source(const StateBody& self, const StateBody& other) {
  return self.is_source != 0 && other.term_seen <= self.term_own;
}

Verdict decide(const NodeView& mine, const NodeView& theirs) {
  // Evaluate in one fixed order of the nodes, so that both sides compute literally the same thing.
  const NodeView& a = mine.node < theirs.node ? mine : theirs;
  const NodeView& b = mine.node < theirs.node ? theirs : mine;
  const StateBody& sa = a.state;
  const StateBody& sb = b.state;

  if (!has_data(a) && !has_data(b)) return refuse(10, Refusal::no_data);
  if (!has_data(a) || !has_data(b)) {
    const NodeView& full = has_data(a) ? a : b;
    if (disk(full.state) == DiskState::inconsistent || disk(full.state) == DiskState::failed) {
      return refuse(11, Refusal::no_good_copy);
    }
    return resync(12, full, has_data(a) ? b : a, true);
  }
  if (a.mirror_id != b.mirror_id) return refuse(20, Refusal::mirror_id);

  const bool a_failed = disk(sa) == DiskState::failed;
  const bool b_failed = disk(sb) == DiskState::failed;
  if (a_failed || b_failed) {
    const NodeView& failed = a_failed ? a : b;
    const NodeView& other = a_failed ? b : a;
    if (a_failed != b_failed && effective_source(failed.state, other.state) &&
        current(failed.state) == current(other.state) && disk(other.state) == DiskState::consistent) {
      Verdict v;  // a source that lost its disk goes on through its peer
      v.kind = VerdictKind::in_sync;
      v.rule = 30;
      v.leader = failed.node;
      return v;
    }
    return refuse(31, Refusal::peer_disk_failed);
  }

  const bool a_old = rolled_back(a, sb);
  const bool b_old = rolled_back(b, sa);
  if (a_old && b_old) return refuse(40, Refusal::rolled_back);
  if (a_old || b_old) {
    const NodeView& good = a_old ? b : a;
    const NodeView& old = a_old ? a : b;
    if (effective_source(old.state, good.state) || disk(good.state) == DiskState::inconsistent) {
      return refuse(41, Refusal::rolled_back);
    }
    return resync(42, good, old, true);
  }

  if (disk(sa) == DiskState::inconsistent || disk(sb) == DiskState::inconsistent)
    return with_inconsistent(a, b);
  if (current(sa) == current(sb)) return same_generation(a, b);
  if (knows(sb, current(sa))) return resync(70, b, a, false);
  if (knows(sa, current(sb))) return resync(71, a, b, false);
  return diverged(a, b);
}

}  // namespace twinblock::core
