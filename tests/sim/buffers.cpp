#include "tests/sim/buffers.hpp"

#include "base/assert.hpp"
#include "tests/sim/failure.hpp"

namespace twinblock::sim {

core::BufferId Buffers::allocate(std::uint32_t sectors) {
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(buffers_.size()));
    buffers_.emplace_back();
    TB_ASSERT(buffers_.size() < (1u << kIndexBits));
  }
  const std::uint32_t index = free_.back();
  free_.pop_back();
  Buffer& b = buffers_[index];
  b.serial = (b.serial + 1) & ((1u << (32 - kIndexBits)) - 1);
  if (b.serial == 0) b.serial = 1;
  b.used = true;
  b.resync = false;
  b.tags.assign(sectors, 0);
  return b.serial << kIndexBits | index;
}

Buffers::Buffer& Buffers::get(core::BufferId id) {
  const std::uint32_t index = id & ((1u << kIndexBits) - 1);
  if (index >= buffers_.size() || !buffers_[index].used || buffers_[index].serial != id >> kIndexBits) {
    fail("buffers", "use of a buffer that does not exist (any more): " + std::to_string(id));
  }
  return buffers_[index];
}

void Buffers::give_to_core(core::BufferId id, int node) {
  get(id).owner = static_cast<std::int8_t>(node);
}

void Buffers::require_owned(core::BufferId id, int node, const char* what) {
  if (get(id).owner != node) fail("buffers", std::string{what} + " names a buffer that the core gave back");
}

void Buffers::take_from_core(core::BufferId id, int node, const char* what) {
  require_owned(id, node, what);
  get(id).owner = -1;
  free_if_unused(id & ((1u << kIndexBits) - 1));
}

void Buffers::unreference(core::BufferId id) {
  Buffer& b = get(id);
  TB_ASSERT(b.references > 0);
  --b.references;
  free_if_unused(id & ((1u << kIndexBits) - 1));
}

void Buffers::drop_core(int node) {
  for (std::uint32_t i = 0; i < buffers_.size(); ++i) {
    if (!buffers_[i].used || buffers_[i].owner != node) continue;
    buffers_[i].owner = -1;
    free_if_unused(i);
  }
}

std::uint32_t Buffers::owned_count(int node) const {
  std::uint32_t n = 0;
  for (const Buffer& b : buffers_) n += b.used && b.owner == node ? 1 : 0;
  return n;
}

void Buffers::free_if_unused(std::uint32_t index) {
  Buffer& b = buffers_[index];
  if (b.owner >= 0 || b.references > 0) return;
  b.used = false;
  free_.push_back(index);
}

}  // namespace twinblock::sim
