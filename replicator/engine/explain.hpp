// What `twinblock explain` and `metadata dump` answer, as JSON text.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "bitmap/superblock.hpp"
#include "replicator/core/status.hpp"

namespace twinblock::engine {

// A JSON string literal; control characters are escaped.
[[nodiscard]] std::string json_quote(std::string_view text);

// Which rule judged the last handshake, this node's history, what a decision against it would cost. Without a
// snapshot (the mirror is not running) only what the metadata says.
[[nodiscard]] std::string explain_json(const bitmap::Superblock& superblock, NodeIndex peer,
                                       const std::optional<core::MirrorSnapshot>& snapshot);

}  // namespace twinblock::engine
