// Where a listener listens and a connector dials: `unix:PATH`, `tcp:HOST:PORT`, `HOST:PORT`, `[V6]:PORT`.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace twinblock::ring {

struct Address {
  enum class Kind : std::uint8_t { kUnix, kTcp };
  Kind kind = Kind::kTcp;
  std::string host;        // kTcp; empty: any (listening)
  std::string path;        // kUnix
  std::uint16_t port = 0;  // kTcp; 0 when listening: the kernel's choice

  // In the form that parse_address reads.
  [[nodiscard]] std::string text() const;
  [[nodiscard]] bool is_loopback() const;  // kUnix, 127.0.0.0/8, ::1, localhost
  friend bool operator==(const Address&, const Address&) = default;
};

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  [[nodiscard]] const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
  [[nodiscard]] sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
};

// errc::kBadAddress, errc::kAddressTooLong.
[[nodiscard]] Result<Address> parse_address(std::string_view text);
// All addresses of the host, in the resolver's order; blocks where the host is a name. errc::kCannotResolve.
[[nodiscard]] Result<std::vector<SocketAddress>> resolve(const Address& address);
// Of a bound or connected socket.
[[nodiscard]] Result<Address> to_address(const SocketAddress& address);
[[nodiscard]] Result<Address> local_address(int fd);
[[nodiscard]] Result<Address> peer_address(int fd);

}  // namespace twinblock::ring
