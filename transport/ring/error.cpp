#include "transport/ring/error.hpp"

#include <string>

namespace twinblock::ring {
namespace {

const char* text_of(errc e) noexcept {
  switch (e) {
    case errc::kRingForbidden:
      return "io_uring is forbidden here (EPERM): set sysctl kernel.io_uring_disabled=0, or allow "
             "io_uring_setup, "
             "io_uring_enter and io_uring_register in the container's seccomp profile";
    case errc::kRingNotSupported:
      return "io_uring is not available (ENOSYS): the kernel lacks CONFIG_IO_URING, or a seccomp profile "
             "hides it; "
             "use Linux 5.15 or newer, or allow the io_uring system calls";
    case errc::kRingLockedMemory:
      return "io_uring could not lock memory (ENOMEM): raise the limit with LimitMEMLOCK=infinity in the "
             "unit or "
             "ulimit -l unlimited";
    case errc::kRingTooOld:
      return "io_uring of this kernel lacks an operation that is needed: use Linux 5.15 or newer";
    case errc::kDiskInUse:
      return "the disk is in use: mounted, held by another process, or by one that is still finishing its "
             "last I/O";
    case errc::kNotADisk:
      return "neither a block device nor a regular file";
    case errc::kEmptyDisk:
      return "the disk is smaller than one logical block";
    case errc::kBadAddress:
      return "not an address: use unix:PATH, tcp:HOST:PORT, HOST:PORT or [V6]:PORT";
    case errc::kAddressTooLong:
      return "the path of a unix socket has at most 107 bytes";
    case errc::kAddressInUse:
      return "the address is in use: another process answers there";
    case errc::kNotASocket:
      return "the path exists and is not a socket: it was left alone";
    case errc::kCannotResolve:
      return "the host name has no address";
    case errc::kTimedOut:
      return "the connection attempt timed out";
    case errc::kEndOfStream:
      return "the peer closed the connection";
    case errc::kTruncated:
      return "the peer closed the connection inside a message";
    case errc::kStashOverflow:
      return "the peer sent a header that is longer than the receive buffer";
    case errc::kClosed:
      return "closed by this side";
    case errc::kBadFaults:
      return "TWINBLOCKD_FAULTS is set and cannot be understood: unset it (it is for tests only)";
  }
  return "unknown error of the ring";
}

// A category lives for ever and is never deleted through its base.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"
class RingCategory final : public boost::system::error_category {
 public:
  const char* name() const noexcept override { return "twinblock.ring"; }
  std::string message(int value) const override { return text_of(static_cast<errc>(value)); }
};
#pragma GCC diagnostic pop

}  // namespace

const boost::system::error_category& ring_category() noexcept {
  static const RingCategory category;
  return category;
}

ErrorCode make_error_code(errc e) noexcept {
  return {static_cast<int>(e), ring_category()};
}

}  // namespace twinblock::ring
