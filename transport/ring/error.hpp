// Errors of the rings, disks and sockets that have no errno of their own, or whose errno would not tell an
// admin what to do. Everything else is the system category's errno.
#pragma once

#include <type_traits>

#include "base/error.hpp"

namespace twinblock::ring {

enum class errc {
  kRingForbidden = 1,  // EPERM: sysctl or a seccomp profile
  kRingNotSupported,   // ENOSYS: kernel without io_uring, or another seccomp profile
  kRingLockedMemory,   // ENOMEM: RLIMIT_MEMLOCK
  kRingTooOld,         // an opcode or feature is missing
  kDiskInUse,          // another process holds it, perhaps one that is still finishing its last I/O
  kNotADisk,           // neither a block device nor a regular file
  kEmptyDisk,          // smaller than one logical block
  kBadAddress,         // not unix:PATH, tcp:HOST:PORT, HOST:PORT or [V6]:PORT
  kAddressTooLong,     // a unix socket path of more than 107 bytes
  kAddressInUse,       // somebody answers there
  kNotASocket,         // the path exists and is something else
  kCannotResolve,      // no address for the host name
  kTimedOut,           // an attempt to connect took too long
  kEndOfStream,        // the peer closed between messages
  kTruncated,          // the peer closed inside a payload
  kStashOverflow,      // a header longer than the stash
  kClosed,             // closed by its owner
  kBadFaults,          // TWINBLOCKD_FAULTS is set and makes no sense
};

[[nodiscard]] const boost::system::error_category& ring_category() noexcept;
[[nodiscard]] ErrorCode make_error_code(errc e) noexcept;

}  // namespace twinblock::ring

template <>
struct boost::system::is_error_code_enum<twinblock::ring::errc> : std::true_type {};
