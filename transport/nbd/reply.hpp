// Replies of the transmission phase, written into a caller's small buffer: the caller sends that header and
// its own payload with one gather. Pure functions, no allocation.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "transport/nbd/request.hpp"

namespace twinblock::nbd {

inline constexpr std::size_t kErrorTextMax = 256;
// Any reply without payload, and any reply header, fits into this.
inline constexpr std::size_t kReplySizeMax = kExtendedReplySize + 6 + kErrorTextMax;

// The whole reply to a request, in the form that was negotiated. Returns the bytes written to `out`.
//   READ with kOk: the header alone; exactly request.length bytes of payload must follow.
//   Anything else: complete. An error carries `text` (cut at kErrorTextMax; default_text if empty), except in
//   a simple reply, which has no room for it.
// REQUIRES: out.size() >= kReplySizeMax; not BLOCK_STATUS with kOk (encode_block_status answers that).
// A READ must not be answered kOk before all of its payload is known to be good: neither a simple reply nor
// a chunk with DONE can be taken back.
[[nodiscard]] std::size_t encode_reply(const Request& request, Status status, std::string_view text,
                                       std::span<std::byte> out);

struct ReadChunk {
  ByteRange range;    // within the request
  bool done = false;  // nothing follows for this request
};
// A part of a READ: `range.length` payload bytes must follow the header. Parts may come in any order; an
// error reply (encode_reply) may still end the request after parts without `done`. REQUIRES: request.form is
// not kSimple; with DF the one chunk is the whole request.
[[nodiscard]] std::size_t encode_data_chunk(const Request& request, const ReadChunk& chunk,
                                            std::span<std::byte> out);
// A part of a READ that is all zeroes; no payload. REQUIRES: as above, length < 4 GiB.
[[nodiscard]] std::size_t encode_hole_chunk(const Request& request, const ReadChunk& chunk,
                                            std::span<std::byte> out);

// The header of one chunk, structured or extended. `payload` counts the bytes after the header.
struct ChunkHeader {
  ChunkType type{};
  bool done = false;
  std::uint64_t payload = 0;
};
[[nodiscard]] constexpr std::size_t chunk_header_size(ReplyForm form) noexcept {
  return form == ReplyForm::kExtended ? kExtendedReplySize : kStructuredReplySize;
}
// REQUIRES: request.form is not kSimple; out.size() >= chunk_header_size(form).
std::size_t encode_chunk_header(const Request& request, const ChunkHeader& header, std::span<std::byte> out);

}  // namespace twinblock::nbd
