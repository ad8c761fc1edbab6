// Is one of two replicas older than it was when they last met? Each session has a name, a mark, that both
// write down before the session carries anything (DESIGN §4; docs/internals/generations.md, "Restored
// backups", has the argument). A replica keeps two marks per peer:
//
//   newest   of the last session that it wrote down; as leader perhaps before the peer has
//   common   the newest one that the peer has written down for certain
//
//   leader:    {newest = s, common = shared} durable ─▶ session_start {s} ─▶ session_ready ─▶ common = s
//   durable follower:                                         └─▶ {newest = common = s} durable ─┘
//
// Invariant: as long as nobody is put back to an older state, the two pairs have a mark in common, wherever a
// crash or a lost link has cut this.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "transport/wire/messages.hpp"

namespace twinblock::core {

struct SessionMarks {
  wire::SessionMark newest;
  wire::SessionMark common;
  friend bool operator==(const SessionMarks&, const SessionMarks&) = default;
};

// The newest mark that stands on both sides; {0, 0} for two that never met.
[[nodiscard]] inline std::optional<wire::SessionMark> shared_mark(const SessionMarks& a,
                                                                  const SessionMarks& b) {
  const auto knows = [](const SessionMarks& m, const wire::SessionMark& s) {
    return m.newest == s || m.common == s;
  };
  if (knows(b, a.newest)) return a.newest;
  if (knows(b, a.common)) return a.common;
  return std::nullopt;
}

// `self` was put back to a state from before the last session with `other`. Both, if two copies of one
// replica went on separately and neither can be told to be the older.
[[nodiscard]] inline bool fell_behind(const SessionMarks& self, const SessionMarks& other) {
  return !shared_mark(self, other) && self.common.count <= other.common.count;
}

// What the leader writes down before it offers a session. Without a shared mark its own `common` stays, so
// that what was noticed goes on being noticed until the peer has written down the new one.
[[nodiscard]] inline SessionMarks begin_session(const SessionMarks& mine, const SessionMarks& theirs,
                                                std::uint64_t random_id) {
  const std::uint64_t count = std::max(mine.newest.count, theirs.newest.count) + 1;
  return {{count, random_id}, shared_mark(mine, theirs).value_or(mine.common)};
}

}  // namespace twinblock::core
