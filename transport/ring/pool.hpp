// A few threads for system calls that can only block: name resolution, ioctls, and all file I/O of the
// fallback engine. Bounded by the operations that exist; starts its threads at the first call.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "transport/ring/op.hpp"

namespace twinblock::ring {

class BlockingPool {
 public:
  // `wake_fd`: an eventfd that is written when finished work appears.
  BlockingPool(unsigned threads, int wake_fd) noexcept : thread_count_{threads}, wake_fd_{wake_fd} {}
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;
  // Waits for work that has begun; REQUIRES: nothing is queued or uncollected (the loop was drained).
  ~BlockingPool();

  void submit(Op& op);
  // All that finished since the last call; result_ is set.
  [[nodiscard]] OpQueue collect();

 private:
  void work();
  static int perform(const Op& op);

  unsigned thread_count_;
  int wake_fd_;
  std::mutex mutex_;
  std::condition_variable wanted_;
  OpQueue queue_;
  OpQueue finished_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace twinblock::ring
