// Every row of docs/internals/generations.md with near misses, and what must hold for all states: both sides
// say the same, a bad replica never leads a good one, histories that parted are never resynced unasked.
#include "replicator/core/decide.hpp"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <initializer_list>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace twinblock::core {
namespace {

using wire::StateBody;

constexpr std::uint64_t kMirrorId = 7;

struct Two {
  NodeView a;
  NodeView b;
};

std::uint8_t code(DiskState s) {
  return static_cast<std::uint8_t>(s);
}
std::uint8_t code(PeerData d) {
  return static_cast<std::uint8_t>(d);
}

// Newest first. Ids of 100 and more are forced ones.
wire::History history(std::initializer_list<std::uint64_t> ids) {
  wire::History h;
  for (const std::uint64_t id : ids) {
    const auto cause = id >= 100 ? GenerationCause::forced : GenerationCause::degraded;
    h.entries[h.count++] = {id, 0, 1, static_cast<std::uint8_t>(cause)};
  }
  for (std::uint32_t i = 0; i + 1 < h.count; ++i) h.entries[i].parent = h.entries[i + 1].id;
  return h;
}

// Both consistent at generation 1, which A made as source; no bits; they have met.
Two equal_pair() {
  Two t;
  t.a.node = NodeIndex{0};
  t.b.node = NodeIndex{1};
  t.a.identity = 10;
  t.b.identity = 11;
  for (NodeView* v : {&t.a, &t.b}) {
    v->mirror_id = kMirrorId;
    StateBody& s = v->state;
    s.disk_state = code(DiskState::consistent);
    s.history = history({1});
    s.base_for_you = 1;
    s.data_of_you = code(PeerData::maybe_current);
    s.session = s.session_common = {3, 33};
    s.stable_sequence = s.your_stable_sequence = 50;
    s.clean = 1;
    s.term_seen = 0x100;
  }
  t.a.state.your_identity = 11;
  t.b.state.your_identity = 10;
  t.a.state.term_own = 0x100;
  t.a.state.was_source = 1;
  return t;
}

// A wrote alone: generation 2, three bits.
Two a_newer() {
  Two t = equal_pair();
  t.a.state.history = history({2, 1});
  t.a.state.data_of_you = code(PeerData::lacks);
  t.a.state.dirty_regions = 3;
  return t;
}

// Both wrote alone after generation 1.
Two parted() {
  Two t = a_newer();
  t.b.state.history = history({3, 1});
  t.b.state.data_of_you = code(PeerData::lacks);
  t.b.state.dirty_regions = 2;
  return t;
}

Two inconsistent_b() {
  Two t = a_newer();
  t.b.state.disk_state = code(DiskState::inconsistent);
  t.b.state.resync_active = 1;
  t.b.state.resync_generation = 2;
  return t;
}

// B has nothing, and never met A.
Two fresh_b() {
  Two t = equal_pair();
  t.b.mirror_id = 0;
  t.b.state = {};
  t.a.state.base_for_you = t.a.state.your_identity = 0;
  t.a.state.needs_full = 1;
  t.a.state.session = t.a.state.session_common = {};
  t.a.state.your_stable_sequence = 0;
  return t;
}

// To a state from before the last session.
void put_back(NodeView& v) {
  v.state.session = v.state.session_common = {2, 22};
}
void source(NodeView& v, std::uint64_t term) {
  v.state.is_source = v.state.was_source = 1;
  v.state.term_own = v.state.term_seen = term;
}
void resolve(NodeView& self, const NodeView& other, Resolution r) {
  self.state.resolution = static_cast<std::uint8_t>(r);
  self.state.resolution_against = other.state.history.entries[0].id;
}

Verdict both(const Two& t) {
  const Verdict mine = decide(t.a, t.b);
  EXPECT_EQ(mine, decide(t.b, t.a));
  return mine;
}

// The tables below name an outcome by its reason or by its leader alone.
// NOLINTBEGIN(google-explicit-constructor)
struct Outcome {
  Outcome(Refusal why) : refusal{why} {}
  Outcome(char who, bool everything = false) : leader{who}, full{everything} {}
  char leader = '-';  // 'A', 'B'; '-' refused
  bool full = false;
  Refusal refusal = Refusal::none;
};
// NOLINTEND(google-explicit-constructor)

struct Row {
  const char* what;
  Two (*base)();
  std::function<void(NodeView& a, NodeView& b)> change;
  int rule;
  Outcome outcome;
};

// NOLINTNEXTLINE(readability-function-size): one initialiser, no control flow
const std::vector<Row>& rows() {
  using V = NodeView&;
  const auto inconsistent = code(DiskState::inconsistent);
  const auto failed = code(DiskState::failed);
  static const std::vector<Row> table = {
      {"neither has data", fresh_b,
       [](V a, V b) {
         a = b;
         a.node = NodeIndex{0};
       },
       10, Refusal::no_data},
      {"a mirror id alone is no data", fresh_b, [](V a, V) { a.state.history = {}; }, 10, Refusal::no_data},
      {"only an inconsistent copy", fresh_b, [=](V a, V) { a.state.disk_state = inconsistent; }, 11,
       Refusal::no_good_copy},
      {"only a failed copy", fresh_b, [=](V a, V) { a.state.disk_state = failed; }, 11,
       Refusal::no_good_copy},
      {"fresh target", fresh_b, [](V, V) {}, 12, {'A', true}},
      {"replaced source: the other index",
       fresh_b,
       [](V a, V b) {
         std::swap(a, b);
         std::swap(a.node, b.node);
       },
       12,
       {'B', true}},
      {"first resync interrupted",
       fresh_b,
       [](V a, V b) {
         b.mirror_id = kMirrorId;
         b.identity = a.state.your_identity = 11;
         a.state.needs_full = 0;
         b.state.resync_active = 1;
         b.state.resync_from = 0;
         b.state.resync_generation = 1;
       },
       12,
       {'A', false}},
      {"first resync interrupted, from a history that is not A's",
       fresh_b,
       [](V a, V b) {
         b.mirror_id = kMirrorId;
         b.identity = a.state.your_identity = 11;
         a.state.needs_full = 0;
         b.state.resync_active = 1;
         b.state.resync_generation = 9;
       },
       12,
       {'A', true}},
      {"another mirror", equal_pair, [](V, V b) { b.mirror_id = 8; }, 20, Refusal::mirror_id},
      {"source goes on through its peer", equal_pair,
       [=](V a, V) {
         source(a, 0x100);
         a.state.disk_state = failed;
       },
       30, 'A'},
      {"source failed before its peer noted it", a_newer,
       [=](V a, V) {
         source(a, 0x100);
         a.state.disk_state = failed;
         a.state.data_of_you = code(PeerData::maybe_current);
       },
       30, 'A'},
      {"no source, disk failed", equal_pair, [=](V a, V) { a.state.disk_state = failed; }, 31,
       Refusal::peer_disk_failed},
      {"failed source, the peer is older", a_newer,
       [=](V a, V) {
         source(a, 0x100);
         a.state.disk_state = failed;
       },
       31, Refusal::peer_disk_failed},
      {"failed source, a higher term was seen", equal_pair,
       [=](V a, V b) {
         source(a, 0x100);
         a.state.disk_state = failed;
         b.state.term_seen = 0x201;
       },
       31, Refusal::peer_disk_failed},
      {"both failed", equal_pair,
       [=](V a, V b) {
         source(a, 0x100);
         a.state.disk_state = b.state.disk_state = failed;
       },
       31, Refusal::peer_disk_failed},
      {"both restored, one by its marks, one by what it had stable", equal_pair,
       [](V a, V b) {
         put_back(a);
         a.state.your_stable_sequence = 51;
         b.state.stable_sequence = 50;
       },
       40, Refusal::rolled_back},
      {"a restored source", equal_pair,
       [](V a, V) {
         source(a, 0x100);
         put_back(a);
       },
       41, Refusal::rolled_back},
      {"restored, the other one is a mixture", equal_pair,
       [=](V a, V b) {
         put_back(a);
         b.state.disk_state = inconsistent;
       },
       41, Refusal::rolled_back},
      {"restored: from before the last session", equal_pair, [](V, V b) { put_back(b); }, 42, {'A', true}},
      {"restored: stable sequence",
       equal_pair,
       [](V, V b) { b.state.stable_sequence = 49; },
       42,
       {'A', true}},
      {"restored: the last source follows", equal_pair, [](V a, V) { put_back(a); }, 42, {'B', true}},
      {"marks of another replica",
       equal_pair,
       [](V a, V b) {
         put_back(b);
         a.state.your_identity = 99;
       },
       60,
       {'A', true}},
      {"restored and went on by itself", parted, [](V, V b) { put_back(b); }, 82, Refusal::split_brain},
      {"restored, went on, given up",
       parted,
       [](V a, V b) {
         put_back(b);
         resolve(b, a, Resolution::discard);
       },
       80,
       {'A', true}},
      {"both are mixtures", inconsistent_b, [=](V a, V) { a.state.disk_state = inconsistent; }, 50,
       Refusal::no_good_copy},
      {"its resync came from a history we lack", inconsistent_b,
       [](V, V b) { b.state.resync_generation = 9; }, 51, Refusal::resync_origin_lost},
      {"interrupted resync goes on", inconsistent_b, [](V, V) {}, 52, 'A'},
      {"interrupted, the leader went on since", inconsistent_b,
       [](V a, V) {
         a.state.history = history({4, 2, 1});
       },
       52, 'A'},
      {"interrupted after a resolution",
       inconsistent_b,
       [](V, V b) {
         b.state.history = history({3, 1});
         b.state.data_of_you = code(PeerData::lacks);
       },
       52,
       {'A', true}},
      {"failed target is filled again", equal_pair,
       [=](V a, V b) {
         b.state.disk_state = inconsistent;
         a.state.dirty_regions = 1;
       },
       52, 'A'},
      {"replaced metadata", inconsistent_b, [](V, V b) { b.identity = 12; }, 52, {'A', true}},
      {"a source lost its disk, the peer may have all",
       a_newer,
       [=](V a, V) {
         a.state.disk_state = inconsistent;
         a.state.data_of_you = code(PeerData::maybe_current);
       },
       52,
       {'B', true}},
      {"a lone source lost its disk", a_newer, [=](V a, V) { a.state.disk_state = inconsistent; }, 53,
       Refusal::no_good_copy},
      {"a lone source lost its disk, given up",
       a_newer,
       [=](V a, V b) {
         a.state.disk_state = inconsistent;
         resolve(a, b, Resolution::discard);
       },
       80,
       {'B', true}},
      {"a lone source lost its disk, and is to be kept", a_newer,
       [=](V a, V b) {
         a.state.disk_state = inconsistent;
         resolve(a, b, Resolution::keep);
       },
       53, Refusal::no_good_copy},
      {"damaged, and the other was forced", equal_pair,
       [=](V a, V b) {
         a.state.disk_state = inconsistent;
         b.state.history = history({100, 1});
       },
       53, Refusal::no_good_copy},
      {"bits are void", equal_pair, [](V a, V) { a.state.needs_full = 1; }, 60, {'A', true}},
      {"the follower's bits are void", equal_pair, [](V, V b) { b.state.needs_full = 1; }, 60, {'A', true}},
      {"a stranger at the same generation (clone)",
       equal_pair,
       [](V, V b) { b.identity = 12; },
       60,
       {'A', true}},
      {"idle, both stopped", equal_pair, [](V, V) {}, 61, 'A'},
      {"in sync: the source leads, whatever its term", equal_pair, [](V, V b) { source(b, 0x301); }, 61, 'B'},
      {"in sync: was_source breaks an even term", equal_pair,
       [](V a, V b) {
         a.state.was_source = 0;
         b.state.was_source = 1;
         b.state.term_own = 0x100;
       },
       61, 'B'},
      {"in sync: the lower index breaks the rest", equal_pair,
       [](V a, V b) {
         a.state.was_source = 0;
         b.state.term_own = 0x100;
       },
       61, 'A'},
      {"target has bits, too", equal_pair,
       [](V a, V b) { a.state.dirty_regions = b.state.dirty_regions = 1; }, 62, 'A'},
      {"old source has bits, the new one none", equal_pair,
       [](V a, V b) {
         a.state.dirty_regions = 4;
         source(b, 0x201);
       },
       62, 'B'},
      {"the source lost its cache, the target did not", equal_pair,
       [](V a, V) {
         a.state.clean = 0;
         a.state.dirty_regions = 1;
       },
       62, 'B'},
      {"both lost their caches: the last source", equal_pair,
       [](V a, V b) {
         a.state.clean = b.state.clean = 0;
         a.state.dirty_regions = 1;
       },
       62, 'A'},
      {"async: the source leads although it lost its cache", equal_pair,
       [](V a, V b) {
         a.state.mode = b.state.mode = static_cast<std::uint8_t>(Mode::async);
         a.state.clean = 0;
         a.state.dirty_regions = 1;
       },
       62, 'A'},
      // What it was ahead with was given up when the other was promoted, flushed, without it.
      {"async: an older source that is ahead does not lead because the newer one lost its cache", equal_pair,
       [](V a, V b) {
         a.state.mode = static_cast<std::uint8_t>(Mode::async);
         b.state.mode = static_cast<std::uint8_t>(Mode::memsync);
         b.state.term_own = b.state.term_seen = 0x201;
         b.state.was_source = 1;
         b.state.clean = 0;
         a.state.dirty_regions = 1;
       },
       62, 'B'},
      {"memsync: acknowledged data may differ", equal_pair,
       [](V a, V b) {
         a.state.mode = b.state.mode = static_cast<std::uint8_t>(Mode::memsync);
         a.state.dirty_regions = 1;
       },
       62, 'A'},
      {"the source knows that the peer lacks data", equal_pair,
       [](V a, V) {
         a.state.dirty_regions = 1;
         a.state.data_of_you = code(PeerData::lacks);
       },
       62, 'A'},
      {"an outdated follower", equal_pair,
       [](V a, V b) {
         a.state.dirty_regions = 1;
         b.state.disk_state = code(DiskState::outdated);
       },
       62, 'A'},
      {"source crashed mid-write and returned", equal_pair, [](V a, V) { a.state.dirty_regions = 1; }, 63,
       'A'},
      {"it returned, but the target lost its cache", equal_pair,
       [](V a, V b) {
         source(a, 0x300);
         a.state.dirty_regions = 1;
         b.state.clean = 0;
       },
       62, 'A'},
      {"failover: the old source returns", a_newer, [](V, V b) { b.state.dirty_regions = 2; }, 71, 'A'},
      {"failover to the other index", a_newer,
       [](V a, V b) {
         std::swap(a.state, b.state);
         std::swap(a.state.your_identity, b.state.your_identity);
       },
       70, 'B'},
      {"two generations behind, bits from the older one", a_newer,
       [](V a, V) {
         a.state.history = history({4, 2, 1});
       },
       71, 'A'},
      {"the follower is older than the bits",
       a_newer,
       [](V a, V) {
         a.state.history = history({4, 2, 1});
         a.state.base_for_you = 2;
       },
       71,
       {'A', true}},
      {"the bits are relative to a stranger",
       a_newer,
       [](V a, V) { a.state.base_for_you = 77; },
       71,
       {'A', true}},
      {"the bits belong to another replica", a_newer, [](V, V b) { b.identity = 12; }, 71, {'A', true}},
      {"a bump that nobody used", a_newer, [](V a, V) { a.state.dirty_regions = 0; }, 71, 'A'},
      {"the older one is source", a_newer, [](V, V b) { source(b, 0x201); }, 72, Refusal::two_sources},
      {"the older one is source, to be kept", a_newer,
       [](V a, V b) {
         source(b, 0x201);
         resolve(b, a, Resolution::keep);
       },
       72, Refusal::two_sources},
      {"the older one was source, and knows the newer term", a_newer,
       [](V a, V b) {
         source(b, 0x001);
         a.state.term_seen = 0x100;
       },
       71, 'A'},
      {"forced on top of where the peer stands", equal_pair,
       [](V, V b) {
         b.state.history = history({100, 1});
       },
       73, Refusal::split_brain},
      {"forced, went on", equal_pair,
       [](V, V b) {
         b.state.history = history({5, 100, 1});
       },
       73, Refusal::split_brain},
      {"forced long ago, both have it",
       a_newer,
       [](V a, V b) {
         a.state.history = history({2, 100});
         b.state.history = history({100});
       },
       71,
       {'A', true}},
      {"forced, kept",
       equal_pair,
       [](V a, V b) {
         b.state.history = history({100, 1});
         b.state.needs_full = 1;
         resolve(b, a, Resolution::keep);
       },
       80,
       {'B', true}},
      {"forced, discarded",
       equal_pair,
       [](V a, V b) {
         b.state.history = history({100, 1});
         b.state.needs_full = 1;
         resolve(b, a, Resolution::discard);
       },
       80,
       {'A', true}},
      {"split-brain, one side gives up", parted, [](V a, V b) { resolve(b, a, Resolution::discard); }, 80,
       'A'},
      {"split-brain, one side insists", parted, [](V a, V b) { resolve(b, a, Resolution::keep); }, 80, 'B'},
      {"split-brain, bits from different ancestors",
       parted,
       [](V a, V b) {
         a.state.history = history({2, 9, 1});
         a.state.base_for_you = 9;
         resolve(b, a, Resolution::discard);
       },
       80,
       {'A', true}},
      {"split-brain, both give up", parted,
       [](V a, V b) {
         resolve(a, b, Resolution::discard);
         resolve(b, a, Resolution::discard);
       },
       82, Refusal::split_brain},
      {"split-brain, both insist", parted,
       [](V a, V b) {
         resolve(a, b, Resolution::keep);
         resolve(b, a, Resolution::keep);
       },
       82, Refusal::split_brain},
      {"split-brain, decided about another generation", parted,
       [](V a, V b) {
         resolve(b, a, Resolution::discard);
         b.state.resolution_against = 99;
       },
       82, Refusal::split_brain},
      {"partition, both wrote", parted, [](V, V) {}, 82, Refusal::split_brain},
      {"partition, a higher term is no argument", parted, [](V, V b) { source(b, 0x901); }, 82,
       Refusal::split_brain},
      {"forced beside the peer's newer history", a_newer,
       [](V, V b) {
         b.state.history = history({100, 1});
       },
       82, Refusal::split_brain},
      {"one mirror id, nothing in common", parted, [](V, V b) { b.state.history = history({3}); }, 83,
       Refusal::unrelated},
      {"the loser is source", parted,
       [](V a, V b) {
         source(b, 0x201);
         resolve(a, b, Resolution::keep);
       },
       84, Refusal::split_brain},
  };
  return table;
}

TEST(Decide, EveryRow) {
  std::set<int> seen;
  for (const Row& row : rows()) {
    SCOPED_TRACE(row.what);
    Two t = row.base();
    row.change(t.a, t.b);
    const Verdict v = both(t);
    EXPECT_EQ(int{v.rule}, row.rule);
    seen.insert(row.rule);
    EXPECT_EQ(v.refusal, row.outcome.refusal);
    if (row.outcome.leader == '-') {
      EXPECT_EQ(v.kind, VerdictKind::refuse);
      continue;
    }
    EXPECT_EQ(v.leader.value(), row.outcome.leader == 'A' ? 0 : 1);
    EXPECT_EQ(v.kind, row.rule == 30 || row.rule == 61 ? VerdictKind::in_sync : VerdictKind::resync);
    EXPECT_EQ(v.full, row.outcome.full);
    EXPECT_EQ(v.stays_promotable, row.rule == 63);
  }
  const std::set<int> all = {10, 11, 12, 20, 30, 31, 40, 41, 42, 50, 51, 52, 53,
                             60, 61, 62, 63, 70, 71, 72, 73, 80, 82, 83, 84};
  EXPECT_EQ(seen, all);
}

TEST(Decide, TheHistoryHasAnEnd) {
  // 40 generations later the follower's has fallen off: nothing in common is known any more.
  Two t = a_newer();
  t.a.state.history = {};
  t.a.state.history.count = wire::kHistoryMax;
  for (std::uint32_t i = 0; i < wire::kHistoryMax; ++i) t.a.state.history.entries[i] = {90 - i, 89 - i, 1, 1};
  EXPECT_EQ(both(t).rule, 83);
  t.a.state.history.entries[wire::kHistoryMax - 1].id = 1;
  EXPECT_EQ(both(t).rule, 71);
}

TEST(Decide, EffectiveSourceEndsAtAHigherTerm) {
  Two t = equal_pair();
  source(t.a, 0x200);
  t.b.state.term_seen = 0x200;
  EXPECT_TRUE(effective_source(t.a.state, t.b.state));
  t.b.state.term_seen = 0x201;
  EXPECT_FALSE(effective_source(t.a.state, t.b.state));
  t.a.state.is_source = 0;
  t.b.state.term_seen = 0;
  EXPECT_FALSE(effective_source(t.a.state, t.b.state));
}

// ------------------------------------------------------------------------------------------ for all states

bool has_data(const NodeView& v) {
  return v.mirror_id != 0 && v.state.history.count > 0;
}
bool good(const NodeView& v) {
  const auto d = static_cast<DiskState>(v.state.disk_state);
  return has_data(v) && (d == DiskState::consistent || d == DiskState::outdated);
}
bool knows(const NodeView& v, std::uint64_t id) {
  for (std::uint32_t i = 0; i < v.state.history.count; ++i) {
    if (v.state.history.entries[i].id == id) return true;
  }
  return false;
}

// The first property that does not hold; empty: all do.
std::string violation(const Two& t, const Verdict& v) {
  if (!(v == decide(t.b, t.a))) return "the two sides disagree";
  if ((v.kind == VerdictKind::refuse) != (v.refusal != Refusal::none)) return "refusal without a reason";
  if (v.kind == VerdictKind::refuse) return "";
  const NodeView& leader = v.leader == t.a.node ? t.a : t.b;
  const NodeView& follower = v.leader == t.a.node ? t.b : t.a;
  if (v.leader != t.a.node && v.leader != t.b.node) return "nobody leads";
  if (!good(leader) && v.rule != 30) return "a bad replica leads";
  if (v.rule == 30 && leader.state.is_source == 0) return "a failed replica leads and is no source";
  if (v.kind == VerdictKind::in_sync && v.full) return "in sync in full";
  if (v.stays_promotable && (v.full || !good(follower))) return "promotable, and not";
  if (v.kind == VerdictKind::in_sync && v.rule != 30 && !good(follower)) return "in sync with a bad replica";
  if (!has_data(follower)) return "";
  if (leader.mirror_id != follower.mirror_id) return "another mirror";
  const bool parted = !knows(leader, follower.state.history.entries[0].id);
  const bool decided = leader.state.resolution == 1 || follower.state.resolution == 2;
  if (parted && good(follower) && !decided) return "a history of its own is overwritten unasked";
  if (effective_source(follower.state, leader.state)) {
    if (!effective_source(leader.state, follower.state)) return "a source follows";
  }
  return "";
}

std::string text(const NodeView& v) {
  const StateBody& s = v.state;
  std::string t = "disk " + std::to_string(s.disk_state) + " history";
  for (std::uint32_t i = 0; i < s.history.count; ++i) t += " " + std::to_string(s.history.entries[i].id);
  return t + " source " + std::to_string(s.is_source) + " terms " + std::to_string(s.term_own) + "/" +
         std::to_string(s.term_seen) + " data " + std::to_string(s.data_of_you) + " base " +
         std::to_string(s.base_for_you) + " dirty " + std::to_string(s.dirty_regions) + " resync " +
         std::to_string(s.resync_active) + "/" + std::to_string(s.resync_generation) + " resolution " +
         std::to_string(s.resolution) + "/" + std::to_string(s.resolution_against);
}

// A source has a usable disk and a term of its own that it has seen: other states no core sends.
void make_possible(NodeView& v) {
  StateBody& s = v.state;
  s.term_seen = std::max(s.term_seen, s.term_own);
  const auto d = static_cast<DiskState>(s.disk_state);
  const bool may = has_data(v) && (d == DiskState::consistent || d == DiskState::failed) && s.term_own != 0;
  if (!may) s.is_source = 0;
}

const std::array<wire::History, 9>& histories() {
  static const std::array<wire::History, 9> all = {
      wire::History{},   history({1}), history({2, 1}),      history({3, 1}),     history({4, 2, 1}),
      history({100, 1}), history({9}), history({5, 100, 1}), history({100, 2, 1})};
  return all;
}

TEST(Decide, RandomStatesKeepTheRules) {
  std::mt19937_64 random{20240517};
  const auto below = [&](std::uint64_t n) { return random() % n; };
  std::set<int> fired;
  for (int n = 0; n < 2'000'000; ++n) {
    Two t = equal_pair();
    for (NodeView* v : {&t.a, &t.b}) {
      StateBody& s = v->state;
      if (below(16) == 0) v->mirror_id = below(3);
      if (below(8) == 0) v->identity += 5;
      s.disk_state = static_cast<std::uint8_t>(below(2) == 0 ? 2 : below(4));
      s.history = histories()[below(histories().size())];
      s.base_for_you = below(6);
      s.data_of_you = static_cast<std::uint8_t>(below(4));
      s.needs_full = below(6) == 0;
      s.dirty_regions = below(3);
      s.is_source = below(3) == 0;
      s.was_source = static_cast<std::uint8_t>(below(2));
      s.clean = static_cast<std::uint8_t>(below(2));
      s.mode = static_cast<std::uint8_t>(below(3));
      s.term_own = below(3) << 8 | v->node.value();
      s.term_seen = below(4) << 8;
      s.resync_active = below(2) == 0;
      s.resync_from = static_cast<std::uint8_t>(below(2));
      s.resync_generation = below(5);
      s.resolution = static_cast<std::uint8_t>(below(3));
      s.resolution_against = below(2) == 0 ? below(6) : 100;
      if (below(8) == 0) s.session_common = {below(5), below(2)};
      if (below(8) == 0) s.session = {s.session_common.count + below(2), below(2)};
      if (below(8) == 0) s.stable_sequence = 48 + below(5);
      make_possible(*v);
    }
    const Verdict v = decide(t.a, t.b);
    fired.insert(v.rule);
    ASSERT_EQ(violation(t, v), "") << "row " << int{v.rule} << "\n a " << text(t.a) << "\n b " << text(t.b);
  }
  EXPECT_EQ(fired.size(), 25u) << "some row never fired";
}

// Every combination of the fields that rows 50 to 84 branch on.
TEST(Decide, SmallDomainExhaustively) {
  std::uint64_t count = 0;
  struct Half {
    int disk, data, role, resolution, resync;
  };
  std::vector<Half> halves;
  for (const int disk : {0, 2, 3}) {
    for (const int data : {1, 2}) {
      for (const int role : {0, 1, 2}) {
        for (const int resolution : {0, 1, 2}) {
          for (const int resync : {0, 1}) halves.push_back({disk, data, role, resolution, resync});
        }
      }
    }
  }
  const auto set = [](NodeView& v, const NodeView& other, const Half& h) {
    StateBody& s = v.state;
    s.disk_state = static_cast<std::uint8_t>(h.disk);
    s.data_of_you = static_cast<std::uint8_t>(h.data);
    s.is_source = h.role == 2;
    s.was_source = h.role >= 1;
    s.term_own = h.role == 0 ? 0 : 0x100u + v.node.value();
    s.resolution = static_cast<std::uint8_t>(h.resolution);
    s.resolution_against = other.state.history.entries[0].id;
    s.resync_active = h.resync != 0;
    s.resync_generation = h.resync != 0 ? 1 : 0;
    s.dirty_regions = h.data == 2 ? 1 : 0;
    make_possible(v);
  };
  for (const wire::History& ha : histories()) {
    for (const wire::History& hb : histories()) {
      for (const Half& a : halves) {
        for (const Half& b : halves) {
          Two t = equal_pair();
          t.a.state.history = ha;
          t.b.state.history = hb;
          set(t.a, t.b, a);
          set(t.b, t.a, b);
          const Verdict v = decide(t.a, t.b);
          ++count;
          ASSERT_EQ(violation(t, v), "")
              << "row " << int{v.rule} << "\n a " << text(t.a) << "\n b " << text(t.b);
        }
      }
    }
  }
  std::printf("[ explored ] %llu pairs\n", static_cast<unsigned long long>(count));
}

}  // namespace
}  // namespace twinblock::core
