#include "transport/link/connector.hpp"

#include "tests/unit/ring/fixture.hpp"
#include "transport/link/plain_transport.hpp"
#include "transport/ring/error.hpp"
#include "transport/ring/listener.hpp"

namespace twinblock::link {
namespace {

using ring::Address;
using ring::Listener;

struct Door : ring::ListenerHandler {
  void on_accept(Listener&, int fd) override { fds.push_back(fd); }
  void on_listener_closed(Listener&) override { closed = true; }
  std::vector<int> fds;
  bool closed = false;
};

struct Dialler : ConnectorHandler {
  void on_connected(Connector&, int f) override { fd = f; }
  void on_attempt_failed(Connector&, ErrorCode e, Duration d) override {
    errors.push_back(e);
    delays.push_back(d);
  }
  void on_connector_stopped(Connector&) override { stopped = true; }
  int fd = -1;
  bool stopped = false;
  std::vector<ErrorCode> errors;
  std::vector<Duration> delays;
};

ConnectorOptions quick() {
  return {.attempt_timeout = Duration::seconds(5),
          .backoff = {.delay_min = Duration::milliseconds(1), .delay_max = Duration::milliseconds(8)},
          .seed = 7};
}

using Connectors = ring::test::LoopTest;
TB_BOTH_ENGINES(Connectors);

TEST_P(Connectors, dials_until_somebody_listens) {
  const ring::test::TemporaryDirectory directory;
  const Address address = *ring::parse_address("unix:" + directory.file("sock"));
  Dialler dialler;
  Connector connector{*loop_, dialler, quick()};
  connector.start(address);
  ASSERT_TRUE(run_until([&] { return dialler.errors.size() >= 3; }));
  EXPECT_EQ(dialler.errors.front(), system_error(ENOENT));
  Door door;
  Listener listener{*loop_, door, {}};
  ASSERT_TRUE(listener.listen(address));
  ASSERT_TRUE(run_until([&] { return dialler.fd >= 0 && !door.fds.empty(); }));
  EXPECT_TRUE(connector.is_idle());
  close(dialler.fd);
  close(door.fds[0]);
  listener.close();
  ASSERT_TRUE(run_until([&] { return door.closed; }));
}

TEST_P(Connectors, tcp_refusal_and_success) {
  Door door;
  Listener listener{*loop_, door, {}};
  ASSERT_TRUE(listener.listen(*ring::parse_address("127.0.0.1:0")));
  const Address address = listener.bound_address();
  Dialler dialler;
  Connector connector{*loop_, dialler, quick()};
  connector.start(address);
  ASSERT_TRUE(run_until([&] { return dialler.fd >= 0 && !door.fds.empty(); }));
  close(dialler.fd);
  close(door.fds[0]);
  listener.close();
  ASSERT_TRUE(run_until([&] { return door.closed; }));
  connector.start(address, false);
  ASSERT_TRUE(run_until([&] { return !dialler.errors.empty(); }));
  EXPECT_EQ(dialler.errors.front(), system_error(ECONNREFUSED));
  connector.stop();
  EXPECT_FALSE(dialler.stopped) << "never from inside stop()";
  ASSERT_TRUE(run_until([&] { return dialler.stopped; }));
}

TEST_P(Connectors, an_attempt_that_nobody_answers_times_out) {
  // A listener that never accepts and whose backlog is full: the kernel drops what comes further.
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const auto any = ring::resolve(*ring::parse_address("127.0.0.1:0"));
  ASSERT_EQ(bind(fd, any->front().get(), any->front().length), 0);
  ASSERT_EQ(listen(fd, 0), 0);
  const Address address = *ring::local_address(fd);
  const auto target = ring::resolve(address);
  std::array<int, 3> fillers{};
  for (int& filler : fillers) {
    filler = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    connect(filler, target->front().get(), target->front().length);
  }
  Dialler dialler;
  ConnectorOptions options = quick();
  options.attempt_timeout = Duration::milliseconds(50);
  Connector connector{*loop_, dialler, options};
  connector.start(address);
  ASSERT_TRUE(run_until([&] { return dialler.errors.size() == 1; }));
  EXPECT_EQ(dialler.errors.front(), ring::errc::kTimedOut);
  connector.stop();
  ASSERT_TRUE(run_until([&] { return dialler.stopped; }));
  for (const int filler : fillers) close(filler);
  close(fd);
}

TEST_P(Connectors, stop_in_every_state) {
  const ring::test::TemporaryDirectory directory;
  const Address address = *ring::parse_address("unix:" + directory.file("none"));
  for (int turns = 0; turns < 8; ++turns) {
    Dialler dialler;
    Connector connector{*loop_, dialler, quick()};
    connector.start(address);
    for (int i = 0; i < turns; ++i) loop_->poll();
    connector.stop();
    ASSERT_TRUE(run_until([&] { return dialler.stopped; }));
    EXPECT_TRUE(connector.is_idle());
  }
}

TEST(Backoffs, grow_to_the_limit_with_jitter_and_replay_from_the_seed) {
  const BackoffOptions options{.delay_min = Duration::milliseconds(100), .delay_max = Duration::seconds(5)};
  Backoff a{options, 1};
  Backoff b{options, 1};
  Backoff c{options, 2};
  bool differs = false;
  Duration full = options.delay_min;
  for (int i = 0; i < 20; ++i) {
    const Duration delay = a.next();
    EXPECT_EQ(delay, b.next());
    differs = differs || delay != c.next();
    EXPECT_GE(delay, full / 2);
    EXPECT_LE(delay, full);
    full = std::min(full * 2, options.delay_max);
  }
  EXPECT_TRUE(differs);
  a.reset();
  EXPECT_LE(a.next(), options.delay_min);
}

struct Session : TransportHandler {
  void on_data(Transport& t) override {
    received += t.stash().size();
    t.consume(t.stash().size());
  }
  void on_received(Transport&) override {}
  void on_closed(Transport&, ErrorCode) override { closed = true; }
  std::size_t received = 0;
  bool closed = false;
};

TEST_P(Connectors, a_plain_transport_carries_bytes_both_ways) {
  const ring::test::SocketPair pair;
  Session a;
  Session b;
  PlainTransport left{*loop_, a, {}};
  PlainTransport right{*loop_, b, {}};
  left.open(pair.fds[0]);
  right.open(pair.fds[1]);
  const std::vector<std::byte> bytes(100'000);
  ASSERT_TRUE(left.send(ring::SendClass::kNormal, {.payload = bytes}));
  ASSERT_TRUE(right.send(ring::SendClass::kUrgent, {.header = std::span{bytes}.first(100)}));
  ASSERT_TRUE(run_until([&] { return a.received == 100 && b.received == bytes.size(); }));
  left.close(ring::errc::kClosed);
  ASSERT_TRUE(run_until([&] { return a.closed && b.closed; }));
}

}  // namespace
}  // namespace twinblock::link
