// Who may touch which bytes now. What overlaps waits in order of arrival, what does not runs concurrently;
// two shared holders (reads, resync reads) do not conflict. First come, first served, waiting ones included,
// so nobody starves.
//
// Every range lies inside one extent, which is the bucket it is kept in: finding conflicts means looking at
// the few other ranges of that bucket.
#pragma once

#include <cstdint>
#include <vector>

#include "base/assert.hpp"
#include "base/units.hpp"

namespace twinblock::core {

using OpIndex = std::uint16_t;
inline constexpr OpIndex kNoOp = 0xffff;

class RangeLocks {
 public:
  explicit RangeLocks(std::size_t op_count)
      : entries_(op_count), heads_(kBuckets, kNoOp), tails_(kBuckets, kNoOp) {}

  // True: granted now; false: `op` is handed to the callback of some later release().
  bool acquire(OpIndex op, ByteRange range, bool exclusive) {
    Entry& e = entries_[op];
    TB_ASSERT(!e.used);
    const std::uint32_t b = bucket(range);
    e = Entry{range, exclusive, true, 0, kNoOp, tails_[b]};
    for (OpIndex i = heads_[b]; i != kNoOp; i = entries_[i].next) {
      if (conflict(entries_[i], e)) ++e.blockers;
    }
    (tails_[b] == kNoOp ? heads_[b] : entries_[tails_[b]].next) = op;
    tails_[b] = op;
    return e.blockers == 0;
  }

  // REQUIRES: op holds or waits. `granted(OpIndex)` is called for each that may go now; it must not touch
  // the locks (collect, then act).
  template <class Granted>
  void release(OpIndex op, Granted&& granted) {
    Entry& e = entries_[op];
    TB_ASSERT(e.used);
    const std::uint32_t b = bucket(e.range);
    for (OpIndex i = e.next; i != kNoOp; i = entries_[i].next) {
      Entry& later = entries_[i];
      if (conflict(e, later) && --later.blockers == 0) granted(i);
    }
    (e.previous == kNoOp ? heads_[b] : entries_[e.previous].next) = e.next;
    (e.next == kNoOp ? tails_[b] : entries_[e.next].previous) = e.previous;
    e.used = false;
  }

  [[nodiscard]] bool held(OpIndex op) const { return entries_[op].used && entries_[op].blockers == 0; }

 private:
  struct Entry {
    ByteRange range;
    bool exclusive = false;
    bool used = false;
    std::uint32_t blockers = 0;
    OpIndex next = kNoOp;
    OpIndex previous = kNoOp;
  };
  static constexpr std::uint32_t kBuckets = 256;
  static std::uint32_t bucket(const ByteRange& r) {
    return static_cast<std::uint32_t>(r.offset.value() / kExtentSize.value()) % kBuckets;
  }
  static bool conflict(const Entry& a, const Entry& b) {
    return (a.exclusive || b.exclusive) && a.range.overlaps(b.range);
  }

  std::vector<Entry> entries_;
  std::vector<OpIndex> heads_;
  std::vector<OpIndex> tails_;
};

}  // namespace twinblock::core
