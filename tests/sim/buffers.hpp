// Payload buffers with reference checks. Contents are one 64-bit tag per 512-byte sector.
//
// Rules: the core may name a buffer only while it owns it (from the input that brought it until
// ReleaseBuffer or Reply). Naming it later, releasing it twice and keeping it at quiescence are failures.
// The simulated engine holds references of its own, so contents outlive the core's ownership.
#pragma once

#include <cstdint>
#include <vector>

#include "replicator/core/types.hpp"

namespace twinblock::sim {

using Tag = std::uint64_t;  // version << 32 | sector; 0: zeroes

class Buffers {
 public:
  struct Buffer {
    std::vector<Tag> tags;
    std::uint32_t serial = 0;      // part of the id, so that stale ids are noticed
    std::uint32_t references = 0;  // of the engine
    std::int8_t owner = -1;        // node whose core owns it
    bool used = false;
    bool resync = false;  // came in a resync message
  };

  // A buffer without references and owner; its caller adds one of them.
  core::BufferId allocate(std::uint32_t sectors);
  // REQUIRES: referenced by the engine or owned by a core.
  [[nodiscard]] Buffer& get(core::BufferId id);
  void give_to_core(core::BufferId id, int node);
  // The core names it in an output: fails unless it owns it.
  void require_owned(core::BufferId id, int node, const char* what);
  void take_from_core(core::BufferId id, int node, const char* what);
  void reference(core::BufferId id) { ++get(id).references; }
  void unreference(core::BufferId id);
  void drop_core(int node);
  [[nodiscard]] std::uint32_t owned_count(int node) const;

 private:
  static constexpr std::uint32_t kIndexBits = 12;
  void free_if_unused(std::uint32_t index);
  std::vector<Buffer> buffers_;
  std::vector<std::uint32_t> free_;
};

}  // namespace twinblock::sim
