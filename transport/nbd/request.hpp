// One request of the transmission phase: its header's decoding and the rules it must meet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/units.hpp"
#include "transport/nbd/export.hpp"
#include "transport/nbd/protocol.hpp"
#include "transport/nbd/status.hpp"

namespace twinblock::nbd {

// How headers look on this connection, fixed at the end of the handshake.
enum class ReplyForm : std::uint8_t {
  kSimple,      // 28-byte requests, simple replies
  kStructured,  // 28-byte requests, chunks for READ, BLOCK_STATUS and errors
  kExtended,    // 32-byte requests with 64-bit lengths, 32-byte chunks for everything
};

// `command` may hold a number that is no enumerator in a refused request. A cookie is the client's; it may
// repeat and means nothing here.
struct Request {
  Command command{};
  std::uint16_t flags = 0;
  std::uint64_t cookie = 0;
  ByteOffset offset;
  ByteCount length;
  ReplyForm form{};

  [[nodiscard]] bool has(std::uint16_t flag) const noexcept { return (flags & flag) != 0; }
  [[nodiscard]] ByteRange range() const { return {offset, length}; }
  friend bool operator==(const Request&, const Request&) = default;
};

[[nodiscard]] constexpr std::size_t request_header_size(ReplyForm form) noexcept {
  return form == ReplyForm::kExtended ? kExtendedRequestSize : kRequestSize;
}

// Metadata contexts, by the id they have on the wire.
enum class MetaContext : std::uint32_t { kAllocation = 1, kDirty = 2 };
inline constexpr std::uint32_t kMetaContextCount = 2;

// Which contexts a client selected.
class MetaContextSet {
 public:
  void insert(MetaContext c) noexcept { bits_ |= bit(c); }
  void clear() noexcept { bits_ = 0; }
  [[nodiscard]] bool contains(MetaContext c) const noexcept { return (bits_ & bit(c)) != 0; }
  [[nodiscard]] bool empty() const noexcept { return bits_ == 0; }
  friend bool operator==(MetaContextSet, MetaContextSet) = default;

 private:
  static constexpr std::uint8_t bit(MetaContext c) noexcept {
    return static_cast<std::uint8_t>(1u << static_cast<std::uint32_t>(c));
  }
  std::uint8_t bits_ = 0;
};

// Decodes a header of request_header_size(form) bytes. Fails with kBadRequestMagic only.
[[nodiscard]] Result<Request> decode_request(std::span<const std::byte> header, ReplyForm form);

// Bytes that follow the header, whether or not the request is served. Fails where framing cannot be trusted:
// kPayloadTooLong, and kWriteWithoutPayloadFlag (a client that sends data all the same would have it parsed
// as requests).
[[nodiscard]] Result<ByteCount> payload_length(const Request& request, std::uint32_t payload_max);

struct RequestRules {
  ByteCount size;
  ByteCount block_size_min;
  ExportFeatures features;
  std::uint32_t payload_max = 0;
  bool has_contexts = false;
};

struct Verdict {
  Status status = Status::kOk;
  std::string_view text;  // static storage
};

// Pure: may this request be carried out? A refused one changes nothing. Not asked for kDisconnect.
[[nodiscard]] Verdict check_request(const Request& request, const RequestRules& rules);

}  // namespace twinblock::nbd
