#include "transport/ring/listener.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <fstream>

#include "tests/unit/ring/fixture.hpp"
#include "transport/ring/error.hpp"

namespace twinblock::ring::test {
namespace {

struct Door : ListenerHandler {
  void on_accept(Listener&, int fd) override { fds.push_back(fd); }
  void on_listener_closed(Listener&) override { closed = true; }
  ~Door() override {
    for (const int fd : fds) ::close(fd);
  }
  std::vector<int> fds;
  bool closed = false;
};

class Listeners : public LoopTest {
 protected:
  void end(Listener& listener, Door& door) {
    listener.close();
    ASSERT_TRUE(run_until([&] { return door.closed; }));
  }
  static int dial(const Address& address) {
    auto resolved = resolve(address);
    EXPECT_TRUE(resolved);
    const int fd = socket(resolved->front().storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(connect(fd, resolved->front().get(), resolved->front().length), 0);
    return fd;
  }
  static Address unix_at(const std::string& path) {
    return Address{.kind = Address::Kind::kUnix, .host = {}, .path = path, .port = 0};
  }
};
TB_BOTH_ENGINES(Listeners);

TEST_P(Listeners, tcp_with_port_0_says_where_it_listens) {
  Door door;
  Listener listener{*loop_, door, {}};
  ASSERT_TRUE(listener.listen(*parse_address("127.0.0.1:0")));
  EXPECT_NE(listener.bound_address().port, 0);
  const int a = dial(listener.bound_address());
  const int b = dial(listener.bound_address());
  ASSERT_TRUE(run_until([&] { return door.fds.size() == 2; }));
  EXPECT_NE(fcntl(door.fds[0], F_GETFD) & FD_CLOEXEC, 0);
  close(a);
  close(b);
  end(listener, door);
}

TEST_P(Listeners, connections_above_the_limit_are_closed_at_once) {
  Door door;
  Listener listener{*loop_, door, {.connections_max = 1}};
  ASSERT_TRUE(listener.listen(*parse_address("[::1]:0")) || listener.listen(*parse_address("127.0.0.1:0")));
  const int a = dial(listener.bound_address());
  const int b = dial(listener.bound_address());
  ASSERT_TRUE(run_until([&] { return listener.refused_count() == 1; }));
  char byte = 0;
  EXPECT_EQ(read(b, &byte, 1), 0);
  listener.connection_ended();
  const int c = dial(listener.bound_address());
  ASSERT_TRUE(run_until([&] { return door.fds.size() == 2; }));
  for (const int fd : {a, b, c}) close(fd);
  end(listener, door);
}

TEST_P(Listeners, a_dead_socket_file_is_replaced_and_a_live_one_is_not) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("sock");
  {
    const int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    const auto address = resolve(unix_at(path));
    ASSERT_EQ(bind(dead, address->front().get(), address->front().length), 0);
    close(dead);
  }
  Door door;
  Listener listener{*loop_, door, {.unix_mode = 0660}};
  ASSERT_TRUE(listener.listen(unix_at(path)));
  struct stat s {};
  ASSERT_EQ(stat(path.c_str(), &s), 0);
  EXPECT_EQ(s.st_mode & 0007, 0u);
  Door other_door;
  Listener other{*loop_, other_door, {}};
  EXPECT_EQ(other.listen(unix_at(path)).error(), errc::kAddressInUse);
  const int client = dial(unix_at(path));
  ASSERT_TRUE(run_until([&] { return !door.fds.empty(); }));
  close(client);
  end(listener, door);
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_P(Listeners, a_file_that_is_no_socket_is_left_alone) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("precious");
  std::ofstream{path} << "data";
  Door door;
  Listener listener{*loop_, door, {}};
  EXPECT_EQ(listener.listen(unix_at(path)).error(), errc::kNotASocket);
  EXPECT_EQ(std::filesystem::file_size(path), 4u);
}

TEST_P(Listeners, adopts_a_listening_socket_and_nothing_else) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("sock");
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const auto address = resolve(unix_at(path));
  ASSERT_EQ(bind(fd, address->front().get(), address->front().length), 0);
  Door door;
  Listener listener{*loop_, door, {}};
  EXPECT_FALSE(listener.adopt(fd));
  ASSERT_EQ(::listen(fd, 5), 0);
  ASSERT_TRUE(listener.adopt(fd));
  EXPECT_EQ(listener.bound_address().path, path);
  const int client = dial(unix_at(path));
  ASSERT_TRUE(run_until([&] { return door.fds.size() == 1; }));
  close(client);
  end(listener, door);
  EXPECT_TRUE(std::filesystem::exists(path)) << "systemd's file is systemd's";
}

TEST(ListenFds, are_taken_only_when_they_are_ours) {
  setenv("LISTEN_PID", "1", 1);
  setenv("LISTEN_FDS", "1", 1);
  EXPECT_TRUE(take_listen_fds().empty());
  setenv("LISTEN_PID", "junk", 1);
  EXPECT_TRUE(take_listen_fds().empty());
  unsetenv("LISTEN_PID");
  unsetenv("LISTEN_FDS");
}

}  // namespace
}  // namespace twinblock::ring::test
