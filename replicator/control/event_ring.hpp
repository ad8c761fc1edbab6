// The last events, numbered, in memory and bounded: what `twinblock events` shows and `--follow` long-polls.
// Thread-safe. An append is a short critical section without I/O, yet shards should send their events to the
// control thread with the other messages rather than append here themselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>

#include "replicator/control/protocol.hpp"

namespace twinblock::control {

inline constexpr std::size_t kEventRingSize = 4096;
inline constexpr std::size_t kEventBatchMax = 512;

class EventRing {
 public:
  explicit EventRing(std::size_t capacity = kEventRingSize);

  // Stores the event under the next sequence number (and the current wall time if it has none), dropping the
  // oldest one when full. Returns the number.
  std::uint64_t append(Event event);

  // Events with a sequence greater than `since`, oldest first, at most `limit`. Nothing is greater than a
  // `since` beyond the newest: no events, and a `next` below it, which tells a reader that kept the number
  // that the daemon has restarted and numbers anew.
  [[nodiscard]] EventBatch since(std::uint64_t since, std::size_t limit = kEventBatchMax) const;

  // The greatest number given so far; 0: none.
  [[nodiscard]] std::uint64_t last() const;

  // `notify` runs after every append, on the appending thread, outside the lock; one listener (the server).
  void set_listener(std::function<void()> notify);

 private:
  mutable std::mutex mutex_;
  std::size_t capacity_;
  std::deque<Event> events_;
  std::uint64_t last_{};
  std::function<void()> notify_;
};

}  // namespace twinblock::control
