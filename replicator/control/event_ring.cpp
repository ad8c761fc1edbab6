#include "replicator/control/event_ring.hpp"

#include <algorithm>
#include <chrono>

#include "base/assert.hpp"

namespace twinblock::control {

EventRing::EventRing(std::size_t capacity) : capacity_{capacity} {
  TB_ASSERT(capacity > 0);
}

std::uint64_t EventRing::append(Event event) {
  std::function<void()> notify;
  std::uint64_t sequence{};
  {
    const std::lock_guard lock{mutex_};
    sequence = event.sequence = ++last_;
    if (event.wall_time_ms == 0) {
      const auto now = std::chrono::system_clock::now().time_since_epoch();
      event.wall_time_ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
    }
    if (events_.size() == capacity_) events_.pop_front();
    events_.push_back(std::move(event));
    notify = notify_;
  }
  if (notify) notify();
  return sequence;
}

EventBatch EventRing::since(std::uint64_t since, std::size_t limit) const {
  EventBatch batch;
  const std::lock_guard lock{mutex_};
  if (since > last_) {
    batch.next = last_;
    return batch;
  }
  const std::uint64_t oldest = last_ - events_.size() + 1;  // the next number if there are none
  if (oldest > since + 1) batch.lost = oldest - since - 1;
  const std::uint64_t first = std::max(oldest, since + 1);
  for (std::size_t i = first - oldest; i < events_.size() && batch.events.size() < limit; ++i) {
    batch.events.push_back(events_[i]);
  }
  batch.next = batch.events.empty() ? std::max(since, oldest - 1) : batch.events.back().sequence;
  return batch;
}

std::uint64_t EventRing::last() const {
  const std::lock_guard lock{mutex_};
  return last_;
}

void EventRing::set_listener(std::function<void()> notify) {
  const std::lock_guard lock{mutex_};
  notify_ = std::move(notify);
}

}  // namespace twinblock::control
