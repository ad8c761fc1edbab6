#include "replicator/control/protocol_text.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

namespace twinblock::control {

namespace {

struct Unit {
  std::string_view name;
  unsigned shift;
};
constexpr std::array<Unit, 5> kUnits{{{"B", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}}};
constexpr std::uint64_t kSizeMax = INT64_MAX;

// Levenshtein distance; config keys are short, so the quadratic table is nothing.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitute});
    }
  }
  return row[b.size()];
}

}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) {
  // The digits before and after the point, as one number with a decimal scale.
  std::uint64_t digits{};
  std::uint64_t scale = 1;
  std::size_t i = 0;
  bool point = false;
  bool any = false;
  for (; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '.' && !point && any) {
      point = true;
      continue;
    }
    if (c < '0' || c > '9') break;
    if (digits > (kSizeMax - 9) / 10) return std::nullopt;
    digits = digits * 10 + static_cast<std::uint64_t>(c - '0');
    if (point) scale *= 10;
    any = true;
  }
  if (!any || text[i - 1] == '.') return std::nullopt;
  while (i < text.size() && text[i] == ' ') ++i;
  const std::string_view name = text.substr(i);
  const auto unit = std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return u.name == name; });
  if (unit == kUnits.end() && !name.empty()) return std::nullopt;
  const unsigned shift = unit == kUnits.end() ? 0 : unit->shift;
  while (scale > 1 && digits % 10 == 0) {
    digits /= 10;
    scale /= 10;
  }
  if (digits > (kSizeMax >> shift)) return std::nullopt;
  const std::uint64_t scaled = digits << shift;
  if (scaled % scale != 0) return std::nullopt;
  return scaled / scale;
}

std::string exact_size(std::uint64_t bytes) {
  for (auto unit = kUnits.rbegin(); unit != kUnits.rend(); ++unit) {
    const std::uint64_t one = 1ull << unit->shift;
    if (unit->shift > 0 && bytes >= one && bytes % one == 0) {
      return std::to_string(bytes >> unit->shift) + std::string{unit->name};
    }
  }
  return std::to_string(bytes);
}

std::string human_size(std::uint64_t bytes) {
  std::size_t unit = 0;
  auto value = static_cast<double>(bytes);
  // 999.5 and more would print as four digits.
  while (value >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  std::array<char, 48> text{};
  const int decimals = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  const std::string name{kUnits[unit].name};
  std::snprintf(text.data(), text.size(), "%.*f %s", decimals, value, name.c_str());
  return text.data();
}

std::string human_seconds(std::uint64_t seconds) {
  std::array<char, 64> text{};
  const auto part = [](std::uint64_t v) { return static_cast<unsigned long long>(v); };
  if (seconds < 60) {
    std::snprintf(text.data(), text.size(), "%llus", part(seconds));
  } else if (seconds < 3600) {
    std::snprintf(text.data(), text.size(), "%llum%02llus", part(seconds / 60), part(seconds % 60));
  } else if (seconds < 86400) {
    std::snprintf(text.data(), text.size(), "%lluh%02llum", part(seconds / 3600), part(seconds % 3600 / 60));
  } else {
    std::snprintf(text.data(), text.size(), "%llud%02lluh", part(seconds / 86400),
                  part(seconds % 86400 / 3600));
  }
  return text.data();
}

std::string_view closest_word(std::string_view word, const std::string_view* candidates,
                              std::size_t candidate_count) {
  std::string_view best;
  std::size_t best_distance = 4;  // three edits cover a forgotten unit suffix such as "_s" plus a typo
  if (word.size() > 64) return best;
  for (std::size_t i = 0; i < candidate_count; ++i) {
    const std::size_t distance = edit_distance(word, candidates[i]);
    if (distance < best_distance && distance * 2 < candidates[i].size()) {
      best_distance = distance;
      best = candidates[i];
    }
  }
  return best;
}

}  // namespace twinblock::control
