// Accepts connections on a unix or TCP address, up to a limit.
#pragma once

#include <string>
#include <vector>

#include "base/error.hpp"
#include "transport/ring/address.hpp"
#include "transport/ring/loop.hpp"

namespace twinblock::ring {

struct ListenerOptions {
  std::uint32_t connections_max = 256;
  int backlog = 128;
  unsigned unix_mode = 0600;  // permissions of the socket file
};

class Listener;

class ListenerHandler {
 public:
  virtual ~ListenerHandler() = default;
  // Owns `fd` from now on, and says connection_ended() when it has closed it.
  virtual void on_accept(Listener& listener, int fd) = 0;
  // After close(): nothing is in flight, the listener may be destroyed. Never from inside close().
  virtual void on_listener_closed(Listener&) {}
};

class Listener {
 public:
  Listener(Loop& loop, ListenerHandler& handler, const ListenerOptions& options) noexcept
      : loop_{loop}, handler_{handler}, options_{options} {}
  // REQUIRES: closed and told so, or never opened.
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // A unix socket file of a dead process is replaced; one that somebody answers on is not
  // (errc::kAddressInUse), nor is anything that is not a socket (errc::kNotASocket).
  Result<void> listen(const Address& address);
  // Takes over a listening socket (systemd). Its file is not removed at the end.
  Result<void> adopt(int fd);
  void close();

  // Where it really listens: the kernel's port instead of 0.
  [[nodiscard]] const Address& bound_address() const noexcept { return address_; }
  [[nodiscard]] bool is_listening() const noexcept { return fd_ >= 0 && !closing_; }
  [[nodiscard]] std::uint32_t connection_count() const noexcept { return connection_count_; }
  // Connections that were closed at once because of the limit.
  [[nodiscard]] std::uint64_t refused_count() const noexcept { return refused_count_; }
  void connection_ended() noexcept;

 private:
  Result<void> bind_to(int fd, const SocketAddress& address);
  void start();
  void on_accepted(int result);
  void on_retry();
  void on_finish(int result);
  void remove_socket_file() const;

  Loop& loop_;
  ListenerHandler& handler_;
  ListenerOptions options_;
  Address address_;
  int fd_ = -1;
  bool closing_ = false;
  std::uint64_t file_inode_ = 0;  // of the socket file that we made; 0: not ours
  std::uint32_t connection_count_ = 0;
  std::uint64_t refused_count_ = 0;
  MethodOp<&Listener::on_accepted> accept_op_{this};
  MethodOp<&Listener::on_finish> finish_op_{this};
  MethodTimer<Listener, &Listener::on_retry> retry_timer_{this};
};

// Whether listen() would find the address free now: errc::kAddressInUse if somebody answers there. Nothing
// stays behind.
[[nodiscard]] Result<void> address_free(const Address& address);

// The sockets that systemd hands over (LISTEN_PID, LISTEN_FDS), once: the variables are removed. Empty when
// they are not for this process.
[[nodiscard]] std::vector<int> take_listen_fds();

}  // namespace twinblock::ring
