// The server against clients that are normal, slow, greedy and mad. After each of the latter it still
// answers.
#include "replicator/control/http_server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <algorithm>
#include <atomic>
#include <future>
#include <thread>

#include <gmock/gmock.h>

#include "tests/unit/control/control_fixture.hpp"

namespace twinblock::control::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class HttpServerTest : public ServerFixture {
 protected:
  void expect_alive() {
    EXPECT_THAT(RawClient::ask(socket_path, "GET", "/v1/status"), StartsWith("HTTP/1.1 200"));
  }
};

TEST_F(HttpServerTest, ServesStatusAndCommands) {
  start();
  const auto status = from_json<StatusReply>(body_of(RawClient::ask(socket_path, "GET", "/v1/status")));
  ASSERT_TRUE(status);
  EXPECT_EQ(*status, backend.reply);
  EXPECT_THAT(RawClient::ask(socket_path, "GET", "/v1/status/nope"), StartsWith("HTTP/1.1 404"));
  const std::string done =
      RawClient::ask(socket_path, "POST", "/v1/mirrors/data/promote", R"({"force":true})");
  EXPECT_THAT(done, StartsWith("HTTP/1.1 200"));
  ASSERT_EQ(backend.commands.size(), 1u);
  EXPECT_EQ(backend.commands[0].verb, Verb::kPromote);
  EXPECT_TRUE(backend.commands[0].options.force);
  backend.result = {Outcome::kRefused, "beta may be newer", "alpha's data", "twinblock explain data", ""};
  EXPECT_THAT(RawClient::ask(socket_path, "POST", "/v1/mirrors/data/promote"), StartsWith("HTTP/1.1 409"));
}

TEST_F(HttpServerTest, SocketModeAndCleanUp) {
  start();
  struct stat info {};
  ASSERT_EQ(::stat(socket_path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777u, 0660u);
  server.reset();
  EXPECT_NE(::stat(socket_path.c_str(), &info), 0);
}

TEST_F(HttpServerTest, AStaleSocketIsReplacedALivingDaemonIsNot) {
  start();
  std::string problem;
  const auto second = HttpServer::start({.unix_socket = socket_path}, backend, events, &problem);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error(), make_error_code(errc::kAddressInUse));
  EXPECT_THAT(problem, HasSubstr(socket_path));
  expect_alive();
  // What a killed daemon leaves: the file, without anyone listening.
  server.reset();
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(fd, static_cast<sockaddr*>(static_cast<void*>(&address)), sizeof address), 0);
  ::close(fd);
  start();
  expect_alive();
}

TEST_F(HttpServerTest, AFileThatIsNoSocketIsLeftAlone) {
  const std::string path = dir.file("precious");
  std::fclose(std::fopen(path.c_str(), "w"));
  const auto started = HttpServer::start({.unix_socket = path}, backend, events);
  ASSERT_FALSE(started);
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST_F(HttpServerTest, PipelinedRequestsAreAnsweredInOrder) {
  start();
  RawClient client{socket_path};
  client.send(
      "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n"
      "GET /v1/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string text = client.read_until();
  const std::size_t ok = text.find("HTTP/1.1 200");
  const std::size_t missing = text.find("HTTP/1.1 404");
  const std::size_t version = text.find("HTTP/1.1 200", missing);
  EXPECT_LT(ok, missing);
  EXPECT_NE(version, std::string::npos);
}

TEST_F(HttpServerTest, AClientThatHalfClosesStillGetsItsAnswer) {
  start();
  RawClient client{socket_path};
  client.send("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n");
  client.half_close();
  EXPECT_THAT(client.read_until(), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, GarbageIsAnsweredAndClosed) {
  start();
  for (const std::string& garbage :
       {std::string{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11}, std::string(300, '\0'),
        std::string{"GET\r\n\r\n"}, std::string{"GET / HTTP/9.9\r\n\r\n"},
        std::string{"NBDMAGIC"} + std::string(64, 'x'),
        std::string{"POST /v1/mirrors/data/up HTTP/1.1\r\nContent-Length: -5\r\n\r\n"}}) {
    RawClient client{socket_path};
    client.send(garbage);
    client.half_close();
    const std::string text = client.read_until();
    if (!text.empty()) {
      EXPECT_THAT(text, StartsWith("HTTP/1.1 400"));
    }
  }
  expect_alive();
  EXPECT_TRUE(backend.commands.empty());
}

TEST_F(HttpServerTest, OversizeIsRefusedAndTheAnswerArrives) {
  start();
  const std::string big(200u << 10, 'x');
  EXPECT_THAT(RawClient::ask(socket_path, "POST", "/v1/mirrors/data/up", big), StartsWith("HTTP/1.1 413"));
  RawClient header{socket_path};
  header.send("GET /v1/status HTTP/1.1\r\nX: " + std::string(9u << 10, 'y') + "\r\n\r\n");
  EXPECT_THAT(header.read_until(), StartsWith("HTTP/1.1 431"));
  RawClient chunked{socket_path};
  chunked.send("POST /v1/mirrors/data/up HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 20; ++i) chunked.send("2000\r\n" + std::string(0x2000, ' ') + "\r\n");
  EXPECT_THAT(chunked.read_until(), StartsWith("HTTP/1.1 413"));
  expect_alive();
  EXPECT_TRUE(backend.commands.empty());
}

TEST_F(HttpServerTest, ASlowClientIsCutOff) {
  start({.request_timeout = Duration::milliseconds(100)});
  RawClient slow{socket_path};
  slow.send("GET /v1/status HT");
  EXPECT_EQ(slow.read_until(), "");
  expect_alive();
}

TEST_F(HttpServerTest, TheConnectionAfterTheLastIsToldSo) {
  start({.connections_max = 2});
  auto a = std::make_unique<RawClient>(socket_path);
  RawClient b{socket_path};
  // Both are certainly admitted once they have been answered.
  const auto answered = [](const std::string& text) { return text.find("\r\n\r\n") != std::string::npos; };
  for (RawClient* client : {a.get(), &b}) {
    client->send("GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_THAT(client->read_until(answered), StartsWith("HTTP/1.1 200"));
  }
  EXPECT_THAT(RawClient::ask(socket_path, "GET", "/v1/status"), StartsWith("HTTP/1.1 503"));
  a.reset();
  std::string text;
  do text = RawClient::ask(socket_path, "GET", "/v1/status");
  while (text.starts_with("HTTP/1.1 503"));
  EXPECT_THAT(text, StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, ALongPollReturnsWithTheEventOrWithNothing) {
  start();
  EXPECT_THAT(RawClient::ask(socket_path, "GET", "/v1/events?since=0"), HasSubstr(R"("events":[])"));
  auto waiting = std::async(std::launch::async, [this] {
    return RawClient::ask(socket_path, "GET", "/v1/events?since=0&wait_s=60");
  });
  Event event;
  event.kind = "role.source";
  event.text = "alpha is source";
  events.append(event);
  EXPECT_THAT(waiting.get(), HasSubstr("role.source"));
  EXPECT_THAT(RawClient::ask(socket_path, "GET", "/v1/events?since=1&wait_s=1"), HasSubstr(R"("next":1)"));
}

TEST_F(HttpServerTest, AnEventBetweenTwoPollsIsNotMissed) {
  start();
  std::thread writer{[this] {
    for (int i = 0; i < 300; ++i) events.append(Event{});
  }};
  std::uint64_t next = 0;
  while (next < 300) {
    const auto target = "/v1/events?wait_s=20&since=" + std::to_string(next);
    const auto batch = from_json<EventBatch>(body_of(RawClient::ask(socket_path, "GET", target)));
    ASSERT_TRUE(batch);
    ASSERT_FALSE(batch->events.empty());
    for (const auto& e : batch->events) ASSERT_EQ(e.sequence, ++next);
  }
  writer.join();
}

TEST_F(HttpServerTest, ASilentBackendHoldsNobodyElseUp) {
  start({.connections_max = 4});
  backend.silent = true;
  {
    RawClient one{socket_path};
    RawClient two{socket_path};
    one.send("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n");
    two.send("POST /v1/mirrors/data/up HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    EXPECT_THAT(RawClient::ask(socket_path, "GET", "/v1/version"), StartsWith("HTTP/1.1 200"));
    const auto both_held = [this] {
      const std::lock_guard lock{backend.mutex};
      return backend.held_status.size() == 1 && backend.held_commands.size() == 1;
    };
    while (!both_held()) std::this_thread::yield();
    // Answered from a foreign thread, twice: the second one is ignored.
    std::thread{[this] {
      const CommandResult late{Outcome::kDone, "late but done", "", "", ""};
      backend.held_commands[0](late);
      backend.held_commands[0](late);
    }}.join();
    const auto complete = [](const std::string& text) {
      return text.find("late but done") != std::string::npos;
    };
    EXPECT_THAT(two.read_until(complete), StartsWith("HTTP/1.1 200"));
  }
  server.reset();
  // After the server is gone the rest must be harmless.
  backend.held_status[0](backend.reply);
}

TEST_F(HttpServerTest, ClientsThatHangUpWhileTheyWaitGiveTheirPlaceBack) {
  start({.connections_max = 2});
  for (int i = 0; i < 10; ++i) {
    std::string text;
    do {
      RawClient poller{socket_path};
      poller.send("GET /v1/events?since=0&wait_s=60 HTTP/1.1\r\nHost: x\r\n\r\n");
      text = RawClient::ask(socket_path, "GET", "/v1/status");
    } while (text.starts_with("HTTP/1.1 503"));
    ASSERT_THAT(text, StartsWith("HTTP/1.1 200"));
  }
}

TEST_F(HttpServerTest, TheTcpPortReadsAndNothingElse) {
  start({.tcp_address = "127.0.0.1:0"});
  ASSERT_NE(server->tcp_port(), 0);
  const auto ask = [this](const std::string& request) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(server->tcp_port());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd, static_cast<sockaddr*>(static_cast<void*>(&address)), sizeof address), 0);
    EXPECT_EQ(::send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    std::string text;
    char buffer[4096];
    for (ssize_t n = 0; (n = ::recv(fd, buffer, sizeof buffer, 0)) > 0;)
      text.append(buffer, static_cast<std::size_t>(n));
    ::close(fd);
    return text;
  };
  EXPECT_THAT(ask("GET /metrics HTTP/1.0\r\n\r\n"), HasSubstr("twinblock_size_bytes{mirror=\"data\"}"));
  EXPECT_THAT(ask("POST /v1/mirrors/data/demote HTTP/1.0\r\nContent-Length: 0\r\n\r\n"),
              StartsWith("HTTP/1.1 403"));
  EXPECT_TRUE(backend.commands.empty());
}

TEST_F(HttpServerTest, PostRunsOnTheControlThread) {
  start();
  std::promise<std::thread::id> where;
  server->post([&] { where.set_value(std::this_thread::get_id()); });
  EXPECT_NE(where.get_future().get(), std::this_thread::get_id());
}

}  // namespace
}  // namespace twinblock::control::test
