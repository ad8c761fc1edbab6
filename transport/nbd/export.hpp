// What a server offers: exports as the handshake sees them, and the bounds it puts on clients.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/units.hpp"

namespace twinblock::nbd {

struct ExportFeatures {
  bool read_only = false;
  bool flush = true;
  bool fua = true;
  bool trim = true;
  bool write_zeroes = true;
  bool fast_zero = true;  // zeroing may be refused as slow; without it FAST_ZERO is EINVAL
  bool cache = true;
  // A promise: a flush on one connection covers what was answered on all.
  bool multi_conn = true;
  bool rotational = false;
};

// Invariant: size is a multiple of block_size_min; block sizes are powers of two, 1 <= min <= preferred.
struct ExportInfo {
  std::string name;         // at most kStringSizeMax bytes
  std::string description;  // longer text is cut at kStringSizeMax
  ByteCount size;
  ByteCount block_size_min{512};
  ByteCount block_size_preferred{4096};
  ExportFeatures features;
  // Empty: open. Otherwise why it is not served here, and where to go instead, for a human.
  std::string refusal;

  [[nodiscard]] bool open() const noexcept { return refusal.empty(); }
};

// The server's exports, asked during the handshake only. Answers are copies, so that what a session
// negotiated does not change under it.
class ExportCatalog {
 public:
  virtual ~ExportCatalog() = default;
  [[nodiscard]] virtual std::size_t count() const = 0;
  // REQUIRES: index < count().
  [[nodiscard]] virtual ExportInfo at(std::size_t index) const = 0;
  // The empty name asks for the default export. Nothing: no such export.
  [[nodiscard]] virtual std::optional<ExportInfo> find(std::string_view name) const = 0;
};

// How STARTTLS is declined: as unknown to this server, or as known but not allowed here.
enum class StartTlsAnswer : std::uint8_t { kUnsupported, kPolicy };

struct Limits {
  std::uint32_t options_max = 32;               // per connection, then it is dropped
  std::uint32_t option_length_max = 16u << 10;  // longer ones are skipped and answered TOO_BIG
  std::uint32_t option_skip_max = 1u << 20;     // longer ones drop the connection
  std::uint32_t payload_max = 32u << 20;        // bytes in a READ reply or a WRITE request
  std::uint32_t in_flight_max = 128;            // requests without an answer
  std::size_t stash_size = 64u << 10;           // receive buffer; holds at least one whole option
  StartTlsAnswer start_tls = StartTlsAnswer::kUnsupported;
};

}  // namespace twinblock::nbd
