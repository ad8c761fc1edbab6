#include "replicator/engine/export.hpp"

#include "base/assert.hpp"

namespace twinblock::engine {

PieceTable::PieceTable(std::uint32_t count) : slots_(count) {
  TB_ASSERT(count < (1u << kIndexBits));
  free_.reserve(count);
  for (std::uint32_t i = count; i > 0; --i) free_.push_back(i - 1);
}

std::optional<PieceId> PieceTable::take(const Owner& owner) {
  if (free_.empty()) return std::nullopt;
  const std::uint32_t index = free_.back();
  free_.pop_back();
  Slot& slot = slots_[index];
  slot.owner = owner;
  slot.used = true;
  ++taken_;
  return slot.generation << kIndexBits | index;
}

PieceTable::Owner PieceTable::finish(PieceId id) {
  TB_ASSERT(is_taken(id));
  const std::uint32_t index = id & ((1u << kIndexBits) - 1);
  Slot& slot = slots_[index];
  slot.used = false;
  slot.generation = (slot.generation + 1) & ((1u << (32 - kIndexBits)) - 1);
  free_.push_back(index);
  --taken_;
  return slot.owner;
}

bool PieceTable::is_taken(PieceId id) const {
  const std::uint32_t index = id & ((1u << kIndexBits) - 1);
  return index < slots_.size() && slots_[index].used && slots_[index].generation == id >> kIndexBits;
}

}  // namespace twinblock::engine
