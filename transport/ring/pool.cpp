#include "transport/ring/pool.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace twinblock::ring {
namespace {

// Threads of the pool take no signals: those belong to the thread that handles them.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &old_, nullptr); }

 private:
  sigset_t old_{};
};

}  // namespace

BlockingPool::~BlockingPool() {
  {
    const std::lock_guard lock{mutex_};
    TB_ASSERT(queue_.empty() && finished_.empty());
    stopping_ = true;
  }
  wanted_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void BlockingPool::submit(Op& op) {
  {
    const std::lock_guard lock{mutex_};
    queue_.push(&op);
  }
  if (threads_.empty()) {
    const SignalsBlocked guard;
    for (unsigned i = 0; i < thread_count_; ++i) threads_.emplace_back([this] { work(); });
  }
  wanted_.notify_one();
}

OpQueue BlockingPool::collect() {
  const std::lock_guard lock{mutex_};
  OpQueue all = finished_;
  finished_ = OpQueue{};
  return all;
}

void BlockingPool::work() {
  std::unique_lock lock{mutex_};
  for (;;) {
    wanted_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Op* op = queue_.pop();
    lock.unlock();
    const int result = perform(*op);
    lock.lock();
    op->result_ = result;
    const bool first = finished_.empty();
    finished_.push(op);
    if (first) {
      const std::uint64_t one = 1;
      // Cannot fail: the counter of an eventfd that is read again and again never reaches its limit.
      [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof one);
    }
  }
}

int BlockingPool::perform(const Op& op) {
  const iovec rest{op.data_ + op.transferred_, op.chunk_};
  const auto at = static_cast<off_t>(op.offset_ + op.transferred_);
  ssize_t n = -1;
  switch (op.kind_) {
    case OpKind::kRead:
      n = preadv2(op.file_.fd, &rest, 1, at, static_cast<int>(op.flags_));
      break;
    case OpKind::kWrite:
      n = pwritev2(op.file_.fd, &rest, 1, at, static_cast<int>(op.flags_));
      break;
    case OpKind::kFdatasync:
      n = fdatasync(op.file_.fd);
      break;
    case OpKind::kFallocate:
      n = fallocate(op.file_.fd, static_cast<int>(op.flags_), at, static_cast<off_t>(op.length_));
      break;
    case OpKind::kCall:
      return op.call_(op.call_argument_);
    case OpKind::kNone:
    case OpKind::kReceive:
    case OpKind::kSend:
    case OpKind::kAccept:
    case OpKind::kConnect:
    case OpKind::kPoll:
    case OpKind::kReadEvent:
    case OpKind::kClose:
    case OpKind::kDefer:
      TB_ASSERT(false);
  }
  return n < 0 ? -errno : static_cast<int>(n);
}

}  // namespace twinblock::ring
