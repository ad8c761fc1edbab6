#include "replicator/control/config_fields.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/assert.hpp"
#include "replicator/control/protocol_text.hpp"

namespace twinblock::control {

namespace {

constexpr std::array<std::string_view, 4> kWriteAloneWords{"free", "fenced", "quorum", "never"};
constexpr std::array<std::string_view, 2> kAfterRestartWords{"resume", "target"};
constexpr std::array<std::string_view, 2> kAsyncPromoteWords{"ask", "allow"};
constexpr std::array<std::string_view, 2> kQueuePolicyWords{"track", "block"};

template <class Enum, std::size_t N>
bool assign_word(const std::array<std::string_view, N>& words, const Scalar& value, Enum& out) {
  const auto* text = std::get_if<std::string>(&value);
  if (text == nullptr) return false;
  const auto found = std::find(words.begin(), words.end(), *text);
  if (found == words.end()) return false;
  out = static_cast<Enum>(found - words.begin());
  return true;
}

std::optional<std::uint64_t> size_of(const Scalar& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return parse_size(*text);
  const auto* number = std::get_if<std::int64_t>(&value);
  if (number == nullptr || *number < 0) return std::nullopt;
  return static_cast<std::uint64_t>(*number);
}

bool assign_size(const Scalar& value, std::uint64_t min, std::uint64_t max, ByteCount& out) {
  const auto size = size_of(value);
  if (!size || *size < min || *size > max) return false;
  out = ByteCount{*size};
  return true;
}

// Seconds, whole or with a fraction; nanoseconds inside.
bool assign_seconds(const Scalar& value, double min, double max, Duration& out) {
  double seconds{};
  if (const auto* whole = std::get_if<std::int64_t>(&value)) {
    seconds = static_cast<double>(*whole);
  } else if (const auto* fraction = std::get_if<double>(&value)) {
    seconds = *fraction;
  } else {
    return false;
  }
  if (!(seconds >= min && seconds <= max)) return false;
  out = Duration{static_cast<std::int64_t>(std::llround(seconds * 1e9))};
  return true;
}

std::string show_seconds(Duration value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.9g", static_cast<double>(value.nanoseconds()) / 1e9);
  return text.data();
}

bool assign_bool(const Scalar& value, bool& out) {
  const auto* flag = std::get_if<bool>(&value);
  if (flag == nullptr) return false;
  out = *flag;
  return true;
}

std::string show_bool(bool value) {
  return value ? "true" : "false";
}

bool assign_mode(MirrorConfig& m, const Scalar& value) {
  const auto* text = std::get_if<std::string>(&value);
  const auto mode = text == nullptr ? std::nullopt : parse_word<Mode>(*text);
  if (mode) m.mode = *mode;
  return mode.has_value();
}

bool assign_region_size(MirrorConfig& m, const Scalar& value) {
  const auto size = size_of(value);
  return size && std::has_single_bit(*size) && assign_size(value, 4u << 10, 1u << 20, m.region_size);
}

bool assign_hot_extents(MirrorConfig& m, const Scalar& value) {
  const auto* number = std::get_if<std::int64_t>(&value);
  if (number == nullptr || *number < 8 || *number > 768) return false;
  m.hot_extents = static_cast<std::uint32_t>(*number);
  return true;
}

bool assign_logical_block_size(MirrorConfig& m, const Scalar& value) {
  if (const auto* text = std::get_if<std::string>(&value); text != nullptr && *text == "auto") {
    m.logical_block_size = 0;
    return true;
  }
  const auto size = size_of(value);
  if (!size || (*size != 512 && *size != 1024 && *size != 2048 && *size != 4096)) return false;
  m.logical_block_size = static_cast<std::uint32_t>(*size);
  return true;
}

constexpr std::uint64_t kQueueBytesMin = 1u << 20;
constexpr std::uint64_t kQueueBytesMax = 64ull << 30;
constexpr std::uint64_t kRateMax = 1ull << 40;

using Mirror = MirrorConfig;
constexpr std::array kFields{
    MirrorField{"mode", "\"sync\", \"memsync\", \"async\"", true, assign_mode,
                [](const Mirror& m) { return std::string{to_string(m.mode)}; }},
    MirrorField{"region_size", "a power of two from \"4KiB\" to \"1MiB\"", false, assign_region_size,
                [](const Mirror& m) { return exact_size(m.region_size.value()); }},
    MirrorField{"hot_extents", "a whole number from 8 to 768", false, assign_hot_extents,
                [](const Mirror& m) { return std::to_string(m.hot_extents); }},
    MirrorField{"logical_block_size", "512, 1024, 2048, 4096 or \"auto\"", false, assign_logical_block_size,
                [](const Mirror& m) {
                  return m.logical_block_size == 0 ? std::string{"auto"}
                                                   : std::to_string(m.logical_block_size);
                }},
    MirrorField{"queue_bytes_max", "a size from \"1MiB\" to \"64GiB\"", true,
                [](Mirror& m, const Scalar& v) {
                  return assign_size(v, kQueueBytesMin, kQueueBytesMax, m.queue_bytes_max);
                },
                [](const Mirror& m) { return exact_size(m.queue_bytes_max.value()); }},
    MirrorField{"queue_age_max_s", "seconds from 1 to 86400", true,
                [](Mirror& m, const Scalar& v) { return assign_seconds(v, 1, 86400, m.queue_age_max); },
                [](const Mirror& m) { return show_seconds(m.queue_age_max); }},
    MirrorField{"queue_policy", "\"track\", \"block\"", true,
                [](Mirror& m, const Scalar& v) { return assign_word(kQueuePolicyWords, v, m.queue_policy); },
                [](const Mirror& m) { return std::string{to_string(m.queue_policy)}; }},
    MirrorField{"write_alone", "\"free\", \"fenced\", \"quorum\", \"never\"", true,
                [](Mirror& m, const Scalar& v) { return assign_word(kWriteAloneWords, v, m.write_alone); },
                [](const Mirror& m) { return std::string{to_string(m.write_alone)}; }},
    MirrorField{
        "after_restart", "\"resume\", \"target\"", true,
        [](Mirror& m, const Scalar& v) { return assign_word(kAfterRestartWords, v, m.after_restart); },
        [](const Mirror& m) { return std::string{to_string(m.after_restart)}; }},
    MirrorField{"hold_resync", "true, false", true,
                [](Mirror& m, const Scalar& v) { return assign_bool(v, m.hold_resync); },
                [](const Mirror& m) { return show_bool(m.hold_resync); }},
    MirrorField{
        "async_promote", "\"ask\", \"allow\"", true,
        [](Mirror& m, const Scalar& v) { return assign_word(kAsyncPromoteWords, v, m.async_promote); },
        [](const Mirror& m) { return std::string{to_string(m.async_promote)}; }},
    MirrorField{
        "resync_rate_bytes_per_s_min", "a size from 0 to \"1TiB\"", true,
        [](Mirror& m, const Scalar& v) { return assign_size(v, 0, kRateMax, m.resync_rate_bytes_per_s_min); },
        [](const Mirror& m) { return exact_size(m.resync_rate_bytes_per_s_min.value()); }},
    MirrorField{
        "resync_rate_bytes_per_s_max", "a size from 0 (no ceiling) to \"1TiB\"", true,
        [](Mirror& m, const Scalar& v) { return assign_size(v, 0, kRateMax, m.resync_rate_bytes_per_s_max); },
        [](const Mirror& m) { return exact_size(m.resync_rate_bytes_per_s_max.value()); }},
    MirrorField{"peer_timeout_s", "seconds from 0.1 to 600", true,
                [](Mirror& m, const Scalar& v) { return assign_seconds(v, 0.1, 600, m.peer_timeout); },
                [](const Mirror& m) { return show_seconds(m.peer_timeout); }},
    MirrorField{"disk_timeout_s", "seconds from 0.1 to 600", true,
                [](Mirror& m, const Scalar& v) { return assign_seconds(v, 0.1, 600, m.disk_timeout); },
                [](const Mirror& m) { return show_seconds(m.disk_timeout); }},
    MirrorField{"insecure", "true, false", false,
                [](Mirror& m, const Scalar& v) { return assign_bool(v, m.insecure); },
                [](const Mirror& m) { return show_bool(m.insecure); }},
};

// A command-line value, typed as TOML would type it; what is no boolean or number is a string.
Scalar typed(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  const char* const end = text.data() + text.size();
  std::int64_t whole{};
  if (const auto r = std::from_chars(text.data(), end, whole); r.ec == std::errc{} && r.ptr == end)
    return whole;
  double fraction{};
  if (const auto r = std::from_chars(text.data(), end, fraction); r.ec == std::errc{} && r.ptr == end) {
    return fraction;
  }
  return std::string{text};
}

template <std::size_t N, class Enum>
std::string_view word(const std::array<std::string_view, N>& words, Enum value) {
  const auto index = static_cast<std::size_t>(value);
  TB_ASSERT(index < N);
  return words[index];
}

}  // namespace

std::span<const MirrorField> mirror_fields() {
  return kFields;
}

const MirrorField* find_mirror_field(std::string_view key) {
  const auto found =
      std::find_if(kFields.begin(), kFields.end(), [&](const auto& f) { return f.key == key; });
  return found == kFields.end() ? nullptr : &*found;
}

std::vector<FieldConflict> field_conflicts(const MirrorConfig& mirror) {
  std::vector<FieldConflict> conflicts;
  const ByteCount low = mirror.resync_rate_bytes_per_s_min;
  const ByteCount high = mirror.resync_rate_bytes_per_s_max;
  if (high.value() != 0 && high < low) {
    conflicts.push_back(
        {"resync_rate_bytes_per_s_max",
         exact_size(high.value()) + " is below resync_rate_bytes_per_s_min, " + exact_size(low.value()),
         "0 (no ceiling) or at least the minimum"});
  }
  return conflicts;
}

std::string scalar_text(const Scalar& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return '"' + *text + '"';
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return std::to_string(*whole);
  if (const auto* flag = std::get_if<bool>(&value)) return show_bool(*flag);
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%g", std::get<double>(value));
  return text.data();
}

namespace {

std::optional<Diagnostic> assign_setting(MirrorConfig& mirror, std::string_view key, std::string_view value) {
  Diagnostic problem{
      .file = {}, .line = 0, .key = std::string{key}, .problem = {}, .allowed = {}, .hint = {}};
  const MirrorField* field = find_mirror_field(key);
  if (field == nullptr || !field->settable) {
    const auto keys = settable_keys();
    problem.problem = field == nullptr ? "unknown key" : "cannot be changed while the mirror exists";
    for (const auto& k : keys) problem.allowed += (problem.allowed.empty() ? "" : ", ") + std::string{k};
    if (field == nullptr) problem.hint = closest_word(key, keys.data(), keys.size());
    return problem;
  }
  if (!field->assign(mirror, typed(value)) && !field->assign(mirror, Scalar{std::string{value}})) {
    problem.problem = "\"" + std::string{value} + "\" is not an allowed value";
    problem.allowed = field->allowed;
    return problem;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Diagnostic> apply_settings(MirrorConfig& mirror, const Settings& settings) {
  MirrorConfig changed = mirror;
  for (const auto& [key, value] : settings) {
    if (auto problem = assign_setting(changed, key, value)) return problem;
  }
  if (const auto conflicts = field_conflicts(changed); !conflicts.empty()) {
    const FieldConflict& first = conflicts.front();
    return Diagnostic{.file = {},
                      .line = 0,
                      .key = std::string{first.key},
                      .problem = first.problem,
                      .allowed = first.allowed,
                      .hint = {}};
  }
  mirror = std::move(changed);
  return std::nullopt;
}

std::vector<std::string_view> settable_keys() {
  std::vector<std::string_view> keys;
  for (const auto& field : kFields) {
    if (field.settable) keys.push_back(field.key);
  }
  return keys;
}

std::vector<ConfigField> mirror_wide_fields(const MirrorConfig& mirror) {
  std::vector<ConfigField> fields{{"name", mirror.name}};
  for (const auto& field : kFields) fields.push_back({std::string{field.key}, field.show(mirror)});
  for (std::size_t i = 0; i < mirror.nodes.size(); ++i) {
    const NodeConfig& node = mirror.nodes[i];
    const std::string prefix = "node[" + std::to_string(i) + "].";
    std::string addresses;
    for (const auto& a : node.replication) addresses += (addresses.empty() ? "" : ", ") + a.text();
    fields.push_back({prefix + "name", node.name});
    fields.push_back({prefix + "mode", std::string{to_string(mirror.mode_towards(node))}});
    fields.push_back({prefix + "replication", addresses});
  }
  return fields;
}

std::string_view to_string(WriteAlone value) {
  return word(kWriteAloneWords, value);
}
std::string_view to_string(AfterRestart value) {
  return word(kAfterRestartWords, value);
}
std::string_view to_string(AsyncPromote value) {
  return word(kAsyncPromoteWords, value);
}
std::string_view to_string(QueuePolicy value) {
  return word(kQueuePolicyWords, value);
}

}  // namespace twinblock::control
