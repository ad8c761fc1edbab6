// One connection at a time between the two nodes, as TCP gives it: messages in order, or the connection ends.
//
// Rules: each direction delivers in order with random delay. A stalled direction keeps messages until the
// stall ends or the link dies; the sender does not notice. Each side learns of the end on its own; after its
// LinkDown nothing of the link reaches it. A new connection is made only when both sides have seen the end
// of the old one (or died). Every header and body goes through the real codec.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "replicator/core/io.hpp"
#include "tests/sim/buffers.hpp"

namespace twinblock::sim {

struct Message {
  std::array<std::byte, wire::kHeaderSize> header{};
  std::vector<std::byte> body;
  core::BufferId payload = 0;  // of the sender, referenced
  std::int64_t due = 0;
  std::uint32_t client_version = 0;  // of the client write that it carries; 0: none
};

class Network {
 public:
  struct Side {
    bool up = false;       // LinkUp delivered, LinkDown not yet
    bool coming = false;   // LinkUp is due
    bool closing = false;  // it asked for the end, or the end is due
  };
  struct Direction {                   // [n]: from node n to the other
    std::vector<std::uint32_t> queue;  // of message indices, in order
    std::size_t head = 0;
    bool scheduled = false;
    bool stalled = false;
    bool large_stall = false;  // stalls at the next message with payload
    std::int64_t last_due = 0;
    [[nodiscard]] bool empty() const { return head == queue.size(); }
  };

  explicit Network(Buffers& buffers) : buffers_{buffers} {}

  core::LinkId id = 0;  // of the current or last connection
  std::array<Side, 2> sides;
  std::array<Direction, 2> directions;
  std::uint32_t messages_on_link = 0;  // sent since it came up, both directions

  [[nodiscard]] bool idle() const {
    return !sides[0].up && !sides[1].up && !sides[0].coming && !sides[1].coming;
  }
  std::uint32_t allocate();
  [[nodiscard]] Message& message(std::uint32_t index) { return messages_[index]; }
  void release(std::uint32_t index);
  void clear(int from);  // forgets what is under way from this node

 private:
  Buffers& buffers_;
  std::vector<Message> messages_;
  std::vector<std::uint32_t> free_;
};

}  // namespace twinblock::sim
