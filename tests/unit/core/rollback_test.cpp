// A replica that is put back to a backup, data and metadata, is never taken for one in sync: whatever it was,
// however often it starts before it meets its peer. And nobody else is ever called rolled back.
//
// First the marks alone: every cut of every session set-up, breadth first, with the functions of the product.
// Then whole mirrors.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <tuple>
#include <vector>

#include "replicator/core/decide.hpp"
#include "replicator/core/session_marks.hpp"
#include "tests/unit/core/pair.hpp"

namespace twinblock::core::testing {
namespace {

// ------------------------------------------------------------------------------------------- marks alone

// One replica: what is on its disk, what its memory wants to be there, and what it counts on.
struct Replica {
  SessionMarks durable;
  SessionMarks memory;
  std::uint64_t joined = 0;  // session that carried something here: its data are at least of then
  std::uint64_t relies = 0;  // newest session in which it forgot what the peer had stable
  auto key() const {
    const auto marks = [](const SessionMarks& m) { return std::tuple{m.newest.id, m.common.id}; };
    return std::tuple{marks(durable), marks(memory), joined, relies};
  }
};

struct World {
  std::array<Replica, 2> node;
  int leader = -1;  // a set-up runs: 0 prepared, 1 offered, 2 joined (memory), 3 ready, 4 streaming
  int stage = 0;
  std::uint64_t sessions = 0;
  auto key() const { return std::tuple{node[0].key(), node[1].key(), leader, stage, sessions}; }
};

class Marks : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kSessions = 4;

  static bool settled(const Replica& r) { return r.durable == r.memory; }

  // A node sends its state only when its memory is durable (can_negotiate()).
  static bool may_begin(const World& w) {
    return w.leader < 0 && w.sessions < kSessions && settled(w.node[0]) && settled(w.node[1]);
  }

  static void begin(World& w, int leader) {
    Replica& l = w.node[static_cast<std::size_t>(leader)];
    const Replica& f = w.node[static_cast<std::size_t>(1 - leader)];
    l.memory = begin_session(l.memory, f.memory, ++w.sessions);
    w.leader = leader;
    w.stage = 0;
  }

  // The next thing that the running set-up does.
  static void forward(World& w) {
    Replica& l = w.node[static_cast<std::size_t>(w.leader)];
    Replica& f = w.node[static_cast<std::size_t>(1 - w.leader)];
    switch (w.stage++) {
      case 0:
        l.durable = l.memory;  // then session_start
        break;
      case 1:
        f.memory = {l.durable.newest, l.durable.newest};
        break;
      case 2:
        f.durable = f.memory;  // then session_ready
        f.joined = f.durable.newest.id;
        break;
      case 3:
        l.memory.common = l.memory.newest;
        break;
      case 4:
        l.durable = l.memory;  // only now it forgets what the follower has stable
        l.relies = l.joined = l.memory.newest.id;
        break;
      default:
        break;
    }
  }

  static std::vector<World> after(const World& w) {
    std::vector<World> out;
    const auto add = [&](auto change) {
      World next = w;
      change(next);
      out.push_back(next);
    };
    if (may_begin(w)) {
      add([](World& n) { begin(n, 0); });
      add([](World& n) { begin(n, 1); });
    }
    if (w.leader >= 0 && w.stage <= 4) add([](World& n) { forward(n); });
    if (w.leader >= 0) add([](World& n) { n.leader = -1; });  // the link is lost
    for (std::size_t i = 0; i < 2; ++i) {
      if (!settled(w.node[i])) {
        add([i](World& n) { n.node[i].durable = n.node[i].memory; });  // a write that was in flight
        add([i](World& n) {                                            // a crash; it did not land
          n.node[i].memory = n.node[i].durable;
          n.leader = -1;
        });
      }
    }
    return out;
  }

  // Every world that can be reached.
  static const std::vector<World>& worlds() {
    static const std::vector<World> all = [] {
      std::set<decltype(World{}.key())> seen;
      std::deque<World> queue{World{}};
      std::vector<World> found;
      seen.insert(queue.front().key());
      while (!queue.empty()) {
        const World w = queue.front();
        queue.pop_front();
        found.push_back(w);
        for (const World& next : after(w)) {
          if (seen.insert(next.key()).second) queue.push_back(next);
        }
      }
      return found;
    }();
    return all;
  }
};

TEST_F(Marks, NobodyIsCalledRolledBackWithoutReason) {
  for (const World& w : worlds()) {
    // What both would say if they crashed now, or met now.
    for (const bool memory_0 : {false, true}) {
      for (const bool memory_1 : {false, true}) {
        const SessionMarks& a = memory_0 ? w.node[0].memory : w.node[0].durable;
        const SessionMarks& b = memory_1 ? w.node[1].memory : w.node[1].durable;
        ASSERT_TRUE(shared_mark(a, b));
        ASSERT_FALSE(fell_behind(a, b));
        ASSERT_FALSE(fell_behind(b, a));
      }
    }
  }
  EXPECT_GT(worlds().size(), 500u);
}

// A backup is any durable state of the past. It lacks what a session of which it does not know has brought;
// if the other one has forgotten what that was, or has it itself, this must be seen, and only that side
// named.
TEST_F(Marks, ABackupFromBeforeASessionThatCountsIsSeen) {
  using Key = decltype(World{}.key());
  std::map<Key, std::set<std::tuple<std::size_t, std::size_t>>> tried;
  std::uint64_t seen_as_old = 0;
  // All pairs (backup, now) with `now` reachable from `backup`.
  for (const World& origin : worlds()) {
    std::set<Key> reached{origin.key()};
    std::deque<World> queue{origin};
    while (!queue.empty()) {
      const World now = queue.front();
      queue.pop_front();
      for (std::size_t i = 0; i < 2; ++i) {
        const Replica& old = origin.node[i];
        const Replica& peer = now.node[1 - i];
        if (peer.relies <= old.joined && peer.joined <= old.durable.newest.id) continue;
        const bool known = old.durable.newest.id >= std::max(peer.relies, peer.joined);
        if (known) continue;  // the backup is from inside that session: stable sequences tell
        ASSERT_TRUE(fell_behind(old.durable, peer.durable)) << "backup of " << i;
        ASSERT_FALSE(fell_behind(peer.durable, old.durable)) << "backup of " << i;
        ++seen_as_old;
      }
      for (const World& next : after(now)) {
        if (reached.insert(next.key()).second) queue.push_back(next);
      }
    }
  }
  EXPECT_GT(seen_as_old, 10'000u);
}

TEST(SessionMarks, WhatWasNoticedIsNoticedUntilTheOldOneHasJoined) {
  const SessionMarks good{{7, 70}, {7, 70}};
  SessionMarks old{{5, 50}, {5, 50}};
  SessionMarks leader = good;
  for (std::uint64_t n = 0; n < 20; ++n) {  // set-ups that are cut before the old one joins
    leader = begin_session(leader, old, 100 + n);
    EXPECT_TRUE(fell_behind(old, leader));
    EXPECT_FALSE(fell_behind(leader, old));
  }
  old = {leader.newest, leader.newest};
  EXPECT_EQ(shared_mark(old, leader), leader.newest);
}

TEST(SessionMarks, ClonesAreToldApartByTheId) {
  const SessionMarks source{{5, 50}, {5, 50}};
  const SessionMarks clone = source;
  const SessionMarks peer = begin_session({{5, 50}, {5, 50}}, source, 60);  // with the first one, which joins
  const SessionMarks joined{peer.newest, peer.newest};
  EXPECT_TRUE(fell_behind(clone, joined));
  const SessionMarks other = begin_session(clone, {{5, 50}, {5, 50}}, 61);  // the same count elsewhere
  EXPECT_EQ(other.newest.count, joined.newest.count);
  EXPECT_TRUE(fell_behind(other, joined));
}

// ------------------------------------------------------------------------------------------- the verdict

struct Views {
  NodeView a;
  NodeView b;
};

// In sync at generation 1, which A made as source; the last session was 3.
Views in_sync() {
  Views v;
  for (NodeView* n : {&v.a, &v.b}) {
    n->mirror_id = 7;
    wire::StateBody& s = n->state;
    s.disk_state = static_cast<std::uint8_t>(DiskState::consistent);
    s.history.count = 1;
    s.history.entries[0].id = s.base_for_you = 1;
    s.data_of_you = static_cast<std::uint8_t>(PeerData::maybe_current);
    s.session = s.session_common = {3, 33};
    s.stable_sequence = s.your_stable_sequence = 50;
    s.clean = 1;
    s.term_seen = 0x100;
  }
  v.b.node = NodeIndex{1};
  v.a.identity = v.b.state.your_identity = 10;
  v.b.identity = v.a.state.your_identity = 11;
  v.a.state.term_own = 0x100;
  v.a.state.was_source = 1;
  return v;
}

struct Case {
  const char* what;
  SessionMarks a;
  SessionMarks b;
  int rule;
  int leader;  // -1: refused
};

TEST(RollbackVerdict, OfEveryPairOfMarks) {
  constexpr SessionMarks kLast{{3, 33}, {3, 33}};
  constexpr SessionMarks kOld{{2, 22}, {2, 22}};
  const Case cases[] = {
      {"the target is of before the last session", kLast, kOld, 42, 0},
      {"the last source is", kOld, kLast, 42, 1},
      {"of before the first session", kLast, {}, 42, 0},
      {"its backup names a session that never came about", {{5, 55}, {5, 55}}, {{4, 44}, {3, 33}}, 42, 0},
      {"the other one was just offering a session", {{4, 44}, {3, 33}}, kOld, 42, 0},
      {"it offered a session alone, with a high count", kLast, {{9, 99}, {2, 22}}, 42, 0},
      {"the other clone has joined: same count, another id", {{4, 41}, {4, 41}}, {{4, 42}, {3, 33}}, 42, 0},
      {"both clones went on, and nobody is older", {{4, 41}, {4, 41}}, {{4, 42}, {4, 42}}, 40, -1},
      {"offered and never joined", {{4, 44}, {3, 33}}, kLast, 61, 0},
      {"joined, and the leader does not know", {{4, 44}, {3, 33}}, {{4, 44}, {4, 44}}, 61, 0},
      {"both offered one, neither was joined", {{4, 44}, {3, 33}}, {{4, 45}, {3, 33}}, 61, 0},
      {"written by versions without marks", {}, {}, 61, 0},
  };
  for (const Case& c : cases) {
    Views v = in_sync();
    v.a.state.session = c.a.newest;
    v.a.state.session_common = c.a.common;
    v.b.state.session = c.b.newest;
    v.b.state.session_common = c.b.common;
    const Verdict got = decide(v.a, v.b);
    EXPECT_EQ(got, decide(v.b, v.a)) << c.what;
    EXPECT_EQ(got.rule, c.rule) << c.what;
    EXPECT_EQ(got.full, c.rule == 42) << c.what;
    EXPECT_EQ(got.kind == VerdictKind::refuse ? -1 : got.leader.value(), c.leader) << c.what;
  }
}

TEST(RollbackVerdict, StableSequenceCountsInTheSharedSessionOnly) {
  Views v = in_sync();
  v.b.state.stable_sequence = 49;
  EXPECT_EQ(decide(v.a, v.b).rule, 42);
  v.b.state.session = v.b.state.session_common = v.a.state.session = {4, 44};
  EXPECT_EQ(decide(v.a, v.b).rule, 61);  // A remembers 50 from before B joined session 4
}

TEST(RollbackVerdict, AReplicaWhosePlaceWasTakenIsAStranger) {
  Views v = in_sync();
  v.b.state.session = v.b.state.session_common = {9, 99};  // it knows more, of before
  v.a.state.your_identity = 99;
  EXPECT_EQ(decide(v.a, v.b).rule, 60);
  EXPECT_EQ(decide(v.a, v.b).leader, v.a.node);
}

TEST(RollbackVerdict, ASourceWithoutADiskDoesNotGoOnThroughARestoredCopy) {
  Views v = in_sync();
  v.a.state.is_source = 1;
  v.a.state.term_seen = v.a.state.term_own;
  v.a.state.disk_state = static_cast<std::uint8_t>(DiskState::failed);
  EXPECT_EQ(decide(v.a, v.b).rule, 30);
  v.b.state.session = v.b.state.session_common = {2, 22};
  EXPECT_EQ(decide(v.a, v.b).rule, 41);
  EXPECT_EQ(decide(v.a, v.b).refusal, Refusal::rolled_back);
}

// ---------------------------------------------------------------------------------------- whole mirrors

struct Backup {
  std::vector<std::byte> area;
  std::vector<std::uint64_t> data;
};
Backup back_up(Pair& p, int n) {
  return {p.node(n).area, p.node(n).data};
}
void put_back(Pair& p, int n, const Backup& b) {
  p.crash(n);
  p.node(n).area = b.area;
  p.node(n).data = b.data;
}
void settle(Pair& p) {
  p.advance(Duration::seconds(1));
}
// Both restart once and meet again: a session that the backup does not know.
void later_session(Pair& p, std::uint64_t tag) {
  p.cut();
  p.advance(Duration::milliseconds(10));
  p.connect();
  settle(p);
  p.write(0, 64, 8, tag);
  p.run();
  ASSERT_EQ(p.node(1).data[64], tag);
  p.advance(Duration::seconds(8));  // the log is empty: nothing of it is resynced anyway
}

TEST(Rollback, RestoredTargetIsCopiedInFullHoweverOftenItStarted) {
  for (const int starts : {1, 2, 5, 40}) {
    Pair p;
    p.make_source(0);
    p.write(0, 64, 8, 1);
    p.run();
    const Backup old = back_up(p, 1);
    later_session(p, 2);
    put_back(p, 1, old);
    p.cut();
    for (int n = 0; n < starts; ++n) {  // alone
      if (n > 0) p.crash(1);
      p.boot(1);
      p.advance(Duration::milliseconds(10));
    }
    EXPECT_EQ(p.node(1).data[64], 1u);
    EXPECT_EQ(p.command(1, verb(Verb::promote)), Refusal::peer_may_have_more);
    p.connect();
    settle(p);
    EXPECT_EQ(p.status(0).verdict_rule, 42) << starts;
    EXPECT_EQ(p.node(0).data, p.node(1).data) << starts;
    EXPECT_EQ(p.status(1).replica, ReplicaState::uptodate);
    EXPECT_EQ(p.node(1).data[64], 2u);
  }
}

TEST(Rollback, RestoredSourceFollowsAndTakesItsOldRoleNoMore) {
  for (const int starts : {1, 3, 20}) {
    Pair p;
    p.make_source(0);
    p.write(0, 64, 8, 1);
    p.run();
    const Backup old = back_up(p, 0);  // was source
    later_session(p, 2);
    put_back(p, 0, old);
    p.cut();
    for (int n = 0; n < starts; ++n) {
      if (n > 0) p.crash(0);
      p.boot(0);
      p.advance(Duration::milliseconds(10));
      EXPECT_EQ(p.status(0).role, Role::target);
    }
    p.connect();
    settle(p);
    EXPECT_EQ(p.node(0).data[64], 2u) << "the restored source won";
    EXPECT_EQ(p.node(0).data, p.node(1).data);
  }
}

TEST(Rollback, RestoredSourceMeetsThePeerThatWasPromotedMeanwhile) {
  Pair p;
  p.make_source(0);
  const Backup old = back_up(p, 0);
  later_session(p, 2);
  put_back(p, 0, old);
  settle(p);
  Command c = verb(Verb::promote);
  c.confirm_dead = true;
  ASSERT_EQ(p.command(1, c), Refusal::none);
  p.write(1, 128, 8, 3);
  settle(p);
  p.cut();
  for (int n = 0; n < 5; ++n) {
    if (n > 0) p.crash(0);
    p.boot(0);
  }
  p.connect();
  settle(p);
  EXPECT_EQ(p.node(0).data[64], 2u) << "resynced by bits, which know nothing of sector 64";
  EXPECT_EQ(p.node(0).data, p.node(1).data);
}

TEST(Rollback, RestoredAndPromotedByTheOperatorIsASplitBrain) {
  Pair p;
  p.make_source(0);
  const Backup old = back_up(p, 1);
  later_session(p, 2);
  p.crash(0);
  put_back(p, 1, old);
  p.boot(1);
  Command c = verb(Verb::promote);
  c.confirm_dead = true;
  ASSERT_EQ(p.command(1, c), Refusal::none);  // the operator was wrong
  p.write(1, 128, 8, 3);
  settle(p);
  p.boot(0);
  settle(p);
  // The one with the newer data keeps them: it is not overwritten by bits, as row 71 would.
  EXPECT_EQ(p.node(0).data[64], 2u);
  EXPECT_EQ(p.node(1).data[128], 3u);
  EXPECT_NE(p.status(0).link, LinkState::connected);
}

TEST(Rollback, BothCrashedAndOneCameBackOlder) {
  for (const int restored : {0, 1}) {
    Pair p;
    p.make_source(0);
    p.write(0, 64, 8, 1);
    p.run();
    const Backup old = back_up(p, restored);
    later_session(p, 2);
    p.crash(0);
    put_back(p, restored, old);
    if (restored == 0) p.crash(1);
    for (int n = 0; n < 3; ++n) {
      for (const int i : {0, 1}) {
        if (p.node(i).mirror != nullptr) p.crash(i);
        p.boot(i);
      }
    }
    settle(p);
    EXPECT_EQ(p.node(0).data[64], 2u) << restored;
    EXPECT_EQ(p.node(0).data, p.node(1).data) << restored;
  }
}

TEST(Rollback, BackupFromBeforeTheFirstSession) {
  Pair p;
  p.boot(0);
  const Backup old = back_up(p, 0);  // it has the data, and never met anybody
  p.crash(0);
  p.make_source(0);
  p.write(0, 64, 8, 2);
  p.advance(Duration::seconds(8));
  put_back(p, 0, old);
  p.boot(0);
  settle(p);
  EXPECT_EQ(p.node(1).data[64], 2u) << "overwritten by what it was filled from";
  EXPECT_EQ(p.node(0).data, p.node(1).data);
}

// Nothing of the above happens to a replica that only crashes, however the set-ups are cut.
TEST(Rollback, CrashesAndCutsAreNoRollback) {
  Pair p;
  p.make_source(0);
  for (int n = 0; n < 60; ++n) {
    const int i = n % 2;
    if (n % 3 == 0) p.cut();
    p.crash(i);
    p.boot(i);
    if (n % 5 != 0) p.connect();
    p.advance(Duration::milliseconds(n % 7));
    for (const int k : {0, 1}) {
      const int rule = p.status(k).verdict_rule;
      ASSERT_FALSE(rule >= 40 && rule <= 42) << "round " << n;
    }
  }
  p.connect();
  settle(p);
  EXPECT_EQ(p.node(0).data, p.node(1).data);
}

}  // namespace
}  // namespace twinblock::core::testing
