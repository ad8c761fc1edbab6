// Sizes and durations as people write and read them; shared by the config, the CLI and `set`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace twinblock::control {

// "4096", "64KiB", "256MiB", "1.5GiB", "2TiB"; binary units only, because "MB" means two things. None if it
// is anything else, has a fraction of a byte or does not fit 63 bits.
[[nodiscard]] std::optional<std::uint64_t> parse_size(std::string_view text);

// The shortest exact form that parse_size() reads back: 65536 -> "64KiB", 1000 -> "1000".
[[nodiscard]] std::string exact_size(std::uint64_t bytes);

// For people: three significant digits, "1.46 GiB".
[[nodiscard]] std::string human_size(std::uint64_t bytes);

// "45s", "3m10s", "2h05m", "4d03h".
[[nodiscard]] std::string human_seconds(std::uint64_t seconds);

// The candidate that `word` was probably meant to be (at most three edits away, and fewer than half of its
// letters), or an empty view.
[[nodiscard]] std::string_view closest_word(std::string_view word, const std::string_view* candidates,
                                            std::size_t candidate_count);

}  // namespace twinblock::control
