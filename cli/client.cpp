#include "cli/client.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <optional>
#include <string_view>

namespace twinblock::cli {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kResponseBytesMax = 64u << 20;

class Socket {
 public:
  Socket() : fd_{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)} {}
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  [[nodiscard]] int fd() const { return fd_; }

 private:
  int fd_;
};

// Waits until the socket is ready for `events`; false at the deadline.
bool wait_ready(int fd, short events, Clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    pollfd state{fd, events, 0};
    const int ready = ::poll(&state, 1, static_cast<int>(left));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

std::string connect_problem(const std::string& path, int error) {
  switch (error) {
    case ENOENT:
      return "there is no control socket " + path;
    case ECONNREFUSED:
      return "nobody answers on the control socket " + path;
    case EACCES:
      return "this user may not use the control socket " + path;
    default:
      return "the control socket " + path + " cannot be used: " + std::strerror(error);
  }
}

// The body of a complete response, or none while (or because) something is missing. Our server always sends
// a Content-Length.
std::optional<Response> parse_response(std::string_view text) {
  const std::size_t header_end = text.find("\r\n\r\n");
  if (header_end == std::string_view::npos || !text.starts_with("HTTP/1.") || text.size() < 12)
    return std::nullopt;
  Response response;
  const std::string_view code = text.substr(9, 3);
  if (std::from_chars(code.data(), code.data() + 3, response.status).ec != std::errc{}) return std::nullopt;
  constexpr std::string_view kLength = "\r\nContent-Length: ";
  const std::string_view header = text.substr(0, header_end + 2);
  const std::size_t field = header.find(kLength);
  if (field == std::string_view::npos) return std::nullopt;
  const std::string_view digits = header.substr(field + kLength.size());
  std::size_t length{};
  if (std::from_chars(digits.data(), digits.data() + digits.size(), length).ec != std::errc{})
    return std::nullopt;
  const std::string_view body = text.substr(header_end + 4);
  if (body.size() < length) return std::nullopt;
  response.body = body.substr(0, length);
  return response;
}

// Sends all of `bytes`; a server that answers early (too large, too many) may close while we send, and its
// answer is still worth reading, so a broken pipe is no failure here.
bool send_all(int fd, std::string_view bytes, Clock::time_point deadline) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
      continue;
    }
    if (errno == EPIPE || errno == ECONNRESET) return true;
    if (errno != EAGAIN && errno != EINTR) return false;
    if (!wait_ready(fd, POLLOUT, deadline)) return false;
  }
  return true;
}

bool connect_to(int fd, const std::string& path, Clock::time_point deadline, Unreachable& problem) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    problem.what = "the path of the control socket is too long: " + path;
    return false;
  }
  path.copy(address.sun_path, path.size());
  const auto* const raw = static_cast<const sockaddr*>(static_cast<const void*>(&address));
  // A full backlog answers EAGAIN at once on unix sockets and cannot be polled for.
  while (::connect(fd, raw, sizeof address) != 0) {
    const int error = errno;
    if (error == EINTR) continue;
    if (error != EAGAIN) {
      problem.what = connect_problem(path, error);
      return false;
    }
    if (Clock::now() >= deadline) {
      problem = {"the daemon on " + path + " does not accept connections", true};
      return false;
    }
    ::poll(nullptr, 0, 20);
  }
  return true;
}

}  // namespace

bool Client::ask(const Request& request, Response& response, Unreachable& problem) const {
  const auto deadline = Clock::now() + std::chrono::nanoseconds{request.deadline.nanoseconds()};
  const Socket socket;
  if (socket.fd() < 0) {
    problem.what = std::string{"no socket can be made: "} + std::strerror(errno);
    return false;
  }
  if (!connect_to(socket.fd(), socket_path_, deadline, problem)) return false;
  const std::string text =
      request.method + " " + request.target +
      " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
      "Content-Length: " +
      std::to_string(request.body.size()) + "\r\n\r\n" + request.body;
  const Unreachable silent{"the daemon on " + socket_path_ + " does not answer", true};
  if (!send_all(socket.fd(), text, deadline)) {
    problem = silent;
    return false;
  }
  std::string received;
  std::array<char, 65536> buffer{};
  for (;;) {
    const ssize_t n = ::recv(socket.fd(), buffer.data(), buffer.size(), 0);
    if (n > 0 && received.size() < kResponseBytesMax) {
      received.append(buffer.data(), static_cast<std::size_t>(n));
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    const bool pending = n < 0 && errno == EAGAIN;
    // Complete with the last byte, without waiting for the end of the connection.
    if (const auto parsed = parse_response(received)) {
      response = *parsed;
      return true;
    }
    if (!pending) {
      problem.what = "the daemon on " + socket_path_ + " ended the conversation without a proper answer";
      return false;
    }
    if (!wait_ready(socket.fd(), POLLIN, deadline)) {
      problem = silent;
      return false;
    }
  }
}

}  // namespace twinblock::cli
