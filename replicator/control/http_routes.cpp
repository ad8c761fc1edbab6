#include "replicator/control/http_routes.hpp"

#include <charconv>
#include <vector>

namespace twinblock::control {

namespace {

constexpr std::string_view kNothingChanged = "Nothing was changed.";

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

Route respond(HttpResponse response) {
  Route route;
  route.response = std::move(response);
  return route;
}

Route not_found() {
  return respond(answer_error(404, "There is no such resource in the control API.", "twinblock status"));
}

Route only(std::string_view method, std::string_view resource) {
  return respond(answer_error(405, std::string{resource} + " takes only " + std::string{method} + "."));
}

// The body of an error repeats at most this much of what the client sent.
std::string excerpt(std::string_view text) {
  return std::string{text.substr(0, 80)};
}

Route bad_name(std::string_view name) {
  return respond(
      answer_error(400, "\"" + excerpt(name) + "\" is not a valid mirror name.", "twinblock status"));
}

Route execute_route(Verb verb, std::string_view mirror) {
  if (!valid_name(mirror)) return bad_name(mirror);
  Route route;
  route.kind = RouteKind::kExecute;
  route.command.verb = verb;
  route.command.mirror = mirror;
  return route;
}

template <class Number>
bool read_number(std::string_view text, Number& out) {
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, out);
  return !text.empty() && parsed.ec == std::errc{} && parsed.ptr == end;
}

Route events_route(std::string_view query) {
  Route route;
  route.kind = RouteKind::kEvents;
  if (query.empty()) return route;
  for (const auto part : split(query, '&')) {
    bool understood = false;
    if (part.starts_with("since=")) understood = read_number(part.substr(6), route.since);
    if (part.starts_with("wait_s=")) understood = read_number(part.substr(7), route.wait_s);
    if (!understood || route.wait_s > kEventWaitSecondsMax) {
      return respond(
          answer_error(400, "\"" + excerpt(part) + "\" is not understood; allowed: since=N, wait_s=0 to 60.",
                       "twinblock events --follow"));
    }
  }
  return route;
}

Route post_route(const HttpRequest& request, std::string_view mirror, std::string_view verb_word) {
  if (request.read_only) {
    return respond(answer_error(403, "This port only reads; commands go to the control socket of the node.",
                                "twinblock " + excerpt(verb_word)));
  }
  const auto verb = parse_word<Verb>(verb_word);
  if (!verb) {
    return respond(answer_error(404, "\"" + excerpt(verb_word) + "\" is not a command.", "twinblock --help"));
  }
  Route route = execute_route(*verb, mirror);
  if (route.kind != RouteKind::kExecute) return route;
  std::string problem;
  auto options = from_json<CommandOptions>(request.body, &problem);
  if (!options) {
    return respond(answer_error(400, "The request body is not valid: " + problem + ".", "twinblock --help"));
  }
  route.command.options = std::move(*options);
  return route;
}

Route get_route(const std::vector<std::string_view>& path, std::string_view query,
                const ServerIdentity& identity) {
  const std::string_view resource = path[1];
  if (resource == "events" && path.size() == 2) return events_route(query);
  if (!query.empty()) return respond(answer_error(400, "This resource takes no query."));
  if (resource == "version" && path.size() == 2) {
    CommandResult result;
    result.message = "twinblock " + identity.daemon_version + " on node " + identity.node;
    // Both are words without quotes or backslashes: names follow valid_name(), the version is ours.
    result.data =
        R"({"node":")" + identity.node + R"(","daemon_version":")" + identity.daemon_version + "\"}";
    return respond({200, to_json(result)});
  }
  if (resource == "status" && path.size() <= 3) {
    Route route;
    route.kind = RouteKind::kStatus;
    if (path.size() == 3 && !valid_name(path[2])) return bad_name(path[2]);
    if (path.size() == 3) route.command.mirror = path[2];
    return route;
  }
  if (resource == "explain" && path.size() == 3) return execute_route(Verb::kExplain, path[2]);
  if (resource == "metadata" && path.size() == 3) return execute_route(Verb::kMetadataDump, path[2]);
  return not_found();
}

}  // namespace

Route route_request(const HttpRequest& request, const ServerIdentity& identity) {
  const std::size_t mark = request.target.find('?');
  const std::string_view path_text = request.target.substr(0, mark);
  const std::string_view query =
      mark == std::string_view::npos ? std::string_view{} : request.target.substr(mark + 1);
  if (!path_text.starts_with('/')) return not_found();
  const auto path = split(path_text.substr(1), '/');
  const bool get = request.method == "GET";
  if (path.size() == 1 && path[0] == "metrics") {
    if (!get) return only("GET", "/metrics");
    Route route;
    route.kind = RouteKind::kMetrics;
    return route;
  }
  if (path.size() < 2 || path[0] != "v1") return not_found();
  if (path[1] == "mirrors") {
    if (path.size() != 4) return not_found();
    if (request.method != "POST") return only("POST", "/v1/mirrors/MIRROR/VERB");
    return post_route(request, path[2], path[3]);
  }
  if (!get) return only("GET", "This resource");
  return get_route(path, query, identity);
}

HttpResponse answer_command(const CommandResult& result) {
  HttpResponse response{500, to_json(result)};
  switch (result.outcome) {
    case Outcome::kDone:
      response.status = 200;
      break;
    case Outcome::kFailed:
      response.status = 500;
      break;
    case Outcome::kUsage:
      response.status = 400;
      break;
    case Outcome::kRefused:
      response.status = 409;
      break;
    case Outcome::kNoSuchMirror:
      response.status = 404;
      break;
  }
  return response;
}

HttpResponse answer_status(const Result<StatusReply>& status, std::string_view mirror, bool metrics) {
  if (status && metrics) return {200, prometheus_text(*status), "text/plain; version=0.0.4; charset=utf-8"};
  if (status) return {200, to_json(*status)};
  CommandResult result;
  result.what_is_safe = kNothingChanged;
  result.next_step = "twinblock status";
  if (status.error() == errc::kNoSuchMirror) {
    result.outcome = Outcome::kNoSuchMirror;
    result.message = "There is no mirror \"" + std::string{mirror} + "\" on this node.";
  } else {
    result.outcome = Outcome::kFailed;
    result.message = "The status cannot be told: " + status.error().message() + ".";
  }
  return answer_command(result);
}

HttpResponse answer_events(const EventBatch& batch) {
  return {200, to_json(batch)};
}

HttpResponse answer_error(unsigned status, std::string message, std::string next_step) {
  CommandResult result;
  result.outcome = status == 403 ? Outcome::kRefused : status >= 500 ? Outcome::kFailed : Outcome::kUsage;
  result.message = std::move(message);
  result.what_is_safe = kNothingChanged;
  result.next_step = next_step.empty() ? "twinblock --help" : std::move(next_step);
  return {status, to_json(result)};
}

}  // namespace twinblock::control
