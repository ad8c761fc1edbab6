// Any bytes as a configuration file: either a configuration or problems that each say something.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/assert.hpp"
#include "replicator/control/config.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace control = twinblock::control;
  const std::string_view text{static_cast<const char*>(static_cast<const void*>(data)), size};
  const auto check = control::parse_config(text, "fuzz.toml", "alpha");
  TB_ASSERT(check.config.has_value() == check.problems.empty());
  for (const auto& problem : check.problems) TB_ASSERT(!problem.text().empty() && !problem.problem.empty());
  if (!check.config) return 0;
  for (const auto& mirror : check.config->mirrors) {
    TB_ASSERT(mirror.nodes.size() == 2 && mirror.local_node().name == check.config->node_name);
    const auto fields = control::mirror_wide_fields(mirror);
    TB_ASSERT(control::config_differences(fields, fields).empty());
    TB_ASSERT(control::config_digest(fields) == control::config_digest(fields));
  }
  return 0;
}
