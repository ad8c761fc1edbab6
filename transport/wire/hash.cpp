// The only unit that sees xxHash, inlined: the hash of a 1 MiB payload is the most expensive thing that the
// protocol does with data.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "transport/wire/messages.hpp"

namespace twinblock::wire {

std::uint64_t payload_hash(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

Result<void> check_payload(const Header& header, std::span<const std::byte> bytes) {
  if (bytes.size() != header.wire_length) return errc::bad_payload_hash;
  if (!bytes.empty() && payload_hash(bytes) != header.aux) return errc::bad_payload_hash;
  return {};
}

}  // namespace twinblock::wire
