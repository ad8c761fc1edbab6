#include "transport/ring/address.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>

#include "transport/ring/error.hpp"

namespace twinblock::ring {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";
constexpr std::string_view kTcpPrefix = "tcp:";

Result<Address> parse_unix(std::string_view path) {
  if (path.empty() || path.find('\0') != std::string_view::npos) return ErrorCode{errc::kBadAddress};
  if (path.size() >= sizeof(sockaddr_un::sun_path)) return ErrorCode{errc::kAddressTooLong};
  return Address{.kind = Address::Kind::kUnix, .host = {}, .path = std::string{path}, .port = 0};
}

Result<SocketAddress> unix_address(const std::string& path) {
  SocketAddress result;
  sockaddr_un un{};
  un.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof un.sun_path) return ErrorCode{errc::kAddressTooLong};
  std::memcpy(un.sun_path, path.data(), path.size());
  result.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  std::memcpy(&result.storage, &un, sizeof un);
  return result;
}

template <int (*Function)(int, sockaddr*, socklen_t*)>
Result<Address> address_of(int fd) {
  SocketAddress address;
  address.length = sizeof address.storage;
  if (Function(fd, address.get(), &address.length) != 0) return system_error(errno);
  return to_address(address);
}

}  // namespace

std::string Address::text() const {
  if (kind == Kind::kUnix) return std::string{kUnixPrefix} + path;
  const bool v6 = host.find(':') != std::string::npos;
  return std::string{kTcpPrefix} + (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

bool Address::is_loopback() const {
  return kind == Kind::kUnix || host == "localhost" || host == "::1" || host.compare(0, 4, "127.") == 0;
}

Result<Address> parse_address(std::string_view text) {
  if (text.substr(0, kUnixPrefix.size()) == kUnixPrefix) return parse_unix(text.substr(kUnixPrefix.size()));
  if (text.substr(0, kTcpPrefix.size()) == kTcpPrefix) text.remove_prefix(kTcpPrefix.size());
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return ErrorCode{errc::kBadAddress};
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  if (!host.empty() && host.front() == '[') {
    if (host.size() < 3 || host.back() != ']') return ErrorCode{errc::kBadAddress};
    host = host.substr(1, host.size() - 2);
    in6_addr unused{};
    const std::string bare{host.substr(0, host.find('%'))};  // fe80::1%eth0
    if (inet_pton(AF_INET6, bare.c_str(), &unused) != 1) return ErrorCode{errc::kBadAddress};
  } else if (host.find_first_of(":[]/ \t") != std::string_view::npos) {
    return ErrorCode{errc::kBadAddress};
  }
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc{} || end != digits.data() + digits.size()) return ErrorCode{errc::kBadAddress};
  return Address{.kind = Address::Kind::kTcp, .host = std::string{host}, .path = {}, .port = port};
}

Result<std::vector<SocketAddress>> resolve(const Address& address) {
  std::vector<SocketAddress> all;
  if (address.kind == Address::Kind::kUnix) {
    auto one = unix_address(address.path);
    if (!one) return one.error();
    all.push_back(*one);
    return all;
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (address.host.empty() ? AI_PASSIVE : 0);
  addrinfo* list = nullptr;
  const std::string port = std::to_string(address.port);
  if (getaddrinfo(address.host.empty() ? nullptr : address.host.c_str(), port.c_str(), &hints, &list) != 0) {
    return ErrorCode{errc::kCannotResolve};
  }
  for (const addrinfo* at = list; at != nullptr; at = at->ai_next) {
    if (at->ai_family != AF_INET && at->ai_family != AF_INET6) continue;
    SocketAddress one;
    std::memcpy(&one.storage, at->ai_addr, at->ai_addrlen);
    one.length = at->ai_addrlen;
    all.push_back(one);
  }
  freeaddrinfo(list);
  if (all.empty()) return ErrorCode{errc::kCannotResolve};
  return all;
}

Result<Address> to_address(const SocketAddress& address) {
  if (address.storage.ss_family == AF_UNIX) {
    sockaddr_un un{};
    std::memcpy(&un, &address.storage, sizeof un);
    const std::size_t length = strnlen(un.sun_path, sizeof un.sun_path);
    return Address{
        .kind = Address::Kind::kUnix, .host = {}, .path = std::string{un.sun_path, length}, .port = 0};
  }
  char text[INET6_ADDRSTRLEN] = {};
  std::uint16_t port = 0;
  if (address.storage.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &address.storage, sizeof in);
    inet_ntop(AF_INET, &in.sin_addr, text, sizeof text);
    port = ntohs(in.sin_port);
  } else if (address.storage.ss_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, &address.storage, sizeof in);
    inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof text);
    port = ntohs(in.sin6_port);
  } else {
    return ErrorCode{errc::kBadAddress};
  }
  return Address{.kind = Address::Kind::kTcp, .host = text, .path = {}, .port = port};
}

Result<Address> local_address(int fd) {
  return address_of<getsockname>(fd);
}
Result<Address> peer_address(int fd) {
  return address_of<getpeername>(fd);
}

}  // namespace twinblock::ring
