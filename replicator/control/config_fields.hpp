// The scalar keys of a [[mirror]] table, as one table: the file reader, `set`, the comparison with the peer
// and the "did you mean" all walk it, so that a key cannot exist for one of them only. Private to
// control_config.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "replicator/control/config.hpp"

namespace twinblock::control {

// A value as TOML or the command line gives it.
using Scalar = std::variant<std::string, std::int64_t, double, bool>;

struct MirrorField {
  std::string_view key;
  std::string_view allowed;                      // in words, for error messages
  bool settable;                                 // may change while the mirror runs
  bool (*assign)(MirrorConfig&, const Scalar&);  // false: not an allowed value; nothing changed
  std::string (*show)(const MirrorConfig&);      // canonical text
};

[[nodiscard]] std::span<const MirrorField> mirror_fields();
[[nodiscard]] const MirrorField* find_mirror_field(std::string_view key);

// Problems between fields (each is allowed alone): empty if none, else the key and the sentence.
struct FieldConflict {
  std::string_view key;
  std::string problem;
  std::string allowed;
};
[[nodiscard]] std::vector<FieldConflict> field_conflicts(const MirrorConfig& mirror);

[[nodiscard]] std::string scalar_text(const Scalar& value);

}  // namespace twinblock::control
