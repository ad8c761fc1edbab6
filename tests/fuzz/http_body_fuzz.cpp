// Any bytes as a request of the control API and as each of the protocol's texts. The first line of the input
// is the target, the rest the body.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/assert.hpp"
#include "replicator/control/http_routes.hpp"

namespace {

namespace control = twinblock::control;

// What was understood must survive being said again.
template <class T>
void round_trip(std::string_view text) {
  std::string problem;
  const auto value = control::from_json<T>(text, &problem);
  if (!value) {
    TB_ASSERT(!problem.empty());
    return;
  }
  const auto again = control::from_json<T>(control::to_json(*value));
  TB_ASSERT(again.has_value() && *again == *value);
}

void check_route(std::string_view method, std::string_view target, std::string_view body) {
  const control::Route route = control::route_request({method, target, body, false}, {"alpha", "0.1.0"});
  if (route.kind == control::RouteKind::kExecute) TB_ASSERT(control::valid_name(route.command.mirror));
  if (route.kind == control::RouteKind::kEvents) TB_ASSERT(route.wait_s <= control::kEventWaitSecondsMax);
  if (route.kind != control::RouteKind::kRespond || route.response.status == 200) return;
  const auto error = control::from_json<control::CommandResult>(route.response.body);
  TB_ASSERT(error.has_value() && !error->message.empty() && !error->next_step.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{static_cast<const char*>(static_cast<const void*>(data)), size};
  const std::size_t line = text.find('\n');
  const std::string_view body = line == std::string_view::npos ? std::string_view{} : text.substr(line + 1);
  check_route("GET", text.substr(0, line), body);
  check_route("POST", text.substr(0, line), body);
  check_route("POST", "/v1/mirrors/data/promote", text);
  round_trip<control::CommandOptions>(text);
  round_trip<control::Command>(text);
  round_trip<control::StatusReply>(text);
  round_trip<control::MirrorStatus>(text);
  round_trip<control::CommandResult>(text);
  round_trip<control::EventBatch>(text);
  return 0;
}
