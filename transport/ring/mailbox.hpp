// Typed messages between threads: many producers, one consumer, bounded, and one eventfd that is written only
// when the box was empty. The consumer waits for the eventfd with an EventWatch (a shard) or a stream
// descriptor (the control thread). A lock instead of a lock-free ring: control messages are rare, it is held
// for one move, and it can be read.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/assert.hpp"

namespace twinblock::ring {

template <class T>
class Mailbox {
 public:
  // REQUIRES: capacity > 0, and a descriptor to be had: it is made at start-up.
  explicit Mailbox(std::size_t capacity) : slots_(capacity), event_fd_{eventfd(0, EFD_CLOEXEC)} {
    TB_ASSERT(capacity > 0);
    TB_ASSERT(event_fd_ >= 0);
  }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;
  ~Mailbox() { close(event_fd_); }

  // Any thread. False: full, `message` is untouched; the sender keeps it and holds back.
  [[nodiscard]] bool post(T&& message) {
    bool was_empty = false;
    {
      const std::lock_guard lock{mutex_};
      if (count_ == slots_.size()) return false;
      was_empty = count_ == 0;
      slots_[(first_ + count_) % slots_.size()].emplace(std::move(message));
      ++count_;
    }
    if (was_empty) {
      const std::uint64_t one = 1;
      [[maybe_unused]] const ssize_t written = write(event_fd_, &one, sizeof one);
    }
    return true;
  }

  // The consumer, after it has read the eventfd: take until empty, or the rest goes unannounced.
  [[nodiscard]] std::optional<T> take() {
    const std::lock_guard lock{mutex_};
    if (count_ == 0) return std::nullopt;
    std::optional<T> message = std::move(slots_[first_]);
    slots_[first_].reset();
    first_ = (first_ + 1) % slots_.size();
    --count_;
    return message;
  }

  [[nodiscard]] int event_fd() const noexcept { return event_fd_; }

 private:
  std::mutex mutex_;
  std::vector<std::optional<T>> slots_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  int event_fd_;
};

}  // namespace twinblock::ring
