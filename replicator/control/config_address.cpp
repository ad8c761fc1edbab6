// Addresses, digests and texts of the configuration: the parts that do not know TOML.
#include <arpa/inet.h>
#include <algorithm>
#include <array>
#include <charconv>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "replicator/control/config.hpp"

namespace twinblock::control {

namespace {

// sockaddr_un::sun_path holds 108 bytes with its terminator.
constexpr std::size_t kUnixPathMax = 107;

bool valid_host(std::string_view host, bool bracketed) {
  if (host.empty() || host.size() > 253) return false;
  if (bracketed) {
    std::array<unsigned char, 16> address{};
    return inet_pton(AF_INET6, std::string{host}.c_str(), address.data()) == 1;
  }
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto host_character = [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || digit(c) || c == '-' || c == '.';
  };
  if (!std::all_of(host.begin(), host.end(), host_character)) return false;
  // Only digits and dots: meant as an address, so it must be one.
  std::array<unsigned char, 4> address{};
  const bool numeric = std::all_of(host.begin(), host.end(), [&](char c) { return digit(c) || c == '.'; });
  return !numeric || inet_pton(AF_INET, std::string{host}.c_str(), address.data()) == 1;
}

void hash_text(XXH3_state_t& state, const std::string& text) {
  const std::uint64_t length = text.size();
  std::array<unsigned char, 8> prefix{};
  for (std::size_t i = 0; i < prefix.size(); ++i) prefix[i] = static_cast<unsigned char>(length >> (8 * i));
  XXH3_64bits_update(&state, prefix.data(), prefix.size());
  XXH3_64bits_update(&state, text.data(), text.size());
}

}  // namespace

bool TcpAddress::loopback() const {
  std::array<unsigned char, 16> bytes{};
  if (inet_pton(AF_INET, host.c_str(), bytes.data()) == 1) return bytes[0] == 127;
  return host == "localhost" || host == "::1";
}

std::string TcpAddress::text() const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::string NbdAddress::text() const {
  return unix_path.empty() ? "tcp:" + tcp.text() : "unix:" + unix_path;
}

std::optional<TcpAddress> parse_tcp_address(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const std::string_view port_text = text.substr(colon + 1);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  std::uint16_t port{};
  const char* const end = port_text.data() + port_text.size();
  const auto parsed = std::from_chars(port_text.data(), end, port);
  if (port_text.empty() || parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
  if (!valid_host(host, bracketed)) return std::nullopt;
  return TcpAddress{std::string{host}, port};
}

std::optional<NbdAddress> parse_nbd_address(std::string_view text) {
  NbdAddress address;
  if (text.starts_with("unix:")) {
    address.unix_path = text.substr(5);
    const bool usable = address.unix_path.starts_with('/') && address.unix_path.size() <= kUnixPathMax &&
                        address.unix_path.find('\0') == std::string::npos;
    if (!usable) return std::nullopt;
    return address;
  }
  if (!text.starts_with("tcp:")) return std::nullopt;
  const auto tcp = parse_tcp_address(text.substr(4));
  if (!tcp) return std::nullopt;
  address.tcp = *tcp;
  return address;
}

std::string Diagnostic::text() const {
  std::string out = file;
  if (line > 0) out += ":" + std::to_string(line);
  if (!key.empty()) out += (out.empty() ? "" : ": ") + key;
  out += (out.empty() ? "" : ": ") + problem;
  if (!allowed.empty()) out += "; allowed: " + allowed;
  if (!hint.empty()) out += "; did you mean \"" + hint + "\"?";
  return out;
}

std::uint64_t config_digest(const std::vector<ConfigField>& fields) {
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  for (const auto& field : fields) {
    hash_text(state, field.field);
    hash_text(state, field.value);
  }
  return XXH3_64bits_digest(&state);
}

std::vector<std::string> config_differences(const std::vector<ConfigField>& here,
                                            const std::vector<ConfigField>& there) {
  const auto value_in = [](const std::vector<ConfigField>& fields, const std::string& name) {
    const auto found =
        std::find_if(fields.begin(), fields.end(), [&](const auto& f) { return f.field == name; });
    return found == fields.end() ? std::string{"nothing"} : '"' + found->value + '"';
  };
  // A node's key that has no value of its own follows the mirror's: the file has that difference once.
  const auto follows = [&](const std::string& name, const std::string& mine, const std::string& other) {
    const std::size_t dot = name.find("].");
    if (dot == std::string::npos) return false;
    const std::string of_mirror = name.substr(dot + 2);
    return of_mirror != "name" && value_in(here, of_mirror) == mine && value_in(there, of_mirror) == other;
  };
  std::vector<std::string> differences;
  for (const auto& field : here) {
    const std::string other = value_in(there, field.field);
    const std::string mine = '"' + field.value + '"';
    if (mine == other || follows(field.field, mine, other)) continue;
    differences.push_back(field.field + ": here " + mine + ", there " + other);
  }
  for (const auto& field : there) {
    if (value_in(here, field.field) != "nothing") continue;
    differences.push_back(field.field + ": here nothing, there \"" + field.value + '"');
  }
  return differences;
}

}  // namespace twinblock::control
