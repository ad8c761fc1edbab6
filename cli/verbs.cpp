#include "cli/verbs.hpp"

#include <poll.h>
#include <unistd.h>
#include <cstdio>

namespace twinblock::cli {

namespace {

using control::CommandResult;
using control::Outcome;

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

CommandResult unreachable_result(const Session& session, const Unreachable& problem, bool may_have_run) {
  CommandResult result;
  result.outcome = Outcome::kFailed;
  result.message = "The daemon is unreachable: " + problem.what + ".";
  if (may_have_run && problem.hung) {
    result.what_is_safe = "Unknown: the command was sent and may still take effect.";
  } else {
    result.what_is_safe = "Nothing was changed; a running daemon goes on without this command.";
  }
  const std::string service = "systemctl status twinblock; journalctl -u twinblock -n 50";
  result.next_step = problem.hung
                         ? service + "; then: twinblock --control " + session.client.socket_path() + " status"
                         : service;
  return result;
}

CommandResult nonsense_result(const std::string& problem) {
  return {Outcome::kFailed, "The daemon's answer is not understood: " + problem + ".",
          "Nothing is known to have changed; the daemon may be of another version.",
          "compare: twinblock --version; twinblockd --version", ""};
}

// The error that a non-200 response carries.
int fail_response(const Session& session, const Response& response) {
  std::string problem;
  const auto result = control::from_json<CommandResult>(response.body, &problem);
  if (result && result->outcome != Outcome::kDone)
    return fail(session, *result, static_cast<int>(result->outcome));
  if (response.status == 503) {
    return fail(session,
                {Outcome::kFailed, "The daemon serves too many connections.", "Nothing was changed.",
                 "repeat the command; look for stuck clients: ss -xp | grep twinblock", ""},
                kExitUnreachable);
  }
  return fail(session, nonsense_result("HTTP " + std::to_string(response.status) + ", " + problem), 1);
}

// Over what was there: home, each line with its rest cleared, then all below. No flicker as a full clear
// gives.
std::string redrawn(std::string_view text) {
  std::string out = "\x1b[H";
  for (const char c : text) {
    if (c == '\n') out += "\x1b[K";
    out += c;
  }
  return out + "\x1b[J";
}

}  // namespace

int fail(const Session& session, const CommandResult& result, int exit_code) {
  if (session.json) {
    print(to_json(result) + "\n");
  } else {
    const std::string text = render_error(result, {session.terminal && ::isatty(2) == 1, session.width});
    std::fwrite(text.data(), 1, text.size(), stderr);
  }
  return exit_code;
}

int fail_unreachable(const Session& session, const Unreachable& problem, bool may_have_run) {
  return fail(session, unreachable_result(session, problem, may_have_run), kExitUnreachable);
}

int run_command(const Session& session, const control::Command& command) {
  Request request;
  request.method = "POST";
  request.target = "/v1/mirrors/" + command.mirror + "/" + std::string{to_string(command.verb)};
  request.body = to_json(command.options);
  request.deadline = session.command_limit;
  if (command.options.timeout_s)
    request.deadline = Duration::seconds(*command.options.timeout_s) + session.answer_limit;
  Response response;
  Unreachable problem;
  if (!session.client.ask(request, response, problem)) return fail_unreachable(session, problem, true);
  if (response.status != 200) return fail_response(session, response);
  std::string why;
  const auto result = control::from_json<CommandResult>(response.body, &why);
  if (!result) return fail(session, nonsense_result(why), 1);
  if (result->outcome != Outcome::kDone) return fail(session, *result, static_cast<int>(result->outcome));
  if (session.quiet) return 0;
  if (session.json) {
    print(response.body + "\n");
    return 0;
  }
  print((result->message.empty() ? std::string{"done"} : printable(result->message)) + "\n");
  if (!result->what_is_safe.empty()) print("  " + printable(result->what_is_safe) + "\n");
  if (!result->next_step.empty()) print("  next: " + printable(result->next_step) + "\n");
  return 0;
}

int run_question(const Session& session, const std::string& target) {
  Response response;
  Unreachable problem;
  const Request request{.method = "GET", .target = target, .body = {}, .deadline = session.answer_limit};
  if (!session.client.ask(request, response, problem)) return fail_unreachable(session, problem, false);
  if (response.status != 200) return fail_response(session, response);
  std::string why;
  const auto result = control::from_json<CommandResult>(response.body, &why);
  if (!result) return fail(session, nonsense_result(why), 1);
  if (session.json) {
    print((result->data.empty() ? response.body : result->data) + "\n");
    return 0;
  }
  // The message may have several lines; each is made harmless on its own.
  std::string_view rest = result->message;
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    print(printable(rest.substr(0, end)) + "\n");
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
  }
  if (result->message.empty() && !result->data.empty()) print(result->data + "\n");
  if (!result->next_step.empty()) print("next: " + printable(result->next_step) + "\n");
  return 0;
}

StatusAnswer ask_status(const Session& session, const std::string& mirror) {
  StatusAnswer answer;
  Response response;
  Unreachable problem;
  const Request request{.method = "GET",
                        .target = mirror.empty() ? "/v1/status" : "/v1/status/" + mirror,
                        .body = {},
                        .deadline = session.answer_limit};
  if (!session.client.ask(request, response, problem)) {
    answer.error = unreachable_result(session, problem, false);
    answer.exit_code = kExitUnreachable;
    return answer;
  }
  std::string why;
  if (response.status != 200) {
    const auto result = control::from_json<CommandResult>(response.body, &why);
    answer.error = result ? *result : nonsense_result(why);
    answer.exit_code = result && result->outcome != Outcome::kDone ? static_cast<int>(result->outcome) : 1;
    return answer;
  }
  auto status = control::from_json<control::StatusReply>(response.body, &why);
  if (status) {
    answer.status = std::move(*status);
  } else {
    answer.error = nonsense_result(why);
    answer.exit_code = 1;
  }
  return answer;
}

int run_status(const Session& session, const std::string& mirror, bool watch, Duration interval) {
  for (;;) {
    const StatusAnswer answer = ask_status(session, mirror);
    // A watcher outlives a restart of the daemon; a mirror that does not exist is a mistake of the user.
    const bool fatal = !answer.status && (!watch || answer.exit_code != kExitUnreachable);
    if (fatal) return fail(session, answer.error, answer.exit_code);
    std::string text;
    if (!answer.status) {
      text = session.json ? to_json(answer.error) + "\n" : render_error(answer.error, session.style());
    } else {
      text = session.json ? to_json(*answer.status) + "\n" : render_status(*answer.status, session.style());
    }
    const bool redraw = watch && session.terminal && !session.json;
    print(redraw ? redrawn(text) : text);
    if (!watch) return 0;
    ::poll(nullptr, 0, static_cast<int>(interval.nanoseconds() / 1'000'000));
  }
}

int run_events(const Session& session, std::uint64_t since, bool follow) {
  constexpr int kWaitSeconds = 20;
  bool more = true;
  bool first = true;
  while (more || follow) {
    const bool wait = follow && !first;
    Request request;
    request.target =
        "/v1/events?since=" + std::to_string(since) + (wait ? "&wait_s=" + std::to_string(kWaitSeconds) : "");
    request.deadline = session.answer_limit + Duration::seconds(wait ? kWaitSeconds : 0);
    first = false;
    Response response;
    Unreachable problem;
    if (!session.client.ask(request, response, problem)) return fail_unreachable(session, problem, false);
    if (response.status != 200) return fail_response(session, response);
    std::string why;
    const auto batch = control::from_json<control::EventBatch>(response.body, &why);
    if (!batch) return fail(session, nonsense_result(why), 1);
    if (batch->lost > 0 && since > 0 && !session.json) {
      print("(" + std::to_string(batch->lost) + " older events are no longer kept)\n");
    }
    for (const auto& event : batch->events) {
      print((session.json ? to_json(event) : render_event(event, session.style())) + "\n");
    }
    since = batch->next;
    more = !batch->events.empty();
  }
  return 0;
}

}  // namespace twinblock::cli
