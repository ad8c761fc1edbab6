// The 64-byte header, and the one table of what each type of message may look like.
#include <array>
#include <cstddef>

#include "base/assert.hpp"
#include "transport/wire/bytes.hpp"
#include "transport/wire/messages.hpp"

namespace twinblock::wire {
namespace {

// Byte offsets (docs/internals/wire_protocol.md). All numbers little-endian.
constexpr std::size_t kAtMagic = 0;
constexpr std::size_t kAtType = 4;
constexpr std::size_t kAtFlags = 5;
constexpr std::size_t kAtMirror = 6;
constexpr std::size_t kAtLacks = 7;
constexpr std::size_t kAtSession = 8;
constexpr std::size_t kAtHandle = 12;
constexpr std::size_t kAtSequence = 16;
constexpr std::size_t kAtTerm = 24;
constexpr std::size_t kAtOffset = 32;
constexpr std::size_t kAtLength = 40;
constexpr std::size_t kAtWireLength = 44;  // 28 bits, codec above them
constexpr std::size_t kAtAux = 48;
constexpr std::size_t kAtHash = 56;  // over all bytes before it
static_assert(kAtHash + sizeof(std::uint64_t) == kHeaderSize);

constexpr std::uint32_t kWireLengthBits = 28;
constexpr std::uint32_t kWireLengthMask = (1u << kWireLengthBits) - 1;
static_assert(kPayloadSizeMax <= kWireLengthMask && kBodySizeMax <= kPayloadSizeMax);

constexpr std::uint8_t kOptionalBit = 0x80;
constexpr std::uint8_t kFlagsKnown =
    kFua | kResync | kMayUnmap | kFailed | kTakeOver | kForce | kClientsConnected;

// What `length` and `wire_length` mean.
enum class Form : std::uint8_t {
  unknown,
  bare,     // both 0
  range,    // length of a range, nothing behind the header
  body,     // wire_length == length bytes of body
  payload,  // wire_length == length bytes of mirror data (codec none)
};

struct Rule {
  Type type = Type::ping;
  std::string_view name = "unknown";
  Form form = Form::unknown;
  std::uint32_t length_min = 0;
  std::uint32_t length_max = 0;
};

constexpr Rule kRuleList[] = {
    {Type::hello, "hello", Form::body, 1, kBodySizeMax},
    {Type::state, "state", Form::body, 1, kBodySizeMax},
    {Type::verdict, "verdict", Form::body, 1, kBodySizeMax},
    {Type::bitmap_data, "bitmap_data", Form::body, 1, kBodySizeMax},
    {Type::bitmap_end, "bitmap_end", Form::bare},
    {Type::session_start, "session_start", Form::body, 1, kBodySizeMax},
    {Type::session_ready, "session_ready", Form::body, 1, kBodySizeMax},
    {Type::refuse, "refuse", Form::body, 0, kReasonMax},
    {Type::write, "write", Form::payload, 1, kPayloadSizeMax},
    {Type::zero, "zero", Form::range, 1, kZeroLengthMax},
    {Type::flush, "flush", Form::bare},
    {Type::resync_end, "resync_end", Form::body, 1, kBodySizeMax},
    {Type::ack, "ack", Form::bare},
    {Type::resync_done, "resync_done", Form::bare},
    {Type::replica_failed, "replica_failed", Form::bare},
    {Type::read_reply, "read_reply", Form::payload, 1, kPayloadSizeMax},
    {Type::stable_saved, "stable_saved", Form::bare},
    {Type::read_request, "read_request", Form::range, 1, kPayloadSizeMax},
    {Type::degrade, "degrade", Form::body, 1, kBodySizeMax},
    {Type::degrade_ack, "degrade_ack", Form::bare},
    {Type::demoted, "demoted", Form::bare},
    {Type::demoted_ack, "demoted_ack", Form::bare},
    {Type::term_taken, "term_taken", Form::bare},
    {Type::term_ack, "term_ack", Form::bare},
    {Type::term_nack, "term_nack", Form::bare},
    {Type::switchover_request, "switchover_request", Form::bare},
    {Type::paused, "paused", Form::bare},
    {Type::ping, "ping", Form::bare},
    {Type::pong, "pong", Form::bare},
};

using RuleTable = std::array<Rule, 64>;

constexpr RuleTable make_rules() {
  RuleTable table{};
  for (const Rule& rule : kRuleList) table[static_cast<std::size_t>(rule.type)] = rule;
  return table;
}
constexpr RuleTable kRules = make_rules();
constexpr Rule kUnknownRule{};

constexpr const Rule& rule_of(Type type) {
  const auto index = static_cast<std::size_t>(type);
  return index < kRules.size() ? kRules[index] : kUnknownRule;
}

constexpr bool ranged(Form form) {
  return form == Form::range || form == Form::payload;
}

bool lengths_fit(const Header& header, const Rule& rule) {
  if (header.codec != Codec::none) return false;
  // A read that failed is answered without data; its length may repeat that of the request.
  const bool failed_read = header.type == Type::read_reply && (header.flags & kFailed) != 0;
  const std::uint32_t length_min = failed_read ? 0 : rule.length_min;
  if (header.length < length_min || header.length > rule.length_max) return false;
  if (ranged(rule.form) && header.offset > UINT64_MAX - header.length) return false;
  const bool followed = (rule.form == Form::body || rule.form == Form::payload) && !failed_read;
  return header.wire_length == (followed ? header.length : 0);
}

}  // namespace

bool is_optional(Type type) {
  return (static_cast<std::uint8_t>(type) & kOptionalBit) != 0;
}
bool is_known(Type type) {
  return rule_of(type).form != Form::unknown;
}
bool carries_payload(Type type) {
  return rule_of(type).form == Form::payload;
}
std::string_view name(Type type) {
  return rule_of(type).name;
}

errc check_fields(const Header& header) {
  const Rule& rule = rule_of(header.type);
  if (rule.form == Form::unknown) {
    if (!is_optional(header.type)) return errc::unknown_type;
    return header.wire_length <= kPayloadSizeMax ? errc::ok : errc::bad_length;
  }
  if ((header.flags & ~kFlagsKnown) != 0) return errc::unknown_flag;
  return lengths_fit(header, rule) ? errc::ok : errc::bad_length;
}

void encode_header(const Header& header, std::span<std::byte, kHeaderSize> out) {
  TB_ASSERT(check_fields(header) == errc::ok);
  std::byte* const p = out.data();
  store_le(p + kAtMagic, kMagic);
  store_le(p + kAtType, static_cast<std::uint8_t>(header.type));
  store_le(p + kAtFlags, header.flags);
  store_le(p + kAtMirror, header.mirror);
  store_le(p + kAtLacks, header.lacks);
  store_le(p + kAtSession, header.session);
  store_le(p + kAtHandle, header.handle);
  store_le(p + kAtSequence, header.sequence);
  store_le(p + kAtTerm, header.term);
  store_le(p + kAtOffset, header.offset);
  store_le(p + kAtLength, header.length);
  const std::uint32_t codec_bits = std::uint32_t{static_cast<std::uint8_t>(header.codec)} << kWireLengthBits;
  store_le(p + kAtWireLength, header.wire_length | codec_bits);
  store_le(p + kAtAux, header.aux);
  store_le(p + kAtHash, payload_hash(out.first(kAtHash)));
}

Result<Header> decode_header(std::span<const std::byte, kHeaderSize> in) {
  const std::byte* const p = in.data();
  if (load_le<std::uint32_t>(p + kAtMagic) != kMagic) return errc::bad_magic;
  if (load_le<std::uint64_t>(p + kAtHash) != payload_hash(in.first(kAtHash))) return errc::bad_header_hash;
  const auto wire_length = load_le<std::uint32_t>(p + kAtWireLength);
  Header header;
  header.type = static_cast<Type>(load_le<std::uint8_t>(p + kAtType));
  header.flags = load_le<std::uint8_t>(p + kAtFlags);
  header.mirror = load_le<std::uint8_t>(p + kAtMirror);
  header.lacks = load_le<std::uint8_t>(p + kAtLacks);
  header.session = load_le<std::uint32_t>(p + kAtSession);
  header.handle = load_le<std::uint32_t>(p + kAtHandle);
  header.sequence = load_le<std::uint64_t>(p + kAtSequence);
  header.term = load_le<std::uint64_t>(p + kAtTerm);
  header.offset = load_le<std::uint64_t>(p + kAtOffset);
  header.length = load_le<std::uint32_t>(p + kAtLength);
  header.wire_length = wire_length & kWireLengthMask;
  header.codec = static_cast<Codec>(wire_length >> kWireLengthBits);
  header.aux = load_le<std::uint64_t>(p + kAtAux);
  if (const errc code = check_fields(header); code != errc::ok) return code;
  return header;
}

}  // namespace twinblock::wire
