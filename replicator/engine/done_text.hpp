// What an operator is told when the core has accepted a command: "done" alone would hide that a link is still
// being dialled, that nothing had to be copied, or that the other node has the next word. Pure.
#pragma once

#include <string>

#include "replicator/control/config.hpp"
#include "replicator/control/protocol.hpp"
#include "replicator/core/status.hpp"
#include "replicator/engine/status_map.hpp"

namespace twinblock::engine {

struct AcceptedCommand {
  control::Verb verb{};
  bool full = false;  // resync
};

// Of an open split-brain: what was decided where, whose word is missing, and what to type on which node.
// Empty as long as nobody has decided anything.
struct Decision {
  std::string what;
  std::string next_step;
};
[[nodiscard]] Decision decision_on(const core::MirrorSnapshot& snapshot, const control::MirrorConfig& config);

// `snapshot`: after the command.
[[nodiscard]] control::CommandResult done_result(const AcceptedCommand& command,
                                                 const core::MirrorSnapshot& snapshot,
                                                 const control::MirrorConfig& config,
                                                 const RunningFacts& facts);

}  // namespace twinblock::engine
