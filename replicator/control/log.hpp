// The daemon's log: one line of key=value per event on stderr, for journald and grep. It must not hurt what
// it reports on: a call never waits for the terminal or the disk (a background thread writes; a full queue
// drops its oldest line) and a failure that repeats a thousand times a second is a few lines with a count.
//
//   log_warning("link.down", "lost the session", {{"mirror", name}, {"peer", peer}, {"errno", e}});
//   2026-11-20T13:22:21.123Z warning link.down mirror=data peer=beta errno=110 msg="lost the session"
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/units.hpp"

namespace twinblock::control {

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarning, kError };

struct LogField {
  std::string name;
  std::string value;
  LogField(std::string_view n, std::string_view v) : name{n}, value{v} {}
  LogField(std::string_view n, const char* v) : name{n}, value{v} {}
  LogField(std::string_view n, const std::string& v) : name{n}, value{v} {}
  LogField(std::string_view n, bool v) : name{n}, value{v ? "true" : "false"} {}
  template <std::integral Integer>
    requires(!std::same_as<Integer, bool>)
  LogField(std::string_view n, Integer v) : name{n}, value{std::to_string(v)} {}
};
using LogFields = std::initializer_list<LogField>;

// A token bucket per key. Bounded: keys beyond kRateLimitKeysMax share one bucket. Thread-safe.
class RateLimiter {
 public:
  struct Rules {
    std::uint32_t burst{10};
    Duration refill{Duration::seconds(1)};  // one token per
  };
  struct Verdict {
    bool allowed{};
    std::uint64_t suppressed{};  // refused since the last allowed one of this key; 0 unless allowed
  };
  RateLimiter() : RateLimiter(Rules{}) {}
  explicit RateLimiter(Rules rules);

  [[nodiscard]] Verdict admit(std::string_view key, Instant now);
  // Keys with refused lines that no later line has reported; their counts start over.
  [[nodiscard]] std::vector<std::pair<std::string, std::uint64_t>> take_suppressed();

 private:
  struct Bucket {
    std::uint32_t tokens{};
    Instant refilled;  // the time up to which tokens have been added
    std::uint64_t suppressed{};
  };
  Bucket& bucket_of(std::string_view key, Instant now);

  std::mutex mutex_;
  Rules rules_;
  std::unordered_map<std::string, Bucket> buckets_;
};
inline constexpr std::size_t kRateLimitKeysMax = 1024;

struct LogOptions {
  LogLevel level{LogLevel::kInfo};
  std::size_t queue_lines{8192};
  RateLimiter::Rules limit{};
  std::string file{};  // empty: stderr
};

// Before the first log_*() call lines go to stderr directly. Call once at start and once at the end; shutdown
// writes what is queued and reports lines that were suppressed or dropped.
void log_setup(const LogOptions& options);
void log_shutdown();

// `key` is a stable dotted word, and what the rate limit counts by: put what varies into fields.
void log_line(LogLevel level, std::string_view key, std::string_view message, LogFields fields = {});
inline void log_debug(std::string_view key, std::string_view message, LogFields fields = {}) {
  log_line(LogLevel::kDebug, key, message, fields);
}
inline void log_info(std::string_view key, std::string_view message, LogFields fields = {}) {
  log_line(LogLevel::kInfo, key, message, fields);
}
inline void log_warning(std::string_view key, std::string_view message, LogFields fields = {}) {
  log_line(LogLevel::kWarning, key, message, fields);
}
inline void log_error(std::string_view key, std::string_view message, LogFields fields = {}) {
  log_line(LogLevel::kError, key, message, fields);
}

// "key a=1 b=\"two words\" msg=\"...\"": control characters are escaped, so that a peer cannot forge lines.
[[nodiscard]] std::string format_log_line(std::string_view key, std::string_view message, LogFields fields,
                                          std::uint64_t suppressed);

}  // namespace twinblock::control
