// One operation of a mirror: a client's request, a piece of a resync, a write of the follower. All live in
// one table (Mirror::Impl::ops_), of a size that is known at the start.
#pragma once

#include <cstdint>

#include "replicator/core/intents.hpp"
#include "replicator/core/io.hpp"

namespace twinblock::core {

enum class OpKind : std::uint8_t { none, read, write, zero, repair, resync, clear_bits, apply, peer_read };

struct Op {
  OpKind kind = OpKind::none;
  bool fua = false;
  bool zero = false;    // apply: zero instead of write
  bool resync = false;  // apply: from a resync
  bool may_unmap = false;
  bool locked = false;
  bool started = false;
  bool cancelled = false;
  bool local_pending = false;
  bool local_ok = false;
  bool peer_expected = false;  // the peer was in the ack set when this started
  bool sent = false;
  bool received = false;  // peer says so
  bool applied = false;
  bool peer_lost = false;
  bool replied = false;
  bool orphan = false;
  bool internal = false;         // no client waits for it
  SlotIndex slot = kNoSlot;      // pinned intent
  std::uint32_t generation = 0;  // of this table entry
  RequestId request = 0;
  BufferId buffer = 0;
  std::uint32_t handle = 0;  // peer_read: to answer with
  std::uint64_t sequence = 0;
  ByteRange range;
};

}  // namespace twinblock::core
