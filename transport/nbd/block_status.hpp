// Replies to BLOCK_STATUS: one chunk per selected metadata context.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "transport/nbd/request.hpp"

namespace twinblock::nbd {

struct StatusExtent {
  ByteCount length;
  std::uint64_t flags = 0;  // kAllocation* or kDirtyBit
  friend bool operator==(const StatusExtent&, const StatusExtent&) = default;
};

struct BlockStatus {
  MetaContext context{};
  // Consecutive, from request.offset on. May stop short of the request (the client asks again) or reach
  // beyond it (cut off). Empty extents are skipped.
  std::span<const StatusExtent> extents;
  bool done = false;  // the last context of this request
};

// Most extents in one reply, whatever the buffer: the protocol's bound against amplification.
inline constexpr std::size_t kStatusExtentCountMax = 1u << 20;

// A buffer of this size holds a reply with `extent_count` extents in any form.
[[nodiscard]] constexpr std::size_t block_status_size(std::size_t extent_count) noexcept {
  return kExtendedReplySize + 8 + 16 * extent_count;
}

// Writes the chunk: neighbours with equal flags merged, cut at the end of the request, one extent with
// REQ_ONE, as many as `out` holds otherwise. Returns the bytes written.
// REQUIRES: a BLOCK_STATUS request, not in simple form; at least one extent with a length; out.size() >=
// block_status_size(1).
[[nodiscard]] std::size_t encode_block_status(const Request& request, const BlockStatus& status,
                                              std::span<std::byte> out);

}  // namespace twinblock::nbd
