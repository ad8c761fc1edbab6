// The engine for where io_uring is forbidden: epoll for sockets, the blocking pool for files. Kept correct
// and small, not fast. Sockets are tried at once and wait in per-descriptor queues when they would block.
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "transport/ring/engine.hpp"
#include "transport/ring/loop.hpp"
#include "transport/ring/pool.hpp"

namespace twinblock::ring {
namespace {

void set_non_blocking(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags >= 0 && (flags & O_NONBLOCK) == 0) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

int to_result(ssize_t n) {
  return n < 0 ? -errno : static_cast<int>(n);
}

}  // namespace

class EpollEngine final : public Engine {
 public:
  EpollEngine(Loop& loop, BlockingPool& pool, int epoll_fd) noexcept
      : loop_{loop}, pool_{pool}, epoll_fd_{epoll_fd} {}
  ~EpollEngine() override { ::close(epoll_fd_); }

  void submit(Op& op) override;
  void cancel(Op& op) override;
  void wait(Duration limit) override;
  void bind_thread() override {}
  Result<void> register_buffers(std::span<const iovec>) override { return {}; }
  int register_file(int) override { return -1; }
  void unregister_file(int) override { TB_ASSERT(false); }

 private:
  struct Waiters {
    OpQueue in;
    OpQueue out;
    std::uint32_t mask = 0;  // as registered; 0: not registered
  };

  static bool waits_for_output(const Op& op);
  static int attempt(Op& op);
  void attempt_or_queue(Op& op);
  void serve(OpQueue& queue);
  void update(int fd);
  Waiters& waiters(int fd);

  Loop& loop_;
  BlockingPool& pool_;
  int epoll_fd_;
  std::vector<Waiters> waiters_;  // by descriptor
};

void EpollEngine::submit(Op& op) {
  switch (op.kind_) {
    case OpKind::kRead:
    case OpKind::kWrite:
    case OpKind::kFdatasync:
    case OpKind::kFallocate:
      pool_.submit(op);
      return;
    case OpKind::kConnect:
      set_non_blocking(op.file_.fd);
      op.transferred_ = 0;
      attempt_or_queue(op);
      return;
    case OpKind::kAccept:
      set_non_blocking(op.file_.fd);
      attempt_or_queue(op);
      return;
    case OpKind::kReceive:
    case OpKind::kSend:
    case OpKind::kPoll:
    case OpKind::kReadEvent:
      attempt_or_queue(op);
      return;
    case OpKind::kClose:
      loop_.engine_completed(op, to_result(::close(op.file_.fd)), 0);
      return;
    case OpKind::kNone:
    case OpKind::kCall:
    case OpKind::kDefer:
      break;
  }
  TB_ASSERT(false);
}

bool EpollEngine::waits_for_output(const Op& op) {
  return op.kind_ == OpKind::kSend || op.kind_ == OpKind::kConnect ||
         (op.kind_ == OpKind::kPoll && (op.flags_ & POLLOUT) != 0);
}

// -EAGAIN: would block.
int EpollEngine::attempt(Op& op) {
  const int fd = op.file_.fd;
  switch (op.kind_) {
    case OpKind::kReceive:
      return to_result(recvmsg(fd, &op.message_, MSG_DONTWAIT));
    case OpKind::kSend:
      return to_result(sendmsg(fd, &op.message_, MSG_DONTWAIT | MSG_NOSIGNAL));
    case OpKind::kAccept:
      return to_result(accept4(fd, nullptr, nullptr, SOCK_CLOEXEC));
    case OpKind::kConnect: {
      // A second connect() on the same socket reports how the first one went.
      const int result = to_result(::connect(fd, op.address_, op.address_length_));
      const bool again = op.transferred_ > 0;
      if (result == -EINPROGRESS || result == -EALREADY) {
        op.transferred_ = 1;
        return -EAGAIN;
      }
      return again && result == -EISCONN ? 0 : result;
    }
    case OpKind::kPoll:
    case OpKind::kReadEvent: {
      pollfd p{fd, op.kind_ == OpKind::kPoll ? static_cast<short>(op.flags_) : short{POLLIN}, 0};
      if (::poll(&p, 1, 0) <= 0) return -EAGAIN;
      if (op.kind_ == OpKind::kPoll) return p.revents;
      return to_result(::read(fd, &op.event_, sizeof op.event_));
    }
    case OpKind::kRead:
    case OpKind::kWrite:
    case OpKind::kFdatasync:
    case OpKind::kFallocate:
    case OpKind::kNone:
    case OpKind::kClose:
    case OpKind::kCall:
    case OpKind::kDefer:
      break;
  }
  TB_ASSERT(false);
  return -EINVAL;
}

void EpollEngine::attempt_or_queue(Op& op) {
  const int fd = op.file_.fd;
  const bool output = waits_for_output(op);
  const int result = attempt(op);
  // A unix socket also says "again" when the listener's backlog is full, and no readiness follows: final.
  const bool backlog_full = op.kind_ == OpKind::kConnect && op.transferred_ == 0;
  if (result != -EAGAIN || backlog_full) {
    loop_.engine_completed(op, result, 0);
    return;
  }
  Waiters& w = waiters(fd);
  (output ? w.out : w.in).push(&op);
  update(fd);
}

EpollEngine::Waiters& EpollEngine::waiters(int fd) {
  TB_ASSERT(fd >= 0);
  const auto index = static_cast<std::size_t>(fd);
  if (index >= waiters_.size()) waiters_.resize(std::max(index + 1, waiters_.size() * 2));
  return waiters_[index];
}

// A descriptor is registered exactly while somebody waits for it: errors and hang-ups are reported without
// being asked for, and would spin the loop otherwise.
void EpollEngine::update(int fd) {
  Waiters& w = waiters(fd);
  const std::uint32_t wanted = (w.in.empty() ? 0u : static_cast<std::uint32_t>(EPOLLIN | EPOLLRDHUP)) |
                               (w.out.empty() ? 0u : static_cast<std::uint32_t>(EPOLLOUT));
  if (wanted == w.mask) return;
  epoll_event event{};
  event.events = wanted;
  event.data.fd = fd;
  const int verb = wanted == 0 ? EPOLL_CTL_DEL : w.mask == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  const int result = epoll_ctl(epoll_fd_, verb, fd, &event);
  TB_ASSERT(result == 0);
  w.mask = wanted;
}

void EpollEngine::serve(OpQueue& queue) {
  while (Op* op = queue.front()) {
    const int result = attempt(*op);
    if (result == -EAGAIN) return;
    queue.pop();
    loop_.engine_completed(*op, result, 0);
  }
}

void EpollEngine::cancel(Op& op) {
  const int fd = op.file_.fd;
  Waiters& w = waiters(fd);
  if (!w.in.remove(&op) && !w.out.remove(&op)) return;
  update(fd);
  loop_.engine_completed(op, -ECANCELED, 0);
}

void EpollEngine::wait(Duration limit) {
  std::array<epoll_event, 128> events;
  // Rounded up: a timer must not make the loop spin through its last millisecond.
  constexpr std::int64_t kMillisecond = 1'000'000;
  const std::int64_t milliseconds =
      limit.nanoseconds() / kMillisecond + (limit.nanoseconds() % kMillisecond != 0);
  const int timeout = limit.nanoseconds() == INT64_MAX
                          ? -1
                          : static_cast<int>(std::clamp<std::int64_t>(milliseconds, 0, INT32_MAX));
  const int n = epoll_wait(epoll_fd_, events.data(), static_cast<int>(events.size()), timeout);
  TB_ASSERT(n >= 0 || errno == EINTR);
  for (int i = 0; i < n; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    const int fd = event.data.fd;
    Waiters& w = waiters(fd);
    constexpr std::uint32_t kBroken = EPOLLERR | EPOLLHUP;
    if ((event.events & (EPOLLIN | EPOLLRDHUP | kBroken)) != 0) serve(w.in);
    if ((event.events & (EPOLLOUT | kBroken)) != 0) serve(w.out);
    update(fd);
  }
}

Result<std::unique_ptr<Engine>> make_epoll_engine(Loop& loop, BlockingPool& pool) {
  const int fd = epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) return system_error(errno);
  return std::unique_ptr<Engine>{std::make_unique<EpollEngine>(loop, pool, fd)};
}

}  // namespace twinblock::ring
