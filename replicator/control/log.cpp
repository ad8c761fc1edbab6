#include "replicator/control/log.hpp"

#include <algorithm>
#include <atomic>
#include <ctime>
#include <memory>

#include <spdlog/async.h>
#include <spdlog/async_logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "base/assert.hpp"

namespace twinblock::control {

namespace {

constexpr std::string_view kSharedKey = "(other)";
constexpr const char* kPattern = "%Y-%m-%dT%H:%M:%S.%eZ %l %v";

struct Logging {
  std::shared_ptr<spdlog::details::thread_pool> pool;
  std::shared_ptr<spdlog::logger> logger;
  RateLimiter limiter;
  explicit Logging(RateLimiter::Rules rules = {}) : limiter{rules} {}
};

// Shared ownership, so that a line written while another thread shuts logging down stays valid.
std::mutex g_mutex;
std::shared_ptr<Logging> g_logging;

std::shared_ptr<Logging> direct_logging() {
  auto logging = std::make_shared<Logging>();
  logging->logger =
      std::make_shared<spdlog::logger>("twinblock", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logging->logger->set_pattern(kPattern, spdlog::pattern_time_type::utc);
  return logging;
}

std::shared_ptr<Logging> current_logging() {
  const std::lock_guard lock{g_mutex};
  if (!g_logging) g_logging = direct_logging();
  return g_logging;
}

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

Instant monotonic_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return Instant{static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec};
}

bool needs_quotes(std::string_view text) {
  return text.empty() || std::any_of(text.begin(), text.end(), [](char c) {
           return static_cast<unsigned char>(c) <= ' ' || c == '"' || c == '\\' || c == '=' || c == '\x7f';
         });
}

void append_value(std::string& out, std::string_view value, bool quoted) {
  constexpr std::string_view kHex = "0123456789abcdef";
  if (!quoted && !needs_quotes(value)) {
    out += value;
    return;
  }
  out += '"';
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < ' ' || byte == 0x7f) {
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  out += '"';
}

}  // namespace

RateLimiter::RateLimiter(Rules rules) : rules_{rules} {
  TB_ASSERT(rules.burst > 0 && rules.refill > Duration{});
}

RateLimiter::Bucket& RateLimiter::bucket_of(std::string_view key, Instant now) {
  auto found = buckets_.find(std::string{key});
  if (found != buckets_.end()) return found->second;
  const bool full = buckets_.size() >= kRateLimitKeysMax;
  return buckets_.try_emplace(std::string{full ? kSharedKey : key}, Bucket{rules_.burst, now, 0})
      .first->second;
}

RateLimiter::Verdict RateLimiter::admit(std::string_view key, Instant now) {
  const std::lock_guard lock{mutex_};
  Bucket& bucket = bucket_of(key, now);
  const std::int64_t step = rules_.refill.nanoseconds();
  const std::int64_t gained = now > bucket.refilled ? (now - bucket.refilled).nanoseconds() / step : 0;
  bucket.refilled = bucket.refilled + Duration{gained * step};
  const auto room = static_cast<std::int64_t>(rules_.burst - bucket.tokens);
  bucket.tokens += static_cast<std::uint32_t>(std::min(gained, room));
  if (bucket.tokens == 0) {
    ++bucket.suppressed;
    return {};
  }
  // A full bucket does not bank time towards its next token.
  if (bucket.tokens == rules_.burst) bucket.refilled = now;
  --bucket.tokens;
  return {true, std::exchange(bucket.suppressed, 0)};
}

std::vector<std::pair<std::string, std::uint64_t>> RateLimiter::take_suppressed() {
  const std::lock_guard lock{mutex_};
  std::vector<std::pair<std::string, std::uint64_t>> taken;
  for (auto& [key, bucket] : buckets_) {
    if (bucket.suppressed > 0) taken.emplace_back(key, std::exchange(bucket.suppressed, 0));
  }
  std::sort(taken.begin(), taken.end());
  return taken;
}

void log_setup(const LogOptions& options) {
  auto logging = std::make_shared<Logging>(options.limit);
  std::shared_ptr<spdlog::sinks::sink> sink;
  if (options.file.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  } else {
    sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file);
  }
  logging->pool = std::make_shared<spdlog::details::thread_pool>(options.queue_lines, 1);
  logging->logger = std::make_shared<spdlog::async_logger>("twinblock", sink, logging->pool,
                                                           spdlog::async_overflow_policy::overrun_oldest);
  logging->logger->set_pattern(kPattern, spdlog::pattern_time_type::utc);
  logging->logger->set_level(spdlog_level(options.level));
  logging->logger->flush_on(spdlog::level::warn);
  const std::lock_guard lock{g_mutex};
  g_logging = std::move(logging);
}

void log_shutdown() {
  std::shared_ptr<Logging> logging;
  {
    const std::lock_guard lock{g_mutex};
    logging = std::exchange(g_logging, nullptr);
  }
  if (!logging) return;
  for (const auto& [key, count] : logging->limiter.take_suppressed()) {
    logging->logger->info(format_log_line(key, "lines of this key were suppressed", {}, count));
  }
  if (logging->pool && logging->pool->overrun_counter() > 0) {
    logging->logger->info(format_log_line("log.overrun", "the log queue was full",
                                          {{"dropped", logging->pool->overrun_counter()}}, 0));
  }
  logging->logger->flush();
  // The pool's destructor writes what is queued and joins its thread.
}

void log_line(LogLevel level, std::string_view key, std::string_view message, LogFields fields) {
  const auto logging = current_logging();
  const auto target = spdlog_level(level);
  if (!logging->logger->should_log(target)) return;
  const auto verdict = logging->limiter.admit(key, monotonic_now());
  if (!verdict.allowed) return;
  const std::string line = format_log_line(key, message, fields, verdict.suppressed);
  logging->logger->log(target, spdlog::string_view_t{line.data(), line.size()});
}

std::string format_log_line(std::string_view key, std::string_view message, LogFields fields,
                            std::uint64_t suppressed) {
  std::string line{key};
  for (const auto& field : fields) {
    line += ' ';
    line += field.name;
    line += '=';
    append_value(line, field.value, false);
  }
  if (suppressed > 0) line += " suppressed=" + std::to_string(suppressed);
  line += " msg=";
  append_value(line, message, true);
  return line;
}

}  // namespace twinblock::control
