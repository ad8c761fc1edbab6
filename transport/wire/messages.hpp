// The replication protocol's messages (docs/internals/wire_protocol.md). Every message is a 64-byte header,
// optionally followed by `wire_length` bytes: either a *body* (control messages: structs below) or *payload*
// (data of the mirror). Header and payload are both hashed; nothing is used before its hash was checked.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/units.hpp"

namespace twinblock::wire {

inline constexpr std::uint32_t kMagic = 0x314b4254;  // "TBK1"
inline constexpr std::uint16_t kProtocolMin = 1;
inline constexpr std::uint16_t kProtocolMax = 1;
inline constexpr std::uint32_t kHeaderSize = 64;
inline constexpr std::uint32_t kBodySizeMax = 48u << 10;    // control messages
inline constexpr std::uint32_t kPayloadSizeMax = 1u << 20;  // data messages
inline constexpr std::uint32_t kZeroLengthMax = 4u << 20;   // kZero carries no payload
inline constexpr std::uint32_t kHistoryMax = 33;            // current generation + 32 past ones
inline constexpr std::uint32_t kNameMax = 64;               // bytes
inline constexpr std::uint32_t kConfigTextMax = 4096;       // bytes
inline constexpr std::uint32_t kReasonMax = 512;            // bytes

// Values are part of the protocol. Types with bit 7 set are optional: a receiver that does not know one
// skips it by its length; any other unknown type ends the session with errc::unknown_type.
enum class Type : std::uint8_t {
  hello = 1,          // body HelloBody: first message of both sides
  state = 2,          // body StateBody: opens a negotiation round; valid at any time after hello
  verdict = 3,        // body VerdictBody: what decide() said here; both must match
  bitmap_data = 4,    // follower → leader: offset = start of the first region covered, body = raw bits
  bitmap_end = 5,     // follower → leader: all bits sent
  session_start = 6,  // leader → follower: body SessionStartBody
  session_ready = 7,  // follower → leader: body SessionReadyBody; the follower's state is durable
  refuse = 8,         // body = reason text; handle = core refuse code; the sender closes
  // the stream, numbered by the leader (session, sequence); a follower applies it in order
  write = 16,       // offset, length, payload; flags
  zero = 17,        // offset, length: reads zero afterwards; flag may_unmap
  flush = 18,       // flush point: barrier
  resync_end = 19,  // barrier; body HistoryBody: what the follower is now
  // follower → leader
  ack = 24,             // header only: sequence = applied, offset = received, aux = stable; all cumulative
  resync_done = 25,     // sequence = that of resync_end; uptodate is durable
  replica_failed = 26,  // the follower's disk failed; aux = errno
  read_reply = 27,      // handle; offset, length, payload (flags: failed without payload)
  stable_saved = 28,    // sequence: persisted in the follower's superblock
  // leader → follower
  read_request = 32,  // handle, offset, length: ordered behind the stream so far
  degrade = 33,       // body DegradeBody: new generation that the node in `lacks` does not have
  degrade_ack = 34,   // durable
  demoted = 35,       // the source stopped writing cleanly; flags take_over: promote yourself
  demoted_ack = 36,   // durable
  // either
  term_taken = 40,          // sequence = the term: the sender becomes source when this is acknowledged
  term_ack = 41,            // sequence = the term: durable at the sender
  term_nack = 42,           // answers term_taken or switchover_request: no
  switchover_request = 43,  // target → source: demote, then hand over to me
  paused = 44,              // the sender stopped the stream by hand; link stays
  ping = 48,
  pong = 49,
};

enum Flag : std::uint8_t {
  kFua = 1,                // write, zero: stable when applied
  kResync = 2,             // write, zero: from resync, not an application
  kMayUnmap = 4,           // zero: the range may be deallocated
  kFailed = 8,             // read_reply: could not be read
  kTakeOver = 16,          // demoted
  kForce = 32,             // switchover_request: although clients are connected
  kClientsConnected = 64,  // term_nack, answering switchover_request: that is why
};

enum class Codec : std::uint8_t { none = 0 };  // later: lz4, zstd

struct Header {
  Type type = Type::ping;
  std::uint8_t flags = 0;
  std::uint8_t mirror = 0;    // index of the mirror in its group
  std::uint8_t lacks = 0;     // mask of nodes that do not get this write
  std::uint32_t session = 0;  // of the negotiation round; 0 before a session exists
  std::uint32_t handle = 0;
  std::uint64_t sequence = 0;
  std::uint64_t term = 0;
  std::uint64_t offset = 0;
  std::uint32_t length = 0;       // uncompressed length of payload or range, or body length
  std::uint32_t wire_length = 0;  // bytes that follow the header (28 bits on the wire)
  Codec codec = Codec::none;
  std::uint64_t aux = 0;  // hash of uncompressed payload or body when wire_length > 0; else by type
  friend bool operator==(const Header&, const Header&) = default;
};

enum class errc {
  ok = 0,
  bad_magic,  // not our protocol
  bad_header_hash,
  bad_payload_hash,
  unknown_type,
  bad_length,    // length, wire_length or codec out of bounds for the type
  bad_body,      // a body that does not decode: too short, counts, enums or text out of range
  unknown_flag,  // a flag bit of no known meaning on a known type
};
const boost::system::error_category& category() noexcept;
inline ErrorCode make_error_code(errc e) noexcept {
  return {static_cast<int>(e), category()};
}

// What decode_header checks once magic and hash are right: type, flags, codec, lengths by type, and that the
// range of a data message does not wrap around.
[[nodiscard]] errc check_fields(const Header&);
// `aux` of a message with bytes behind it is filled by the caller with payload_hash().
// REQUIRES: check_fields(header) == errc::ok.
void encode_header(const Header&, std::span<std::byte, kHeaderSize> out);
// Checks magic, hash, type, lengths by type. An unknown optional type decodes with Type unchanged.
Result<Header> decode_header(std::span<const std::byte, kHeaderSize> in);
[[nodiscard]] std::uint64_t payload_hash(std::span<const std::byte> bytes);
// errc::bad_payload_hash unless `bytes` (body or payload) is what the header announced.
Result<void> check_payload(const Header&, std::span<const std::byte> bytes);
[[nodiscard]] bool is_optional(Type type);  // may be skipped by who does not know it
[[nodiscard]] bool is_known(Type type);
[[nodiscard]] bool carries_payload(Type type);   // mirror data: goes into an aligned buffer
[[nodiscard]] std::string_view name(Type type);  // "unknown" if not known

struct HistoryEntry {
  std::uint64_t id = 0;
  std::uint64_t parent = 0;
  std::uint64_t first_sequence = 0;
  std::uint8_t cause = 0;
  friend bool operator==(const HistoryEntry&, const HistoryEntry&) = default;
};
struct History {
  std::uint32_t count = 0;  // <= kHistoryMax; [0] is the current generation
  std::array<HistoryEntry, kHistoryMax> entries{};
  friend bool operator==(const History&, const History&) = default;
};

struct HelloBody {
  std::uint16_t protocol_min = kProtocolMin;
  std::uint16_t protocol_max = kProtocolMax;
  std::uint64_t required_features = 0;
  std::uint64_t optional_features = 0;
  std::uint64_t mirror_id = 0;  // 0: fresh target
  std::uint8_t node = 0;
  std::uint64_t identity = 0;
  std::uint64_t incarnation = 0;
  std::uint64_t size = 0;  // bytes
  std::uint32_t region_size = 0;
  std::uint32_t logical_block_size = 0;
  std::uint32_t hot_extents = 0;
  std::string mirror_name;  // <= kNameMax
  std::string config_text;  // <= kConfigTextMax: "key=value\n" lines that must agree
  friend bool operator==(const HelloBody&, const HelloBody&) = default;
};

// Names a session (bitmap::SessionMark). {0, 0}: before the first one.
struct SessionMark {
  std::uint64_t count = 0;
  std::uint64_t id = 0;
  friend bool operator==(const SessionMark&, const SessionMark&) = default;
};

// Everything decide() looks at (docs/internals/generations.md). Enumerations: bitmap/superblock.hpp.
struct StateBody {
  std::uint32_t round = 0;
  std::uint32_t nonce = 0;  // session = mix of both nonces
  std::uint8_t is_source = 0;
  std::uint8_t wants_source = 0;  // after_restart = resume and was source
  std::uint8_t disk_state = 0;    // bitmap::DiskState
  std::uint8_t was_source = 0;
  std::uint8_t clean = 0;  // 0: data not flushed may have been lost here
  std::uint8_t mode = 0;   // core::Mode
  std::uint64_t term_own = 0;
  std::uint64_t term_seen = 0;
  History history;
  std::uint64_t base_for_you = 0;  // generation the bits for you are relative to
  std::uint8_t data_of_you = 0;    // bitmap::PeerData
  std::uint8_t needs_full = 0;
  std::uint64_t your_identity = 0;  // as remembered
  SessionMark session;              // the newest one with you that is durable here
  SessionMark session_common;       // the newest one that I know to be durable at your side, too
  std::uint64_t your_stable_sequence = 0;
  std::uint64_t dirty_regions = 0;  // bits for you, hot extents included
  std::uint8_t resync_active = 0;
  std::uint8_t resync_from = 0;
  std::uint64_t resync_generation = 0;
  std::uint8_t resolution = 0;  // bitmap::Resolution
  std::uint64_t resolution_against = 0;
  std::uint64_t stable_sequence = 0;
  std::uint64_t sequence_limit = 0;
  friend bool operator==(const StateBody&, const StateBody&) = default;
};

struct VerdictBody {
  std::uint8_t kind = 0;    // core::VerdictKind
  std::uint8_t rule = 0;    // row of the table
  std::uint8_t leader = 0;  // node index
  std::uint8_t full = 0;
  std::uint8_t stays_promotable = 0;
  friend bool operator==(const VerdictBody&, const VerdictBody&) = default;
};

struct SessionStartBody {
  std::uint8_t resync = 0;  // 0: in sync
  std::uint8_t stays_promotable = 0;
  std::uint64_t dirty_regions = 0;
  std::uint64_t mirror_id = 0;
  std::uint64_t group_id = 0;
  std::uint64_t sequence_limit = 0;
  SessionMark session;  // the name of the session that begins
  History history;
  friend bool operator==(const SessionStartBody&, const SessionStartBody&) = default;
};

struct SessionReadyBody {
  std::uint32_t window_messages = 0;  // most stream messages not yet applied
  std::uint32_t window_bytes = 0;
  friend bool operator==(const SessionReadyBody&, const SessionReadyBody&) = default;
};

struct HistoryBody {
  History history;
  friend bool operator==(const HistoryBody&, const HistoryBody&) = default;
};

struct DegradeBody {
  History history;         // the new generation at [0]
  std::uint8_t lacks = 0;  // mask of nodes
  friend bool operator==(const DegradeBody&, const DegradeBody&) = default;
};

// Encode into `out`; return the bytes used. REQUIRES: out holds kBodySizeMax bytes; strings within their
// limits and without control characters (config_text: but '\n'); flags 0 or 1; node indices below
// kNodeCountMax; enumerations in range; no generation 0 in a history; protocol versions >= 1, min <= max.
std::size_t encode(const HelloBody&, std::span<std::byte> out);
std::size_t encode(const StateBody&, std::span<std::byte> out);
std::size_t encode(const VerdictBody&, std::span<std::byte> out);
std::size_t encode(const SessionStartBody&, std::span<std::byte> out);
std::size_t encode(const SessionReadyBody&, std::span<std::byte> out);
std::size_t encode(const HistoryBody&, std::span<std::byte> out);
std::size_t encode(const DegradeBody&, std::span<std::byte> out);
// errc::bad_body on anything that does not decode exactly (a longer body of a newer version is allowed:
// trailing bytes are ignored).
Result<HelloBody> decode_hello(std::span<const std::byte> in);
Result<StateBody> decode_state(std::span<const std::byte> in);
Result<VerdictBody> decode_verdict(std::span<const std::byte> in);
Result<SessionStartBody> decode_session_start(std::span<const std::byte> in);
Result<SessionReadyBody> decode_session_ready(std::span<const std::byte> in);
Result<HistoryBody> decode_history(std::span<const std::byte> in);
Result<DegradeBody> decode_degrade(std::span<const std::byte> in);
// The body of `refuse` made safe for a log: control characters become '?'.
[[nodiscard]] std::string reason_text(std::span<const std::byte> in);

}  // namespace twinblock::wire

template <>
struct boost::system::is_error_code_enum<twinblock::wire::errc> : std::true_type {};
