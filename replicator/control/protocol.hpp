// The control API's vocabulary: what the daemon says about itself and what it can be told, as plain structs
// with their JSON form. A leaf: the daemon, the CLI and cluster agents speak through it and share nothing
// else. JSON is an implementation detail of protocol.cpp, so that including this costs nothing.
//
// Versioning: every top-level object carries `"version": kProtocolVersion`. Fields are only added, never
// renamed; a reader of status and events ignores what it does not know. Options of a command are strict
// instead: an option that the daemon does not know must not be ignored silently (think of a misspelt
// "confirm_dead").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"

namespace twinblock::control {

inline constexpr int kProtocolVersion = 1;
inline constexpr std::size_t kMirrorNameMax = 64;

// The words of DESIGN section 1. `to_string` gives exactly the word that users read.
enum class Role : std::uint8_t { kNone, kSource, kTarget };
enum class MirrorState : std::uint8_t {
  kStopped,
  kFailed,
  kSplitBrain,
  kPaused,
  kWaitToResync,
  kResyncPending,
  kResyncing,
  kOutOfSync,
  kSource,
  kTarget,
};
enum class ReplicaState : std::uint8_t {
  kUptodate,
  kConsistent,
  kOutdated,
  kInconsistent,
  kFailed,
  kDiskless,
  kUnknown
};
enum class LinkState : std::uint8_t {
  kDown,
  kConnecting,
  kConnected,
  kResyncPending,
  kResyncing,
  kPaused,
  kSplitBrain,
  kRefused,
};
enum class Mode : std::uint8_t { kSync, kMemsync, kAsync };
enum class Severity : std::uint8_t { kInfo, kWarning, kError, kCritical };

enum class Verb : std::uint8_t {
  kCreate,
  kCheck,
  kUp,
  kDown,
  kSet,
  kResolve,
  kSwitchover,
  kPromote,
  kDemote,
  kPause,
  kResume,
  kConnect,
  kDisconnect,
  kResync,
  kExplain,
  kMetadataDump,
};

// How a command ended; the CLI's exit codes 0 to 4 (5, daemon unreachable, exists only outside it).
enum class Outcome : std::uint8_t { kDone = 0, kFailed = 1, kUsage = 2, kRefused = 3, kNoSuchMirror = 4 };

// What `resolve` does with the local history of a split-brain.
enum class Resolution : std::uint8_t { kKeep, kDiscard };

struct ResyncProgress {
  std::uint64_t done_bytes{};
  std::uint64_t total_bytes{};
  std::uint64_t rate_bytes_per_s{};    // JSON: "rate"
  std::optional<std::uint64_t> eta_s;  // none: cannot be told yet (JSON null)
  std::uint64_t sent_bytes{};          // sent so far as data
  std::uint64_t zero_bytes{};          // found to be zeroes so far, and not sent but named
  friend bool operator==(const ResyncProgress&, const ResyncProgress&) = default;
};

struct PeerStatus {
  std::string name;
  LinkState link{LinkState::kDown};
  ReplicaState replica{ReplicaState::kUnknown};  // as last heard from the peer
  std::uint64_t dirty_bytes{};                   // regions that may differ there
  std::optional<ResyncProgress> resync;          // only while one runs or is due
  std::uint64_t queue_bytes{};                   // sent or queued, not yet acknowledged
  double rpo_s{};                                // age of the oldest unacknowledged write; 0: none
  std::string path;                              // "local address -> peer address"; empty while down
  std::optional<Resolution> resolution;          // decided there about an open split-brain, as last heard
  friend bool operator==(const PeerStatus&, const PeerStatus&) = default;
};

// Since the mirror was started.
struct Counters {
  std::uint64_t reads{};
  std::uint64_t writes{};
  std::uint64_t read_bytes{};
  std::uint64_t written_bytes{};
  std::uint64_t flushes{};
  std::uint64_t resync_sent_bytes{};  // by resyncs that this node led, as data
  std::uint64_t resync_zero_bytes{};  // and as "these are zeroes"
  friend bool operator==(const Counters&, const Counters&) = default;
};

struct MirrorStatus {
  std::string name;
  Role role{Role::kNone};
  MirrorState state{MirrorState::kStopped};
  Mode mode{Mode::kSync};
  std::uint64_t generation{};  // JSON: 16 hex digits; 0: none yet
  std::uint64_t term{};
  std::uint64_t size{};         // bytes of the mirror
  std::string nbd;              // address clients connect to
  std::uint32_t nbd_clients{};  // connections that hold the export open
  ReplicaState replica{ReplicaState::kUnknown};
  std::uint32_t redundancy{};  // current copies of the acknowledged data, the local one included
  std::vector<PeerStatus> peers;
  bool promotable{};
  std::int32_t promotion_score{};  // for the cluster's promotion choice; negative: never
  std::string reason;              // why the state is not plain Source or Target
  bool frozen{};                   // writes wait for the right to write alone
  std::string frozen_reason;
  std::uint32_t hot_extents{};  // extents whose writes may not be stable everywhere
  std::string write_alone;      // the policy: free, fenced, quorum, never
  std::optional<Resolution> resolution;  // decided here about an open split-brain (JSON: keep, discard, null)
  Counters counters;
  friend bool operator==(const MirrorStatus&, const MirrorStatus&) = default;
};

struct StatusReply {
  std::string node;
  std::string daemon_version;
  std::uint64_t uptime_s{};
  std::vector<MirrorStatus> mirrors;
  friend bool operator==(const StatusReply&, const StatusReply&) = default;
};

// The JSON body of POST /v1/mirrors/MIRROR/VERB; each verb reads the ones that concern it.
struct CommandOptions {
  std::string confirm_dead;                 // promote: the operator vouches for this node
  bool force{};                             // promote, create; demote, switchover, down: cut clients off
  bool full{};                              // resync: everything, not only the bitmap
  bool source{};                            // create: this replica has the data
  std::optional<std::uint64_t> size_bytes;  // create: make a data file of this size
  std::optional<Resolution> resolution;     // resolve: "keep" or "discard"
  std::string node;                         // switchover, connect, ...: which peer; empty: the only one
  std::vector<std::pair<std::string, std::string>> settings;  // set: config key and new value, as text
  std::optional<std::uint32_t> timeout_s;                     // switchover, promote, down: give up after this
  friend bool operator==(const CommandOptions&, const CommandOptions&) = default;
};

struct Command {
  Verb verb{Verb::kCheck};
  std::string mirror;
  CommandOptions options;
  friend bool operator==(const Command&, const Command&) = default;
};

// Every failure answers the three questions of an operator at night. Also the body of HTTP errors.
struct CommandResult {
  Outcome outcome{Outcome::kDone};
  std::string message;       // what happened
  std::string what_is_safe;  // which data and which node can be relied on
  std::string next_step;     // a command to type
  std::string data;          // JSON text of the verb's result (explain, metadata dump); empty: none
  friend bool operator==(const CommandResult&, const CommandResult&) = default;
};

struct Event {
  std::uint64_t sequence{};     // from 1, without gaps; given by EventRing
  std::int64_t wall_time_ms{};  // Unix time; for people, never for decisions
  std::string mirror;           // empty: the daemon itself
  std::string kind;             // stable dotted word, e.g. "link.down", "role.source", "data.loss"
  Severity severity{Severity::kInfo};
  std::string text;
  std::vector<std::pair<std::string, std::string>> fields;
  friend bool operator==(const Event&, const Event&) = default;
};

struct EventBatch {
  std::vector<Event> events;  // ascending
  std::uint64_t next{};       // ask `since=next` for what follows; below the `since` asked for: numbered anew
  std::uint64_t lost{};       // events after `since` that the ring had already dropped
  friend bool operator==(const EventBatch&, const EventBatch&) = default;
};

[[nodiscard]] std::string_view to_string(Role value);
[[nodiscard]] std::string_view to_string(MirrorState value);
[[nodiscard]] std::string_view to_string(ReplicaState value);
[[nodiscard]] std::string_view to_string(LinkState value);
[[nodiscard]] std::string_view to_string(Mode value);
[[nodiscard]] std::string_view to_string(Severity value);
[[nodiscard]] std::string_view to_string(Verb value);
[[nodiscard]] std::string_view to_string(Outcome value);
[[nodiscard]] std::string_view to_string(Resolution value);

// The enumerator of a word; for Verb, Mode and the others that appear in requests.
template <class Enum>
[[nodiscard]] std::optional<Enum> parse_word(std::string_view word);

[[nodiscard]] std::string to_json(const MirrorStatus& value);
[[nodiscard]] std::string to_json(const StatusReply& value);
[[nodiscard]] std::string to_json(const Command& value);
[[nodiscard]] std::string to_json(const CommandOptions& value);
[[nodiscard]] std::string to_json(const CommandResult& value);
[[nodiscard]] std::string to_json(const Event& value);
[[nodiscard]] std::string to_json(const EventBatch& value);

// The struct of a JSON text. On failure `*problem` (if given) says in words what is wrong and where. Defined
// for the seven types above. An empty text is an empty CommandOptions.
template <class T>
[[nodiscard]] Result<T> from_json(std::string_view text, std::string* problem = nullptr);

// Letters, digits, '_', '-', '.', not starting with '.' or '-', 1 to kMirrorNameMax characters: safe in URLs,
// file names and Prometheus labels. Node names follow the same rule.
[[nodiscard]] bool valid_name(std::string_view name);

enum class errc {
  kBadJson = 1,  // not JSON, or not an object
  kBadField,     // a field has the wrong type, an unknown word or is out of range
  kMissingField,
  kUnknownField,
  kWrongVersion,
  kNoSuchMirror,
  kAddressInUse,  // another daemon answers on the control socket
  kBadAddress,
  kStopping,
};
[[nodiscard]] const boost::system::error_category& control_category() noexcept;
[[nodiscard]] ErrorCode make_error_code(errc value) noexcept;

}  // namespace twinblock::control

template <>
struct boost::system::is_error_code_enum<twinblock::control::errc> : std::true_type {};
