// Who is newer? One pure function over what two replicas know (DESIGN §6). The table with the reasoning of
// each row is docs/internals/generations.md; row numbers here and there are the same, and `explain` prints
// them. Both sides evaluate it with the views swapped and must get mirrored answers.
#pragma once

#include <cstdint>

#include "base/units.hpp"
#include "replicator/core/session_marks.hpp"
#include "replicator/core/types.hpp"
#include "transport/wire/messages.hpp"

namespace twinblock::core {

// One side as the other sees it: its state message and its name.
struct NodeView {
  NodeIndex node;
  std::uint64_t identity = 0;
  std::uint64_t mirror_id = 0;
  wire::StateBody state;
};

enum class VerdictKind : std::uint8_t { in_sync = 0, resync = 1, refuse = 2 };

struct Verdict {
  VerdictKind kind = VerdictKind::refuse;
  Refusal refusal = Refusal::none;
  std::uint8_t rule = 0;          // row of the table that fired
  NodeIndex leader;               // numbers the stream; where a resync comes from
  bool full = false;              // every region, not the bits
  bool stays_promotable = false;  // P8's exception
  friend bool operator==(const Verdict&, const Verdict&) = default;
};

[[nodiscard]] Verdict decide(const NodeView& mine, const NodeView& theirs);

// `self` remembers another replica in the place of `peer`: its marks say nothing of this one.
[[nodiscard]] bool knows_another(const NodeView& self, const NodeView& peer);
// What `self` has written down of sessions with this very replica; none with another one in its place.
[[nodiscard]] SessionMarks marks_of(const NodeView& self, const NodeView& peer);

// The state claims to be source and nobody has seen a higher term than its own.
[[nodiscard]] bool effective_source(const wire::StateBody& self, const wire::StateBody& other);

}  // namespace twinblock::core
