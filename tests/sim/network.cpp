#include "tests/sim/network.hpp"

namespace twinblock::sim {

std::uint32_t Network::allocate() {
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(messages_.size()));
    messages_.emplace_back();
  }
  const std::uint32_t index = free_.back();
  free_.pop_back();
  return index;
}

void Network::release(std::uint32_t index) {
  Message& m = messages_[index];
  if (m.payload != 0) buffers_.unreference(m.payload);
  m.payload = 0;
  m.client_version = 0;
  m.body.clear();
  free_.push_back(index);
}

void Network::clear(int from) {
  Direction& d = directions[static_cast<std::size_t>(from)];
  for (std::size_t i = d.head; i < d.queue.size(); ++i) release(d.queue[i]);
  d = Direction{.queue = std::move(d.queue)};
  d.queue.clear();
}

}  // namespace twinblock::sim
