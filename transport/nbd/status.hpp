// What a request came to, its NBD errno, and why a session drops its connection.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/error.hpp"

namespace twinblock::nbd {

// The outcome of a request as the engine sees it. Everything a client can be told is one of these.
enum class Status : std::uint8_t {
  kOk,
  kIo,            // the data is not (known to be) where it should be
  kInvalid,       // the request makes no sense here; nothing was changed
  kNoSpace,       // a write beyond the end
  kPermission,    // a write to a read-only export
  kNotSupported,  // FAST_ZERO that would not be fast; nothing was changed
  kOverflow,      // the answer would exceed the largest payload
  kShutdown,      // the server (or its right to serve) is going away
  kNoMemory,
};
inline constexpr std::size_t kStatusCount = 9;

// The errno on the wire: the protocol knows only EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP
// and ESHUTDOWN, with Linux' numbers on every system.
[[nodiscard]] std::uint32_t wire_error(Status status) noexcept;
// A sentence for clients when the caller has no better one.
[[nodiscard]] std::string_view default_text(Status status) noexcept;

// Why a connection is dropped without an answer: framing is lost or the client is hostile.
enum class errc : std::uint8_t {
  kUnknownClientFlags = 1,
  kBadOptionMagic,
  kTooManyOptions,
  kOptionTooLong,
  kExportRefused,  // EXPORT_NAME has no way to say no
  kExportNameAfterExtendedHeaders,
  kBadRequestMagic,
  kPayloadTooLong,
  kWriteWithoutPayloadFlag,
};
[[nodiscard]] const boost::system::error_category& nbd_category() noexcept;
[[nodiscard]] ErrorCode make_error_code(errc code) noexcept;

}  // namespace twinblock::nbd

template <>
struct boost::system::is_error_code_enum<twinblock::nbd::errc> : std::true_type {};
