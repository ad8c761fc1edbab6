// A daemon without a daemon: a backend that answers from a script, the real HTTP server in front of it on a
// socket in a directory of its own, and a raw client. Shared by the tests of control and of the CLI.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "replicator/control/backend.hpp"
#include "replicator/control/event_ring.hpp"
#include "replicator/control/http_server.hpp"

namespace twinblock::control::test {

class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tb-control-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline MirrorStatus sample_mirror() {
  MirrorStatus mirror;
  mirror.name = "data";
  mirror.role = Role::kSource;
  mirror.state = MirrorState::kResyncing;
  mirror.mode = Mode::kMemsync;
  mirror.generation = 0x0123456789abcdef;
  mirror.term = 0x201;
  mirror.size = 64ull << 30;
  mirror.nbd = "unix:/run/twinblock/data.nbd";
  mirror.replica = ReplicaState::kUptodate;
  mirror.redundancy = 1;
  mirror.promotable = true;
  mirror.promotion_score = 1000;
  mirror.reason = "beta is catching up";
  mirror.hot_extents = 12;
  mirror.write_alone = "free";
  mirror.counters = {1, 2, 3, 4, 5, 6, 7};
  PeerStatus peer;
  peer.name = "beta";
  peer.link = LinkState::kResyncing;
  peer.replica = ReplicaState::kInconsistent;
  peer.dirty_bytes = 3ull << 30;
  peer.resync = ResyncProgress{1ull << 30, 4ull << 30, 300u << 20, 10, 900u << 20, 124u << 20};
  peer.queue_bytes = 65536;
  peer.rpo_s = 0.25;
  peer.path = "127.0.0.1:1 -> 127.0.0.1:2";
  mirror.peers.push_back(peer);
  return mirror;
}

// Thread-safe. By default answers inside the call, "done" to every command for the mirrors in `reply`.
class FakeBackend final : public ControlBackend {
 public:
  FakeBackend() {
    reply.node = "alpha";
    reply.daemon_version = "0.1.0";
    reply.uptime_s = 77;
    reply.mirrors.push_back(sample_mirror());
  }

  void status(std::string mirror, StatusCallback callback) override {
    std::unique_lock lock{mutex};
    ++status_calls;
    if (silent) return held_status.push_back(std::move(callback));
    if (on_status) on_status(status_calls, reply);
    StatusReply answer = reply;
    lock.unlock();
    if (!mirror.empty()) std::erase_if(answer.mirrors, [&](const auto& m) { return m.name != mirror; });
    if (!mirror.empty() && answer.mirrors.empty()) return callback(make_error_code(errc::kNoSuchMirror));
    callback(answer);
  }

  void execute(Command command, CommandCallback callback) override {
    std::unique_lock lock{mutex};
    commands.push_back(command);
    if (silent) return held_commands.push_back(std::move(callback));
    CommandResult answer = result;
    bool known = false;
    for (const auto& m : reply.mirrors) known = known || m.name == command.mirror;
    lock.unlock();
    if (!known && command.verb != Verb::kCreate) {
      answer = {Outcome::kNoSuchMirror, "There is no mirror \"" + command.mirror + "\".",
                "Nothing was changed.", "twinblock status", ""};
    }
    callback(answer);
  }

  std::mutex mutex;
  StatusReply reply;
  CommandResult result{Outcome::kDone, "It is done.", "", "", ""};
  bool silent{};  // keep callbacks instead of answering
  std::function<void(int calls, StatusReply&)> on_status;
  int status_calls{};
  std::vector<Command> commands;
  std::vector<StatusCallback> held_status;
  std::vector<CommandCallback> held_commands;
};

// A client that sends bytes as they are.
class RawClient {
 public:
  explicit RawClient(const std::string& path) : fd_{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)} {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    const auto* raw = static_cast<const sockaddr*>(static_cast<const void*>(&address));
    connected_ = ::connect(fd_, raw, sizeof address) == 0;
  }
  ~RawClient() { ::close(fd_); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  [[nodiscard]] bool connected() const { return connected_; }
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  // Closes the sending side only.
  void half_close() { ::shutdown(fd_, SHUT_WR); }
  // Everything until the server closes, or until `enough` says so; gives up after 20 s.
  std::string read_until(const std::function<bool(const std::string&)>& enough = nullptr) {
    std::string text;
    for (;;) {
      if (enough && enough(text)) return text;
      pollfd state{fd_, POLLIN, 0};
      if (::poll(&state, 1, 20'000) <= 0) return text + "\n(client timed out)";
      char buffer[4096];
      const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
      if (n <= 0) return text;
      text.append(buffer, static_cast<std::size_t>(n));
    }
  }
  // One request on a connection of its own: the whole response.
  static std::string ask(const std::string& path, const std::string& method, const std::string& target,
                         const std::string& body = {}) {
    RawClient client{path};
    client.send(method + " " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: " +
                std::to_string(body.size()) + "\r\n\r\n" + body);
    return client.read_until();
  }

 private:
  int fd_;
  bool connected_{};
};

inline std::string body_of(const std::string& response) {
  const std::size_t end = response.find("\r\n\r\n");
  return end == std::string::npos ? std::string{} : response.substr(end + 4);
}

class ServerFixture : public ::testing::Test {
 protected:
  void start(HttpServerOptions options = {}) {
    options.unix_socket = socket_path;
    options.node = "alpha";
    options.daemon_version = "0.1.0";
    std::string problem;
    auto started = HttpServer::start(options, backend, events, &problem);
    ASSERT_TRUE(started) << problem;
    server = std::move(*started);
  }

  TempDir dir;
  std::string socket_path{dir.file("control.sock")};
  FakeBackend backend;
  EventRing events;
  std::unique_ptr<HttpServer> server;
};

}  // namespace twinblock::control::test
