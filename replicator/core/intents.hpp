// Which extents are hot: the memory side of the intent log. A slot is *listed* when the newest durable
// record names its extent; only then may a write to it start. A record always carries the complete set, so
// dropping one extent and adding another is one atomic transaction.
//
//   free ──pin──▶ wanted ──record durable──▶ listed ──all stable or in durable bits──▶ droppable
//                                               ▲                                         │
//                                               └────────────── pin ──────────────────────┤
//                                             free ◀── next record is built without it ───┘
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/assert.hpp"
#include "base/units.hpp"
#include "bitmap/dirty_map.hpp"
#include "bitmap/geometry.hpp"

namespace twinblock::core {

using SlotIndex = std::uint16_t;
inline constexpr SlotIndex kNoSlot = 0xffff;

struct IntentSlot {
  ExtentIndex extent;
  bool used = false;
  bool listed = false;             // named by the newest durable record
  bool in_record = false;          // named by the record being written
  std::uint32_t pins = 0;          // operations that wait or run
  std::uint64_t sequence_max = 0;  // of the writes here
  std::uint64_t sent_max = 0;      // of the writes here that went to the peer in this session; 0: none
  Instant since;                   // when it became hot
  std::array<std::uint64_t, 16> touched{};  // regions written since it became hot (<= 1024 per extent)
};

class Intents {
 public:
  explicit Intents(const bitmap::Geometry& geometry)
      : geometry_{geometry}, slots_(geometry.hot_extents), by_extent_(geometry.extent_count(), kNoSlot) {}

  [[nodiscard]] SlotIndex find(ExtentIndex e) const { return by_extent_[e.value()]; }
  [[nodiscard]] IntentSlot& slot(SlotIndex s) { return slots_[s]; }
  [[nodiscard]] std::span<IntentSlot> slots() { return slots_; }
  [[nodiscard]] std::span<const IntentSlot> slots() const { return slots_; }
  [[nodiscard]] std::uint32_t used_count() const { return used_; }

  // Pins the extent's slot, taking a free one if it has none; kNoSlot: none free (drop some first).
  SlotIndex pin(ExtentIndex e, Instant now) {
    SlotIndex s = by_extent_[e.value()];
    if (s == kNoSlot) {
      s = free_slot();
      if (s == kNoSlot) return kNoSlot;
      slots_[s] = IntentSlot{};
      slots_[s].extent = e;
      slots_[s].used = true;
      slots_[s].since = now;
      by_extent_[e.value()] = s;
      ++used_;
      ++unlisted_;
      changed_ = true;
    }
    ++slots_[s].pins;
    return s;
  }
  void unpin(SlotIndex s) {
    TB_ASSERT(slots_[s].used && slots_[s].pins > 0);
    --slots_[s].pins;
  }
  // Forgets a slot; the durable record may go on naming it, which is harmless.
  // REQUIRES: no pins, and the caller knows that all of it is stable everywhere or in durable bits.
  void drop(SlotIndex s) {
    TB_ASSERT(slots_[s].used && slots_[s].pins == 0);
    by_extent_[slots_[s].extent.value()] = kNoSlot;
    slots_[s].used = false;
    if (!slots_[s].listed) --unlisted_;
    --used_;
    changed_ = true;
  }
  void touch(SlotIndex s, const ByteRange& range) {
    const std::uint64_t base = std::uint64_t{slots_[s].extent.value()} * geometry_.regions_per_extent();
    const std::uint64_t first = geometry_.region_of(range.offset).value() - base;
    const std::uint64_t last = (range.end().value() - 1) / geometry_.region_size - base;
    for (std::uint64_t r = first; r <= last; ++r) slots_[s].touched[r / 64] |= std::uint64_t{1} << (r % 64);
  }

  // The durable record differs from memory.
  [[nodiscard]] bool changed() const { return changed_; }
  // Collects the whole set for a new record.
  std::size_t begin_record(std::span<ExtentIndex> out) {
    std::size_t n = 0;
    for (IntentSlot& s : slots_) {
      s.in_record = s.used;
      if (s.used) out[n++] = s.extent;
    }
    changed_ = false;
    return n;
  }
  void end_record(bool durable) {
    for (IntentSlot& s : slots_) {
      if (durable && s.used && s.in_record && !s.listed) {
        s.listed = true;
        --unlisted_;
      }
      s.in_record = false;
    }
    if (!durable) changed_ = true;
  }
  [[nodiscard]] bool waiting_for_record() const { return unlisted_ > 0; }

 private:
  SlotIndex free_slot() {
    if (used_ == slots_.size()) return kNoSlot;
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      hint_ = (hint_ + 1) % slots_.size();
      if (!slots_[hint_].used) return static_cast<SlotIndex>(hint_);
    }
    return kNoSlot;
  }

  bitmap::Geometry geometry_;
  std::vector<IntentSlot> slots_;
  std::vector<SlotIndex> by_extent_;
  std::size_t hint_ = 0;
  std::uint32_t used_ = 0;
  std::uint32_t unlisted_ = 0;  // used, not yet in a durable record
  bool changed_ = false;
};

}  // namespace twinblock::core
