// The configuration file: what an administrator wrote, checked and typed. Everything that can be known to be
// wrong without touching a disk or a peer is reported here, all at once, with the line, the key and what
// would have been right. Nothing in it is applied; the daemon does that.
//
// A [[mirror]] table is the same on all nodes. What must be (mirror_wide_fields) is exchanged when two nodes
// connect, and a difference names the field; addresses of local things (disk, metadata, nbd) may differ.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/units.hpp"
#include "replicator/control/protocol.hpp"

namespace twinblock::control {

inline constexpr const char* kDefaultConfigPath = "/etc/twinblock/twinblock.toml";
inline constexpr const char* kDefaultControlSocket = "/run/twinblock/control.sock";
inline constexpr std::uint64_t kConfigFileBytesMax = 1u << 20;

enum class WriteAlone : std::uint8_t { kFree, kFenced, kQuorum, kNever };
enum class AfterRestart : std::uint8_t { kResume, kTarget };
enum class AsyncPromote : std::uint8_t { kAsk, kAllow };
enum class QueuePolicy : std::uint8_t { kTrack, kBlock };

// host is an address literal without brackets, or a name; port 0 only where said.
struct TcpAddress {
  std::string host;
  std::uint16_t port{};
  [[nodiscard]] bool loopback() const;  // 127/8, ::1 or "localhost": never leaves the machine
  [[nodiscard]] std::string text() const;
  friend bool operator==(const TcpAddress&, const TcpAddress&) = default;
};

// "unix:/path" or "tcp:HOST:PORT" (port 0: any free one, the daemon prints it).
struct NbdAddress {
  std::string unix_path;  // empty: tcp
  TcpAddress tcp;
  [[nodiscard]] std::string text() const;
  friend bool operator==(const NbdAddress&, const NbdAddress&) = default;
};

struct NodeConfig {
  std::string name;
  std::string disk;
  std::string metadata;                 // default: STATE_DIR/MIRROR.meta
  std::vector<TcpAddress> replication;  // the dedicated path first, then fallbacks
  std::optional<Mode> mode;             // for writes towards this node; none: the mirror's
  std::optional<NbdAddress> nbd;        // none: the mirror's
  int line{};
};

struct MirrorConfig {
  std::string name;
  Mode mode{Mode::kSync};
  NbdAddress nbd;
  ByteCount region_size{64u << 10};
  std::uint32_t hot_extents{256};
  std::uint32_t logical_block_size{};  // 0: the largest of the replicas' disks, agreed at creation
  ByteCount queue_bytes_max{256u << 20};
  Duration queue_age_max{Duration::seconds(30)};
  QueuePolicy queue_policy{QueuePolicy::kTrack};
  WriteAlone write_alone{WriteAlone::kFree};
  AfterRestart after_restart{AfterRestart::kResume};
  bool hold_resync{};
  AsyncPromote async_promote{AsyncPromote::kAsk};
  ByteCount resync_rate_bytes_per_s_min{10u << 20};
  ByteCount resync_rate_bytes_per_s_max{};  // 0: no ceiling
  Duration peer_timeout{Duration::seconds(5)};
  Duration disk_timeout{Duration::seconds(30)};
  bool insecure{};
  std::vector<NodeConfig> nodes;  // exactly two, in file order: the order is the node index (0, 1)
  std::size_t local{};            // nodes[local] is this machine
  int line{};

  [[nodiscard]] const NodeConfig& local_node() const { return nodes[local]; }
  [[nodiscard]] const NodeConfig& peer_node() const { return nodes[1 - local]; }
  [[nodiscard]] Mode mode_towards(const NodeConfig& node) const { return node.mode.value_or(mode); }
  [[nodiscard]] const NbdAddress& local_nbd() const { return local_node().nbd ? *local_node().nbd : nbd; }
};

struct Config {
  std::string node_name;
  std::string state_dir{"/var/lib/twinblock"};
  std::string control{kDefaultControlSocket};
  std::optional<TcpAddress> http;  // the read-only API and /metrics; none: not served
  bool realtime = false;           // the data thread runs under SCHED_FIFO (engine/process.hpp)
  std::vector<MirrorConfig> mirrors;
};

// One problem. `text()` is "FILE:LINE: KEY: PROBLEM; allowed: ALLOWED; did you mean \"HINT\"?".
struct Diagnostic {
  std::string file;
  int line{};       // 0: the file as a whole
  std::string key;  // "mirror.write_alone"; empty for syntax errors
  std::string problem;
  std::string allowed;
  std::string hint;
  [[nodiscard]] std::string text() const;
};

// `config` is set exactly if `problems` is empty.
struct ConfigCheck {
  std::optional<Config> config;
  std::vector<Diagnostic> problems;
};

// Reads and checks a file; the file being unreadable is a Diagnostic too. `host_name` is the default of
// node.name, the machine's own name if empty.
[[nodiscard]] ConfigCheck check_config(const std::string& path, const std::string& host_name = {});
[[nodiscard]] ConfigCheck parse_config(std::string_view text, const std::string& file,
                                       const std::string& host_name = {});

// Only [node].control of the file, for a CLI that must find its daemon although a mirror table is wrong.
// kDefaultControlSocket if the key or the file is absent; none if the file cannot be understood.
[[nodiscard]] std::optional<std::string> control_socket_of(const std::string& path);

using Settings = std::vector<std::pair<std::string, std::string>>;  // key, value
// `twinblock set KEY=VALUE ...`: changes online-changeable policies of a running mirror by the same rules as
// the file; what contradicts each other is judged when all are set. Returns the problem (file empty, line 0),
// or none if they were applied. `mirror` is unchanged on error.
[[nodiscard]] std::optional<Diagnostic> apply_settings(MirrorConfig& mirror, const Settings& settings);
// The keys that apply_settings() takes.
[[nodiscard]] std::vector<std::string_view> settable_keys();

struct ConfigField {
  std::string field;
  std::string value;  // canonical text
  friend bool operator==(const ConfigField&, const ConfigField&) = default;
};
// What must be equal on all nodes, in a fixed order. Computed from the file's values: what `set` changed on
// one node must not refuse a connection.
[[nodiscard]] std::vector<ConfigField> mirror_wide_fields(const MirrorConfig& mirror);
// XXH3-64 over the fields: equal configurations of equal versions have equal digests.
[[nodiscard]] std::uint64_t config_digest(const std::vector<ConfigField>& fields);
// One sentence per difference: `mode: here "sync", there "async"`; empty if equal.
[[nodiscard]] std::vector<std::string> config_differences(const std::vector<ConfigField>& here,
                                                          const std::vector<ConfigField>& there);

[[nodiscard]] std::string_view to_string(WriteAlone value);
[[nodiscard]] std::string_view to_string(AfterRestart value);
[[nodiscard]] std::string_view to_string(AsyncPromote value);
[[nodiscard]] std::string_view to_string(QueuePolicy value);

// "HOST:PORT" or "[IPV6]:PORT"; none if malformed. Port 0 is accepted here.
[[nodiscard]] std::optional<TcpAddress> parse_tcp_address(std::string_view text);
[[nodiscard]] std::optional<NbdAddress> parse_nbd_address(std::string_view text);

}  // namespace twinblock::control
