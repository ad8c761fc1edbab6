#include "replicator/core/decide.hpp"

#include "replicator/core/mutants.hpp"
#include "replicator/core/session_marks.hpp"

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

// It was restored from an older copy: from before the last session, or it has less on stable storage than it
// told its peer in this one.
bool rolled_back(const NodeView& v, const NodeView& peer) {
  const SessionMarks mine = marks_of(v, peer);
  const SessionMarks theirs = marks_of(peer, v);
  const bool comparable = !knows_another(v, peer) && !knows_another(peer, v);
  if (comparable && fell_behind(mine, theirs) && !TB_MUTANT(rollback_not_noticed)) return true;
  // It has joined a session since: what the peer remembers is of before, and was judged then.
  if (const auto shared = shared_mark(mine, theirs); shared && *shared != theirs.common) return false;
  return peer.state.your_identity == v.identity && v.state.stable_sequence < peer.state.your_stable_sequence;
}

// Interrupted while we filled it for the first time: our bits say what it still lacks of everything.
bool first_resync_resumable(const NodeView& leader, const NodeView& follower) {
  const StateBody& l = leader.state;
  const StateBody& f = follower.state;
  return l.needs_full == 0 && l.your_identity == follower.identity && l.base_for_you == 0 &&
         follower.mirror_id == leader.mirror_id && f.resync_active != 0 &&
         f.resync_from == leader.node.value() && knows(l, f.resync_generation);
}

// A forced generation begins on a copy that was known to lack something: whoever stands before it may have
// what it lacks, so it is never simply newer (DESIGN §6).
bool forced_apart(const StateBody& s, const StateBody& other) {
  for (std::uint32_t i = 0; i < s.history.count; ++i) {
    const wire::HistoryEntry& e = s.history.entries[i];
    if (knows(other, e.id)) return false;
    if (e.cause == static_cast<std::uint8_t>(GenerationCause::forced)) return true;
  }
  return false;
}

// The operator's decision, made in view of exactly the generation that the other side has now.
bool decided(const NodeView& self, const NodeView& other, Resolution resolution) {
  return static_cast<Resolution>(self.state.resolution) == resolution &&
         self.state.resolution_against == current(other.state);
}
bool loses(const NodeView& self, const NodeView& other) {
  return decided(self, other, Resolution::discard) || decided(other, self, Resolution::keep);
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
  // Void bits on either side: what the follower wrote is known by its own bits only.
  v.full = full || follower.state.needs_full != 0 || !bits_usable(leader, follower);
  return v;
}

const NodeView& first_leader(const NodeView& a, const NodeView& b) {
  const bool a_source = effective_source(a.state, b.state);
  const bool b_source = effective_source(b.state, a.state);
  if (a_source != b_source) return a_source ? a : b;
  // Whoever may have lost unflushed data in a power loss learns it back from the one that did not: a target
  // in sync has everything that was acknowledged (memsync, and its process died too: all but what it had not
  // written yet).
  // Not if one is ahead of the other. The last source may have answered ahead; one of before that still is
  // ahead was given up when the last one was promoted without it, after a flush, and nothing was written
  // since.
  const auto ahead = [](const NodeView& n) { return n.state.mode == static_cast<std::uint8_t>(Mode::async); };
  if (a.state.clean != b.state.clean && !ahead(a) && !ahead(b)) return a.state.clean != 0 ? a : b;
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
  // What differs was never acknowledged: the source waited for this peer until it crashed or lost the
  // link. (A follower that lost its cache lacks acknowledged writes, too.)
  v.stays_promotable = !v.full && f.clean != 0 && static_cast<PeerData>(l.data_of_you) != PeerData::lacks &&
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
  // A disk that failed under a source alone holds the newest history, though damaged; one that failed before
  // its peer was forced holds what the peer lacks. Nobody may overwrite either by himself. Where the peer may
  // have everything, no write was acknowledged without it; but then it has noted that the disk failed, or the
  // source answered before the peer had written (memsync, async), and what was on its way is on this disk
  // alone.
  const std::uint64_t last = current(bad.state);
  const bool lacked = static_cast<PeerData>(bad.state.data_of_you) == PeerData::lacks;
  const bool ahead = lacked || bad.state.mode != static_cast<std::uint8_t>(Mode::sync);
  // (Whoever promoted the other one since has decided that.)
  const bool answered_ahead = bad.state.mode == static_cast<std::uint8_t>(Mode::async) &&
                              bad.state.term_own > good.state.term_own &&
                              (bad.state.dirty_regions > 0 || bad.state.needs_full != 0);
  const bool left_behind =
      answered_ahead || (ahead && !knows(good.state, last)) || forced_apart(good.state, bad.state);
  const bool only_copy = bad.state.resync_active == 0 && last != 0 && left_behind;
  if (only_copy) {
    const bool given_up = loses(bad, good) && !loses(good, bad);
    return given_up ? resync(80, good, bad, true) : refuse(53, Refusal::no_good_copy);
  }
  return resync(52, good, bad, false);
}

// Rows 80 to 84: neither side may simply be overwritten.
Verdict diverged(const NodeView& a, const NodeView& b) {
  const bool a_loses = loses(a, b);
  const bool b_loses = loses(b, a);
  if (a_loses != b_loses) {
    const NodeView& winner = a_loses ? b : a;
    const NodeView& loser = a_loses ? a : b;
    if (effective_source(loser.state, winner.state)) return refuse(84, Refusal::split_brain);
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

// Rows 70 to 73: the leader went on from where the follower stands.
Verdict newer(std::uint8_t rule, const NodeView& leader, const NodeView& follower) {
  if (!forced_apart(leader.state, follower.state)) {
    // A source cannot be overwritten under its clients, and has no generation of its own to be kept by name.
    const bool in_use = effective_source(follower.state, leader.state);
    return in_use ? refuse(72, Refusal::two_sources) : resync(rule, leader, follower, false);
  }
  Verdict v = diverged(leader, follower);
  if (v.rule == 82) v.rule = 73;
  return v;
}

// Rows 40 to 42: at least one side says less of itself than the other remembers.
Verdict restored(const NodeView& a, const NodeView& b, bool a_old, bool b_old) {
  if (a_old && b_old) return refuse(40, Refusal::rolled_back);
  const NodeView& good = a_old ? b : a;
  const NodeView& old = a_old ? a : b;
  if (effective_source(old.state, good.state) || disk(good.state) == DiskState::inconsistent) {
    return refuse(41, Refusal::rolled_back);
  }
  const bool mixture = disk(old.state) == DiskState::inconsistent;
  // Put back to a time when it was alone, it goes on alone, and names no new generation for that.
  const bool lacks = static_cast<PeerData>(old.state.data_of_you) == PeerData::lacks;
  const bool wrote_unnamed = lacks && old.state.term_own != 0 && !mixture;
  if (knows(good.state, current(old.state)) && !wrote_unnamed) return resync(42, good, old, true);
  // It went on by itself after it was restored.
  Verdict v = mixture ? with_inconsistent(a, b) : diverged(a, b);
  v.full = v.kind == VerdictKind::resync;
  return v;
}

}  // namespace

bool knows_another(const NodeView& self, const NodeView& peer) {
  return self.state.your_identity != 0 && self.state.your_identity != peer.identity;
}

SessionMarks marks_of(const NodeView& self, const NodeView& peer) {
  if (self.state.your_identity != peer.identity) return {};
  return {self.state.session, self.state.session_common};
}

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
    const NodeView& empty = has_data(a) ? b : a;
    Verdict v = resync(12, full, empty, true);
    v.full = !first_resync_resumable(full, empty) || rolled_back(empty, full) || rolled_back(full, empty);
    return v;
  }
  if (a.mirror_id != b.mirror_id) return refuse(20, Refusal::mirror_id);

  const bool a_failed = disk(sa) == DiskState::failed;
  const bool b_failed = disk(sb) == DiskState::failed;
  const bool a_old = rolled_back(a, b);
  const bool b_old = rolled_back(b, a);
  if (a_failed || b_failed) {
    if (a_failed != b_failed && (a_old || b_old)) return refuse(41, Refusal::rolled_back);
    const NodeView& failed = a_failed ? a : b;
    const NodeView& other = a_failed ? b : a;
    // Same generation, or the failed source's newest one, in which it has acknowledged nothing: it waited for
    // this very peer to note it. What an async source was ahead of its peer is lost only by a decision.
    const bool same =
        current(failed.state) == current(other.state) ||
        (failed.state.history.count > 1 && failed.state.history.entries[0].parent == current(other.state));
    const bool waited =
        failed.state.dirty_regions == 0 || failed.state.mode == static_cast<std::uint8_t>(Mode::sync);
    const bool complete = waited && static_cast<PeerData>(failed.state.data_of_you) != PeerData::lacks;
    if (a_failed != b_failed && effective_source(failed.state, other.state) && same && complete &&
        other.state.clean != 0 && disk(other.state) == DiskState::consistent) {
      Verdict v;  // a source that lost its disk goes on through its peer
      v.kind = VerdictKind::in_sync;
      v.rule = 30;
      v.leader = failed.node;
      return v;
    }
    return refuse(31, Refusal::peer_disk_failed);
  }

  if (a_old || b_old) return restored(a, b, a_old, b_old);

  if (disk(sa) == DiskState::inconsistent || disk(sb) == DiskState::inconsistent)
    return with_inconsistent(a, b);
  if (current(sa) == current(sb)) return same_generation(a, b);
  if (knows(sb, current(sa))) return newer(70, b, a);
  if (knows(sa, current(sb))) return newer(71, a, b);
  return diverged(a, b);
}

}  // namespace twinblock::core
