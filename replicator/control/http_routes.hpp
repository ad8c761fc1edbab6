// What a request means and what an answer looks like, without sockets and without Beast: the part of the HTTP
// API that a fuzzer and a unit test can reach directly.
//
//   GET  /v1/version                      GET  /v1/status[/MIRROR]      GET /v1/explain/MIRROR
//   GET  /v1/events?since=N&wait_s=S      GET  /v1/metadata/MIRROR      GET /metrics
//   POST /v1/mirrors/MIRROR/VERB          body: CommandOptions as JSON, or empty
//
// Every answer with a status other than 200 carries a CommandResult, so that a client has one error path.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/units.hpp"
#include "replicator/control/protocol.hpp"

namespace twinblock::control {

inline constexpr std::size_t kHttpBodyBytesMax = 64u << 10;
inline constexpr std::size_t kHttpHeaderBytesMax = 8u << 10;
inline constexpr std::uint32_t kEventWaitSecondsMax = 60;

struct HttpRequest {
  std::string_view method;
  std::string_view target;  // path and query, as received
  std::string_view body;
  bool read_only{};  // came in on the TCP port: only GET
};

struct HttpResponse {
  unsigned status{200};
  std::string body;
  std::string_view content_type{"application/json"};
};

struct ServerIdentity {
  std::string node;
  std::string daemon_version;
};

enum class RouteKind : std::uint8_t {
  kRespond,  // `response` is the answer
  kStatus,   // ask the backend for the status of `command.mirror` (empty: all)
  kMetrics,  // the same, answered as Prometheus text
  kExecute,  // carry out `command`
  kEvents,   // events after `since`, waiting up to `wait_s` for the first
};

struct Route {
  RouteKind kind{RouteKind::kRespond};
  HttpResponse response;
  Command command;
  std::uint64_t since{};
  std::uint32_t wait_s{};
};

[[nodiscard]] Route route_request(const HttpRequest& request, const ServerIdentity& identity);

[[nodiscard]] HttpResponse answer_command(const CommandResult& result);
[[nodiscard]] HttpResponse answer_status(const Result<StatusReply>& status, std::string_view mirror,
                                         bool metrics);
[[nodiscard]] HttpResponse answer_events(const EventBatch& batch);
// An error of the HTTP layer itself.
[[nodiscard]] HttpResponse answer_error(unsigned status, std::string message, std::string next_step = {});

// The numbers of a status in Prometheus text format 0.0.4.
[[nodiscard]] std::string prometheus_text(const StatusReply& status);

}  // namespace twinblock::control
