// A small model of two nodes' generations, to be searched exhaustively with the real decide().
//
// What is real: decide(), the fields of its input, the order of durable events of the core. What is small:
// three regions, each written at most once ("has the write" is one bit of a replica's content), few
// generations, and budgets for everything that may happen. Durability is chosen at the crash: a node that
// changed its superblock in memory crashes either with or without it, and a step that waits for durability
// writes it. That makes every cut point of a conversation reachable without a step of its own.
//
// The ghost fields (acked, acked_in, tainted) are seen by the properties only, never by a node.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "replicator/core/decide.hpp"

namespace twinblock::core::model {

using Small = std::uint8_t;

inline constexpr std::size_t kHistory = 7;  // generations are numbered from 1 in order of creation
inline constexpr Small kRegions = 3;
inline constexpr Small kAllRegions = (1u << kRegions) - 1;

// Duties of the core broken one at a time: each must be caught by some property.
enum class Fault : std::uint8_t {
  none,
  bump_after_ack,              // lone write acknowledged before the new generation is durable
  no_bump,                     // lone writes go on in the old generation
  promote_without_proof,       // a consistent replica is promoted without P9
  lone_boot_if_was_source,     // "I was source when I crashed" is taken for a proof
  promote_inconsistent,        // a mixture is promoted
  mark_cleared_too_late,       // the peer may be up to date while we still believe that it lacks data
  resync_before_inconsistent,  // resync writes before the follower's mark is durable
  follower_bits_ignored,       // bits of the returning old source are not merged
  hot_extents_forgotten,       // what was hot at a crash is not taken for dirty
  newest_wins,                 // diverged histories are resynced from the higher term
  ack_before_peer,             // sync write acknowledged when the local disk has it
  handover_outlives_term,      // "handed over" is not withdrawn when the other takes a new term
  lacks_before_follower,       // equal generations: "the peer lacks data" before the peer knows it
  bump_at_handshake,           // equal generations: as above, and a new generation at once
};

struct Budget {
  Small writes = 2;
  Small generations = 5;
  Small crashes = 3;
  Small cuts = 1;
  Small promotions = 3;
  Small demotions = 1;
  Small disk_failures = 0;
  Small resolutions = 0;
};

struct Conditions {
  Budget budget;
  Fault fault = Fault::none;
  bool write_alone_free = true;  // false: `fenced`, needs a right confirmation
  bool wrong_confirms = false;   // the operator may confirm a death that did not happen, and use --force
  bool power_cuts = false;       // crashes lose the disk's cache (the content is not modelled, the mark is)
  bool fresh_target = false;     // start before the first resync
};

// The superblock, as far as generations go.
struct Record {
  Small count = 0;
  std::array<Small, kHistory> id{};
  std::array<Small, kHistory> cause{};
  Small disk = 0;  // DiskState
  Small mirror_known = 1;
  Small peer_known = 1;  // the peer's identity
  Small data = 0;        // PeerData
  Small base = 0;
  Small needs_full = 0;
  Small was_source = 0;
  Small term_own = 0;  // counter * 2 + node
  Small term_seen = 0;
  Small resync_active = 0;
  Small resync_generation = 0;
  Small resolution = 0;
  Small against = 0;
  Small lost_cache = 0;
  friend bool operator==(const Record&, const Record&) = default;
  [[nodiscard]] Small current() const { return count == 0 ? Small{0} : id[0]; }
  [[nodiscard]] bool knows(Small generation) const;
  void push(Small generation, GenerationCause why);
};

struct Node {
  Record memory;
  Record durable;
  Small running = 1;
  Small role = 0;           // Role
  Small promote_stage = 0;  // 0 none, 1 persisting, 2 the peer was asked
  Small promote_kind = 0;   // How
  Small demote_stage = 0;   // 1 persisting, 2 the peer was told
  Small degrading = 0;
  Small granted = 0;
  Small dirty = 0;    // bits for the peer; durable when set
  Small hot = 0;      // durable intents
  Small content = 0;  // bit i: this replica has write i
};

enum class Phase : std::uint8_t { none, negotiated, offered, streaming };

struct Session {
  Small link = 1;
  Small phase = 0;
  Small leader = 0;
  Small rule = 0;
  Small resync = 0;
  Small same = 0;  // in sync, or row 63: in the ack set from the start
  Small in_ack_set = 0;
  Small joining = 0;
  Small end_sent = 0;
  Small late = 0;  // acknowledged before the follower has them: sent, and before the end
  Small follower_uptodate = 0;
  Small follower_sees_source = 0;
  Small leader_sees_source = 0;
};

struct Pending {  // the one write in flight
  Small active = 0;
  Small write = 0;
  Small node = 0;
  Small expected = 0;  // the peer was in the ack set when it started
  Small applied = 0;   // by the follower
  Small after_end = 0;
  Small orphan = 0;
};

struct State {
  std::array<Node, 2> node;
  Session session;
  Pending pending;
  Small acked = 0;
  std::array<Small, kHistory + 1> acked_in{};  // by generation
  Small tainted = 0;                           // a wrong confirmation or --force was used
  std::array<Small, 2> went_on{};              // took the right to write alone since the last session
  Small written = 0;
  Small generations = 1;
  Budget left;
};
static_assert(sizeof(State) < 256 && alignof(State) == 1, "hashed as bytes: no padding");

enum class How : std::uint8_t { plain, confirm_dead, force };

enum class Step : std::uint8_t {
  write_start,
  write_apply,
  write_ack,
  write_settle,
  degrade,
  write_alone,
  grant,
  cut,
  heal,
  crash_saved,
  crash_lost,
  boot,
  disk_failure,
  negotiate,
  offer,
  ready,
  copy,
  join,
  end,
  done,
  promote,
  promote_forward,
  promote_answered,
  demote,
  demote_forward,
  demote_answered,
  demote_timeout,
  resolve_keep,
  resolve_discard,
};

struct Event {
  Step step;
  Small node = 0;
  Small argument = 0;  // region, or How
};

struct Broken {  // a property that does not hold
  std::string what;
};

class Model {
 public:
  explicit Model(Conditions conditions) : conditions_{conditions} {}
  [[nodiscard]] State initial() const;
  // Everything that may happen next, into `out`.
  void events(const State& s, std::vector<Event>& out) const;
  // Carries one out. The property it breaks, if any.
  std::optional<Broken> apply(State& s, const Event& e) const;
  [[nodiscard]] Verdict verdict(const State& s, Small mine) const;
  [[nodiscard]] const Conditions& conditions() const { return conditions_; }

 private:
  [[nodiscard]] NodeView view(const State& s, Small n) const;
  [[nodiscard]] bool alone_ok(const Node& n) const;
  [[nodiscard]] bool right_confirm(const State& s, Small n) const;
  [[nodiscard]] bool may_promote(const State& s, Small n, How how) const;
  void node_events(const State& s, Small n, std::vector<Event>& out) const;
  void source_events(const State& s, Small n, std::vector<Event>& out) const;
  void session_events(const State& s, std::vector<Event>& out) const;

  std::optional<Broken> acknowledge(State& s, Small n, Small write) const;
  std::optional<Broken> answer(State& s, Small n) const;
  void drain(State& s) const;
  std::optional<Broken> write_alone(State& s, Small n) const;
  void end_session(State& s) const;
  void crash(State& s, Small n, bool saved) const;
  void boot(State& s, Small n) const;
  std::optional<Broken> negotiate(State& s) const;
  std::optional<Broken> check_verdict(const State& s, const Verdict& v) const;
  void prepare(State& s, const Verdict& v) const;
  void offer(State& s) const;
  std::optional<Broken> ready(State& s) const;
  std::optional<Broken> copy(State& s, Small region) const;
  void finish(State& s, Step step) const;
  void persist_promotion(State& s, Small n, How how) const;
  void promote_forward(State& s, Small n) const;
  void become_source(State& s, Small n) const;
  void demote(State& s, const Event& e) const;
  void dispatch(State& s, const Event& e, std::optional<Broken>& broken) const;
  [[nodiscard]] std::optional<Broken> check(const State& s) const;

  Conditions conditions_;
};

// ---- words of both halves of the model
inline constexpr Small kHandedOver = 3;  // promote_kind: by this proof

inline Small code(PeerData d) {
  return static_cast<Small>(d);
}
inline Small code(DiskState d) {
  return static_cast<Small>(d);
}
inline Small code(Role r) {
  return static_cast<Small>(r);
}
inline Small code(Phase p) {
  return static_cast<Small>(p);
}
inline Small bit(Small region) {
  return static_cast<Small>(1u << region);
}
inline Small other(Small n) {
  return static_cast<Small>(1 - n);
}
inline Small without(Small set, Small removed) {
  return static_cast<Small>(set & ~removed);
}
inline Small with(Small set, Small added) {
  return static_cast<Small>(set | added);
}

inline Small term_after(Small seen, Small node) {
  return static_cast<Small>(((seen >> 1) + 1) << 1 | node);
}

inline bool streaming(const State& s) {
  return s.session.phase == code(Phase::streaming);
}
inline bool negotiating(const State& s) {
  return s.session.phase == code(Phase::negotiated) || s.session.phase == code(Phase::offered);
}
inline bool leads(const State& s, Small n) {
  return streaming(s) && s.session.leader == n;
}
inline bool follows(const State& s, Small n) {
  return streaming(s) && s.session.leader != n;
}
inline bool acting_source(const Node& n) {
  return n.role == code(Role::source) || n.role == code(Role::demoting);
}

[[nodiscard]] std::string describe(const Event& e);
[[nodiscard]] std::string describe(const State& s);

// Breadth first, every state once.
struct Search {
  std::size_t states = 0;
  std::size_t transitions = 0;
  std::size_t depth = 0;       // longest shortest path searched
  bool complete = false;       // nothing was left out
  std::set<int> rows;          // of decide() that fired
  std::string counterexample;  // empty: every property holds
};
[[nodiscard]] Search search(const Conditions& conditions, std::size_t depth_max, std::size_t states_max);

}  // namespace twinblock::core::model
