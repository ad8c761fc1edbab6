// A thread for what blocks: opening disks, making metadata. Jobs run in order; a delayed one when its time
// has come. Each mirror has its own, so that a disk that hangs holds up no other mirror.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

namespace twinblock::engine {

class Worker {
 public:
  using Job = std::function<void()>;
  Worker();
  ~Worker();  // finishes the running job, drops the rest
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  // Drops what has not begun and waits for what has, at most so long. False: it still runs; only the end of
  // the process gets rid of it.
  [[nodiscard]] bool stop(std::chrono::nanoseconds limit);
  void post(Job job, std::chrono::milliseconds delay = std::chrono::milliseconds{0});
  // For what anybody may ask at any rate. False: kQuestionsMax wait or run already, come again.
  [[nodiscard]] bool try_post(Job job);
  static constexpr std::size_t kQuestionsMax = 4;

 private:
  using Clock = std::chrono::steady_clock;
  void run();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::multimap<Clock::time_point, Job> jobs_;
  std::size_t questions_ = 0;
  bool stop_ = false;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace twinblock::engine
