// What a core::Refusal means to an operator: the one table behind commands, status reasons and
// docs/internals/errors.md.
#pragma once

#include <string>
#include <string_view>

#include "replicator/control/protocol.hpp"
#include "replicator/core/types.hpp"

namespace twinblock::engine {

struct RefusalText {
  std::string_view word;  // stable, for logs and scripts
  std::string_view message;
  std::string_view what_is_safe;
  std::string_view next_step;  // MIRROR, PEER: replaced by for_mirror()
  control::Outcome outcome;    // the exit code
};

[[nodiscard]] const RefusalText& refusal_text(core::Refusal refusal);

// `text` with MIRROR and PEER replaced.
[[nodiscard]] std::string for_mirror(std::string_view text, std::string_view mirror, std::string_view peer);

}  // namespace twinblock::engine
