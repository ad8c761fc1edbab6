// What `twinblock explain` answers: lines for people, and the same facts as JSON.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "bitmap/superblock.hpp"
#include "replicator/control/config.hpp"
#include "replicator/core/status.hpp"
#include "transport/wire/messages.hpp"

namespace twinblock::engine {

// A JSON string literal; control characters are escaped.
[[nodiscard]] std::string json_quote(std::string_view text);

[[nodiscard]] std::string_view cause_word(bitmap::GenerationCause cause);

// `peer_state`: what the peer said of itself in the last handshake, if there was one since the start; as old
// as that, and shown with its age. Everything else is as of `now`. Which rule judged the last handshake, both
// histories, what a decision against it would cost. Without a snapshot (the mirror is not running) only what
// the metadata says.
[[nodiscard]] std::string explain_json(const bitmap::Superblock& superblock, NodeIndex peer,
                                       const std::optional<core::MirrorSnapshot>& snapshot,
                                       const wire::StateBody* peer_state = nullptr, Instant now = {});

// The same for people, in lines without a last newline. `why`: the reason of the status, or what kept the
// mirror from running.
[[nodiscard]] std::string explain_text(const bitmap::Superblock& superblock,
                                       const control::MirrorConfig& config,
                                       const std::optional<core::MirrorSnapshot>& snapshot,
                                       std::string_view why, const wire::StateBody* peer_state = nullptr,
                                       Instant now = {});

}  // namespace twinblock::engine
