#include "transport/ring/stream.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cstring>
#include <deque>

#include "tests/unit/ring/fixture.hpp"
#include "transport/ring/error.hpp"

namespace twinblock::ring::test {
namespace {

// A toy protocol: 8 bytes little-endian length, then that many bytes of payload, received directly.
class Peer : public StreamHandler {
 public:
  explicit Peer(Loop& loop, const StreamOptions& options = {}) : socket{loop, *this, options} {}

  void on_data(StreamSocket& s) override {
    while (!s.receiving_into() && s.stash().size() >= 8) {
      std::uint64_t length = 0;
      std::memcpy(&length, s.stash().data(), 8);
      s.consume(8);
      payload.assign(length, std::byte{});
      if (length == 0)
        on_received(s);
      else
        s.receive_into(payload);
    }
  }
  void on_received(StreamSocket& s) override {
    messages.push_back(payload);
    if (echo) send(messages.back());
    if (pause_after_each) s.pause_receive();
  }
  void on_writable(StreamSocket&) override { ++writable; }
  void on_end(StreamSocket& s, bool truncated) override {
    ended = true;
    if (close_at_end) StreamHandler::on_end(s, truncated);
  }
  void on_closed(StreamSocket&, ErrorCode e) override {
    ++closed;
    reason = e;
  }
  bool send(const std::vector<std::byte>& bytes, SendClass send_class = SendClass::kNormal) {
    const std::uint64_t length = bytes.size();
    const bool accepted = socket.send(send_class, {.header = std::as_bytes(std::span{&length, 1}),
                                                   .payload = bytes,
                                                   .sent =
                                                       [](void* c, std::uint64_t, bool ok) {
                                                         auto& self = *static_cast<Peer*>(c);
                                                         ++(ok ? self.taken : self.returned);
                                                       },
                                                   .context = this});
    accepted_items += accepted ? 1 : 0;
    return accepted;
  }

  std::vector<std::byte> payload;
  std::deque<std::vector<std::byte>> messages;
  bool echo = false;
  bool pause_after_each = false;
  bool close_at_end = true;
  bool ended = false;
  int writable = 0;
  int closed = 0;
  int taken = 0;
  int returned = 0;
  int accepted_items = 0;
  ErrorCode reason;
  StreamSocket socket;
};

using Streams = LoopTest;
TB_BOTH_ENGINES(Streams);

TEST_P(Streams, echo_of_random_sizes) {
  const SocketPair pair;
  Peer client{*loop_};
  Peer server{*loop_};
  server.echo = true;
  client.socket.open(pair.fds[0]);
  server.socket.open(pair.fds[1]);
  Random random{1};
  std::deque<std::vector<std::byte>> sent;
  for (int i = 0; i < 200; ++i) {
    sent.push_back(random_bytes(random, random.below(1u << random.below(19))));
    ASSERT_TRUE(client.send(sent.back()));
  }
  ASSERT_TRUE(run_until([&] { return client.messages.size() == sent.size(); }));
  EXPECT_EQ(client.messages, sent);
  EXPECT_EQ(client.socket.queued_bytes(), 0u);
  EXPECT_EQ(client.socket.sent_bytes(), client.socket.received_bytes());
  client.socket.close(errc::kClosed);
  ASSERT_TRUE(run_until([&] { return client.closed && server.closed; }));
  EXPECT_EQ(client.reason, errc::kClosed);
  EXPECT_EQ(server.reason, errc::kEndOfStream);
  EXPECT_EQ(client.taken, client.accepted_items);
}

// The other side writes byte by byte as the chunk sizes say: boundaries must not matter.
TEST_P(Streams, random_chunks_of_the_same_stream) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    Random random{seed};
    const SocketPair pair;
    Peer peer{*loop_};
    peer.pause_after_each = seed % 2 == 0;
    peer.socket.open(pair.fds[0]);
    std::deque<std::vector<std::byte>> messages;
    std::vector<std::byte> stream;
    for (int i = 0; i < 30; ++i) {
      messages.push_back(random_bytes(random, random.below(1u << random.below(16))));
      const std::uint64_t length = messages.back().size();
      const auto header = std::as_bytes(std::span{&length, 1});
      stream.insert(stream.end(), header.begin(), header.end());
      stream.insert(stream.end(), messages.back().begin(), messages.back().end());
    }
    fcntl(pair.fds[1], F_SETFL, O_NONBLOCK);
    std::size_t written = 0;
    const auto step = [&] {
      const std::size_t n = std::min<std::size_t>(stream.size() - written, 1 + random.below(20'000));
      const ssize_t w = n == 0 ? 0 : write(pair.fds[1], stream.data() + written, n);
      if (w > 0) written += static_cast<std::size_t>(w);
      if (peer.socket.receive_paused()) peer.socket.resume_receive();
      loop_->poll();
      return peer.messages.size() == messages.size();
    };
    for (int i = 0; i < 1'000'000 && !step(); ++i) {
    }
    ASSERT_EQ(peer.messages, messages) << "seed " << seed;
    close(pair.fds[1]);
    peer.socket.resume_receive();
    ASSERT_TRUE(run_until([&] { return peer.closed == 1; }));
    EXPECT_EQ(peer.reason, errc::kEndOfStream);
  }
}

TEST_P(Streams, the_peer_closes_at_every_byte_of_a_message) {
  const std::uint64_t length = 20;
  std::vector<std::byte> stream(8 + length, std::byte{1});
  std::memcpy(stream.data(), &length, 8);
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    const SocketPair pair;
    Peer peer{*loop_};
    peer.socket.open(pair.fds[0]);
    const std::vector<std::byte> big(3u << 20);
    ASSERT_TRUE(peer.send(big));  // in flight when the peer goes
    ASSERT_EQ(write(pair.fds[1], stream.data(), cut), static_cast<ssize_t>(cut));
    loop_->poll();
    close(pair.fds[1]);
    ASSERT_TRUE(run_until([&] { return peer.closed == 1; })) << cut;
    EXPECT_EQ(peer.taken + peer.returned, 1) << "the buffer comes back exactly once";
    EXPECT_TRUE(peer.socket.is_idle());
    EXPECT_TRUE(peer.reason);
  }
}

TEST_P(Streams, truncation_and_end_are_told_apart) {
  for (const std::size_t cut : {0u, 3u, 8u, 12u, 28u}) {
    const std::uint64_t length = 20;
    std::vector<std::byte> stream(8 + length, std::byte{1});
    std::memcpy(stream.data(), &length, 8);
    const SocketPair pair;
    Peer peer{*loop_};
    peer.socket.open(pair.fds[0]);
    ASSERT_EQ(write(pair.fds[1], stream.data(), cut), static_cast<ssize_t>(cut));
    close(pair.fds[1]);
    ASSERT_TRUE(run_until([&] { return peer.closed == 1; }));
    EXPECT_EQ(peer.reason, cut == 0 || cut == 28 ? errc::kEndOfStream : errc::kTruncated) << cut;
  }
}

TEST_P(Streams, half_close_still_gets_its_answers) {
  const SocketPair pair;
  Peer client{*loop_};
  Peer server{*loop_};
  server.echo = true;
  server.close_at_end = false;
  client.socket.open(pair.fds[0]);
  server.socket.open(pair.fds[1]);
  Random random{5};
  std::deque<std::vector<std::byte>> sent;
  for (int i = 0; i < 20; ++i) {
    sent.push_back(random_bytes(random, 100'000));
    ASSERT_TRUE(client.send(sent.back()));
  }
  client.socket.shutdown_when_sent();
  EXPECT_FALSE(client.send(sent.back())) << "nothing follows a half-close";
  ASSERT_TRUE(run_until([&] { return server.ended; }));
  server.socket.close_when_sent();
  ASSERT_TRUE(run_until([&] { return client.closed && server.closed; }));
  EXPECT_EQ(client.messages, sent);
  EXPECT_EQ(client.reason, errc::kEndOfStream);
  EXPECT_EQ(server.reason, errc::kClosed);
}

TEST_P(Streams, a_full_queue_refuses_and_says_when_there_is_room) {
  const SocketPair pair;
  Peer client{*loop_, StreamOptions{.queue_items = {4, 8, 4}}};
  Peer server{*loop_};
  client.socket.open(pair.fds[0]);
  const std::vector<std::byte> big(1u << 20);
  while (client.send(big)) {
  }
  EXPECT_EQ(client.accepted_items, 8);
  EXPECT_EQ(client.socket.free_items(SendClass::kNormal), 0u);
  EXPECT_EQ(client.socket.free_items(SendClass::kUrgent), 4u);
  server.socket.open(pair.fds[1]);
  ASSERT_TRUE(run_until([&] { return client.writable > 0; }));
  EXPECT_GE(client.socket.free_items(SendClass::kNormal), 4u);
  ASSERT_TRUE(run_until([&] { return server.messages.size() == 8; }));
  client.socket.close(errc::kClosed);
  ASSERT_TRUE(run_until([&] { return client.closed && server.closed; }));
}

TEST_P(Streams, urgent_overtakes_bulk_but_never_splits_a_message) {
  const SocketPair pair;
  Peer client{*loop_};
  Peer server{*loop_};
  client.socket.open(pair.fds[0]);
  // A message of three items, then other bulk, then urgent: all queued before anything is sent.
  const std::uint64_t length = 3u << 20;
  const std::vector<std::byte> third(1u << 20, std::byte{3});
  ASSERT_TRUE(client.socket.send(
      SendClass::kBulk, {.header = std::as_bytes(std::span{&length, 1}), .payload = third, .more = true}));
  loop_->poll();  // gathered: the message has begun
  const std::vector<std::byte> urgent(10, std::byte{1});
  const std::vector<std::byte> bulk(20, std::byte{2});
  ASSERT_TRUE(client.send(bulk, SendClass::kNormal));
  ASSERT_TRUE(client.send(urgent, SendClass::kUrgent));
  server.socket.open(pair.fds[1]);
  loop_->poll();
  ASSERT_TRUE(client.socket.send(SendClass::kBulk, {.payload = third, .more = true}));
  ASSERT_TRUE(client.socket.send(SendClass::kBulk, {.payload = third}));
  ASSERT_TRUE(run_until([&] { return server.messages.size() == 3; }));
  EXPECT_EQ(server.messages[0].size(), length);
  EXPECT_EQ(server.messages[1], urgent);
  EXPECT_EQ(server.messages[2], bulk);
  client.socket.close(errc::kClosed);
  ASSERT_TRUE(run_until([&] { return client.closed && server.closed; }));
}

TEST_P(Streams, close_gives_every_buffer_back_and_the_socket_can_be_opened_again) {
  Peer client{*loop_};
  for (int round = 0; round < 5; ++round) {
    const SocketPair pair;
    client.closed = client.taken = client.returned = client.accepted_items = 0;
    client.socket.open(pair.fds[0]);
    const std::vector<std::byte> big(1u << 20);
    for (int i = 0; i < 10; ++i) ASSERT_TRUE(client.send(big));
    for (int i = 0; i < round; ++i) loop_->poll();
    client.socket.close(errc::kTimedOut);
    EXPECT_EQ(client.closed, 0) << "never from inside close()";
    EXPECT_FALSE(client.send(big));
    ASSERT_TRUE(run_until([&] { return client.closed == 1; }));
    EXPECT_EQ(client.reason, errc::kTimedOut);
    EXPECT_EQ(client.taken + client.returned, 10);
    EXPECT_TRUE(client.socket.is_idle());
    close(pair.fds[1]);
  }
}

TEST_P(Streams, early_bytes_are_shown_first) {
  const SocketPair pair;
  Peer peer{*loop_};
  const std::uint64_t length = 4;
  std::vector<std::byte> early(10, std::byte{9});
  std::memcpy(early.data(), &length, 8);
  peer.socket.open(pair.fds[0], early);
  EXPECT_TRUE(peer.messages.empty()) << "not from inside open()";
  ASSERT_EQ(write(pair.fds[1], early.data() + 8, 2), 2);
  ASSERT_TRUE(run_until([&] { return peer.messages.size() == 1; }));
  EXPECT_EQ(peer.messages[0], std::vector<std::byte>(4, std::byte{9}));
  close(pair.fds[1]);
  ASSERT_TRUE(run_until([&] { return peer.closed == 1; }));
}

// Nobody says goodbye for a host that lost its power.
TEST_P(Streams, a_silent_tcp_peer_is_asked_whether_it_lives) {
  const int door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ASSERT_EQ(bind(door, reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(listen(door, 1), 0);
  ASSERT_EQ(getsockname(door, reinterpret_cast<sockaddr*>(&address), &length), 0);
  const int far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(connect(far, reinterpret_cast<sockaddr*>(&address), length), 0);
  Peer peer{*loop_, {.keepalive_s = 60}};
  peer.socket.open(accept4(door, nullptr, nullptr, SOCK_CLOEXEC));
  const auto option = [&](int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    EXPECT_EQ(getsockopt(peer.socket.fd(), level, name, &value, &size), 0);
    return value;
  };
  EXPECT_EQ(option(SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPIDLE), 60);
  EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPINTVL) * option(IPPROTO_TCP, TCP_KEEPCNT), 60);
  close(far);
  close(door);
  ASSERT_TRUE(run_until([&] { return peer.closed == 1; }));
}

TEST_P(Streams, a_header_that_never_ends_closes_the_connection) {
  struct Deaf : StreamHandler {
    void on_data(StreamSocket&) override {}
    void on_received(StreamSocket&) override {}
    void on_closed(StreamSocket&, ErrorCode e) override { reason = e; }
    ErrorCode reason;
  } deaf;
  const SocketPair pair;
  StreamSocket socket{*loop_, deaf, {}};
  socket.open(pair.fds[0]);
  fcntl(pair.fds[1], F_SETFL, O_NONBLOCK);
  const std::vector<std::byte> junk(4096);
  for (int i = 0; i < 100'000 && !deaf.reason.failed(); ++i) {
    send(pair.fds[1], junk.data(), junk.size(), MSG_NOSIGNAL);
    loop_->poll();
  }
  EXPECT_EQ(deaf.reason, errc::kStashOverflow);
  close(pair.fds[1]);
}

}  // namespace
}  // namespace twinblock::ring::test
