// The writes and flush points that have a sequence number and are not finished everywhere, in order.
// Numbers are contiguous, so an entry is found by subtraction; it leaves when the local disk and the peer
// (if it was sent) are done with it.
#pragma once

#include <cstdint>
#include <vector>

#include "base/assert.hpp"
#include "base/units.hpp"
#include "replicator/core/range_lock.hpp"

namespace twinblock::core {

struct StreamEntry {
  OpIndex op = kNoOp;  // client operation still waiting for this entry
  bool sent = false;
  bool local_done = false;
  bool peer_done = false;
  bool client = false;      // a client's write, not a flush point, repair or resync piece
  std::uint32_t bytes = 0;  // of payload sent
  Instant started;
  bool resync = false;  // a resync piece
};

class StreamRing {
 public:
  explicit StreamRing(std::size_t capacity) : entries_(capacity) {}

  [[nodiscard]] bool full() const { return next_ - head_ == entries_.size(); }
  [[nodiscard]] bool empty() const { return next_ == head_; }
  [[nodiscard]] std::uint64_t head() const { return head_; }
  [[nodiscard]] std::uint64_t next() const { return next_; }
  // Everything at or below it is done on the local disk.
  [[nodiscard]] std::uint64_t local_done_through() const { return local_cursor_ - 1; }

  // REQUIRES: empty. The next number given is `next`.
  void restart(std::uint64_t next) {
    TB_ASSERT(empty() && next >= next_);
    head_ = next_ = local_cursor_ = next;
  }
  std::uint64_t push(const StreamEntry& e) {
    TB_ASSERT(!full());
    entries_[next_ % entries_.size()] = e;
    const std::uint64_t sequence = next_++;
    advance_local();
    return sequence;
  }
  [[nodiscard]] bool contains(std::uint64_t s) const { return s >= head_ && s < next_; }
  [[nodiscard]] StreamEntry& at(std::uint64_t s) {
    TB_ASSERT(contains(s));
    return entries_[s % entries_.size()];
  }
  [[nodiscard]] const StreamEntry& at(std::uint64_t s) const {
    TB_ASSERT(contains(s));
    return entries_[s % entries_.size()];
  }
  void set_local_done(std::uint64_t s) {
    at(s).local_done = true;
    advance_local();
  }
  // Drops finished entries at the head.
  void retire() {
    while (head_ < next_) {
      const StreamEntry& e = entries_[head_ % entries_.size()];
      if (!e.local_done || (e.sent && !e.peer_done)) break;
      ++head_;
    }
    advance_local();
  }

 private:
  void advance_local() {
    if (local_cursor_ < head_) local_cursor_ = head_;
    while (local_cursor_ < next_ && entries_[local_cursor_ % entries_.size()].local_done) ++local_cursor_;
  }

  std::vector<StreamEntry> entries_;
  std::uint64_t head_ = 1;
  std::uint64_t next_ = 1;
  std::uint64_t local_cursor_ = 1;  // lowest number not done locally
};

}  // namespace twinblock::core
