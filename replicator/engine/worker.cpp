#include "replicator/engine/worker.hpp"

#include <pthread.h>

#include <utility>

namespace twinblock::engine {

Worker::Worker()
    : thread_{[this] {
        pthread_setname_np(pthread_self(), "tb-worker");
        run();
      }} {}

Worker::~Worker() {
  static_cast<void>(stop({}));
  thread_.join();
}

bool Worker::stop(std::chrono::nanoseconds limit) {
  std::unique_lock lock{mutex_};
  stop_ = true;
  changed_.notify_all();
  return changed_.wait_for(lock, limit, [this] { return ended_; });
}

void Worker::post(Job job, std::chrono::milliseconds delay) {
  {
    const std::lock_guard lock{mutex_};
    jobs_.emplace(Clock::now() + delay, std::move(job));
  }
  changed_.notify_all();
}

bool Worker::try_post(Job job) {
  {
    const std::lock_guard lock{mutex_};
    if (questions_ == kQuestionsMax) return false;
    ++questions_;
  }
  post([this, job = std::move(job)] {
    job();
    const std::lock_guard lock{mutex_};
    --questions_;
  });
  return true;
}

void Worker::run() {
  std::unique_lock lock{mutex_};
  while (!stop_) {
    if (jobs_.empty()) {
      changed_.wait(lock);
      continue;
    }
    const auto first = jobs_.begin();
    if (first->first > Clock::now()) {
      const auto due = first->first;
      changed_.wait_until(lock, due);
      continue;
    }
    const Job job = std::move(first->second);
    jobs_.erase(first);
    lock.unlock();
    job();
    lock.lock();
  }
  ended_ = true;
  changed_.notify_all();
}

}  // namespace twinblock::engine
