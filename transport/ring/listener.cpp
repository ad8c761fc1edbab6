#include "transport/ring/listener.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <string_view>

#include "transport/ring/error.hpp"

namespace twinblock::ring {
namespace {

constexpr int kFirstPassedFd = 3;
constexpr Duration kRetryDelay = Duration::milliseconds(100);

std::uint64_t inode_of(const std::string& path) {
  struct stat s {};
  return lstat(path.c_str(), &s) == 0 && S_ISSOCK(s.st_mode) ? s.st_ino : 0;
}

enum class SocketFile : std::uint8_t { absent, dead };

// Is there a socket file that nobody listens on? One that somebody answers on is an error.
Result<SocketFile> socket_file(const std::string& path, const SocketAddress& address) {
  struct stat s {};
  if (lstat(path.c_str(), &s) != 0) {
    if (errno == ENOENT) return SocketFile::absent;
    return system_error(errno);
  }
  if (!S_ISSOCK(s.st_mode)) return ErrorCode{errc::kNotASocket};
  const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0) return system_error(errno);
  const int error = connect(probe, address.get(), address.length) == 0 ? 0 : errno;
  ::close(probe);
  // Only a refusal proves that it is dead: EAGAIN is a busy listener, EACCES somebody else's.
  if (error != ECONNREFUSED) return ErrorCode{errc::kAddressInUse};
  return SocketFile::dead;
}

// Makes room for a socket file if what stands there is a socket that nobody listens on.
Result<void> remove_if_dead(const std::string& path, const SocketAddress& address) {
  const auto file = socket_file(path, address);
  if (!file) return file.error();
  if (*file == SocketFile::dead && unlink(path.c_str()) != 0 && errno != ENOENT) return system_error(errno);
  return {};
}

int number_in(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return -1;
  const std::string_view view{text};
  int value = -1;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  return error == std::errc{} && end == view.data() + view.size() ? value : -1;
}

}  // namespace

Result<void> address_free(const Address& address) {
  const auto resolved = resolve(address);
  if (!resolved) return resolved.error();
  const SocketAddress& first = resolved->front();
  if (address.kind == Address::Kind::kUnix) {
    const auto file = socket_file(address.path, first);
    return file ? Result<void>{} : file.error();
  }
  const int fd = socket(first.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return system_error(errno);
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  const bool free = bind(fd, first.get(), first.length) == 0 && ::listen(fd, 1) == 0;
  const int error = errno;
  ::close(fd);
  if (free) return {};
  return error == EADDRINUSE ? ErrorCode{errc::kAddressInUse} : system_error(error);
}

Listener::~Listener() {
  TB_ASSERT(fd_ < 0 && !finish_op_.in_flight());
}

Result<void> Listener::listen(const Address& address) {
  TB_ASSERT(fd_ < 0);
  auto resolved = resolve(address);
  if (!resolved) return resolved.error();
  const SocketAddress& first = resolved->front();
  const bool is_unix = address.kind == Address::Kind::kUnix;
  if (is_unix) {
    if (auto removed = remove_if_dead(address.path, first); !removed) return removed;
  }
  const int fd = socket(first.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return system_error(errno);
  if (auto bound = bind_to(fd, first); !bound) {
    ::close(fd);
    return bound;
  }
  fd_ = fd;
  if (is_unix) {
    address_ = address;
    file_inode_ = inode_of(address.path);
  } else if (auto local = local_address(fd)) {
    address_ = *local;
  }
  start();
  return {};
}

Result<void> Listener::bind_to(int fd, const SocketAddress& address) {
  const bool is_unix = address.storage.ss_family == AF_UNIX;
  const int one = 1;
  if (!is_unix) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  // Permissions before the name exists: a moment of 0777 would be a moment too long.
  if (is_unix && fchmod(fd, options_.unix_mode) != 0) return system_error(errno);
  if (bind(fd, address.get(), address.length) != 0 || ::listen(fd, options_.backlog) != 0) {
    return errno == EADDRINUSE ? ErrorCode{errc::kAddressInUse} : system_error(errno);
  }
  return {};
}

Result<void> Listener::adopt(int fd) {
  TB_ASSERT(fd_ < 0);
  int listening = 0;
  socklen_t length = sizeof listening;
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) != 0) return system_error(errno);
  if (listening == 0) return system_error(EINVAL);
  auto local = local_address(fd);
  if (!local) return local.error();
  address_ = *local;
  const int flags = fcntl(fd, F_GETFL);
  if (flags >= 0) fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
  fd_ = fd;
  start();
  return {};
}

void Listener::start() {
  loop_.accept(accept_op_, File{fd_, -1});
}

void Listener::on_accepted(int result) {
  if (closing_) {
    if (result >= 0) ::close(result);
    loop_.defer(finish_op_, 0);
    return;
  }
  if (result == -EMFILE || result == -ENFILE || result == -ENOBUFS || result == -ENOMEM) {
    // The connection stays in the backlog: look again when descriptors may have become free.
    loop_.arm(retry_timer_, loop_.now() + kRetryDelay);
    return;
  }
  start();
  // Other errors are those of a connection that ended in the backlog.
  if (result < 0) return;
  if (connection_count_ >= options_.connections_max) {
    ++refused_count_;
    ::close(result);
    return;
  }
  ++connection_count_;
  handler_.on_accept(*this, result);
}

void Listener::on_retry() {
  start();
}

void Listener::connection_ended() noexcept {
  TB_ASSERT(connection_count_ > 0);
  --connection_count_;
}

void Listener::close() {
  if (fd_ < 0 || closing_) return;
  closing_ = true;
  loop_.disarm(retry_timer_);
  remove_socket_file();
  if (accept_op_.in_flight())
    loop_.cancel(accept_op_);
  else
    loop_.defer(finish_op_, 0);
}

void Listener::remove_socket_file() const {
  // Only the file that we made: a successor may have replaced it.
  if (file_inode_ != 0 && inode_of(address_.path) == file_inode_) unlink(address_.path.c_str());
}

void Listener::on_finish(int) {
  ::close(fd_);
  fd_ = -1;
  file_inode_ = 0;
  closing_ = false;
  handler_.on_listener_closed(*this);
}

std::vector<int> take_listen_fds() {
  std::vector<int> fds;
  const int pid = number_in("LISTEN_PID");
  const int count = number_in("LISTEN_FDS");
  if (pid != getpid() || count <= 0) return fds;
  unsetenv("LISTEN_PID");
  unsetenv("LISTEN_FDS");
  unsetenv("LISTEN_FDNAMES");
  for (int fd = kFirstPassedFd; fd < kFirstPassedFd + count; ++fd) {
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0) fds.push_back(fd);
  }
  return fds;
}

}  // namespace twinblock::ring
