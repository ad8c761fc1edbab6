// The bodies. The fields of each stand once, in wire order, and both directions walk the same list: what is
// written and what is read cannot drift apart. What a later version adds goes to the end, where this one
// does not look.
#include <algorithm>
#include <concepts>
#include <type_traits>

#include "base/assert.hpp"
#include "base/units.hpp"
#include "transport/wire/bytes.hpp"
#include "transport/wire/messages.hpp"

namespace twinblock::wire {
namespace {

// Highest values of the enumerations that travel (bitmap/superblock.hpp, replicator/core/types.hpp), which
// this room may not include; tests/unit/wire compares them.
constexpr std::uint8_t kDiskStateMax = 3;
constexpr std::uint8_t kPeerDataMax = 3;
constexpr std::uint8_t kCauseMax = 4;
constexpr std::uint8_t kResolutionMax = 2;
constexpr std::uint8_t kModeMax = 2;

// `B` is a body, const when it is written.
template <class B, class Body>
concept Is = std::same_as<std::remove_const_t<B>, Body>;

template <class Cursor, Is<History> B>
void fields(Cursor& c, B& b) {
  c.count(b.count, kHistoryMax);
  for (std::uint32_t i = 0; i < b.count; ++i) {
    auto& entry = b.entries[i];
    c.number(entry.id);
    c.number(entry.parent);
    c.number(entry.first_sequence);
    c.number(entry.cause);
  }
}

template <class Cursor, Is<SessionMark> B>
void fields(Cursor& c, B& b) {
  c.number(b.count);
  c.number(b.id);
}

// The first two fields keep their place in every version: they say which versions can go on.
template <class Cursor, Is<HelloBody> B>
void fields(Cursor& c, B& b) {
  c.number(b.protocol_min);
  c.number(b.protocol_max);
  c.number(b.required_features);
  c.number(b.optional_features);
  c.number(b.mirror_id);
  c.number(b.node);
  c.number(b.identity);
  c.number(b.incarnation);
  c.number(b.size);
  c.number(b.region_size);
  c.number(b.logical_block_size);
  c.number(b.hot_extents);
  c.text(b.mirror_name, kNameMax);
  c.text(b.config_text, kConfigTextMax);
}

template <class Cursor, Is<StateBody> B>
void fields(Cursor& c, B& b) {
  c.number(b.round);
  c.number(b.nonce);
  c.number(b.is_source);
  c.number(b.wants_source);
  c.number(b.disk_state);
  c.number(b.was_source);
  c.number(b.clean);
  c.number(b.mode);
  c.number(b.term_own);
  c.number(b.term_seen);
  c.number(b.base_for_you);
  c.number(b.data_of_you);
  c.number(b.needs_full);
  c.number(b.your_identity);
  fields(c, b.session);
  fields(c, b.session_common);
  c.number(b.your_stable_sequence);
  c.number(b.dirty_regions);
  c.number(b.resync_active);
  c.number(b.resync_from);
  c.number(b.resync_generation);
  c.number(b.resolution);
  c.number(b.resolution_against);
  c.number(b.stable_sequence);
  c.number(b.sequence_limit);
  fields(c, b.history);
}

template <class Cursor, Is<VerdictBody> B>
void fields(Cursor& c, B& b) {
  c.number(b.kind);
  c.number(b.rule);
  c.number(b.leader);
  c.number(b.full);
  c.number(b.stays_promotable);
}

template <class Cursor, Is<SessionStartBody> B>
void fields(Cursor& c, B& b) {
  c.number(b.resync);
  c.number(b.stays_promotable);
  c.number(b.dirty_regions);
  c.number(b.mirror_id);
  c.number(b.group_id);
  c.number(b.sequence_limit);
  fields(c, b.session);
  fields(c, b.history);
}

template <class Cursor, Is<SessionReadyBody> B>
void fields(Cursor& c, B& b) {
  c.number(b.window_messages);
  c.number(b.window_bytes);
}

template <class Cursor, Is<HistoryBody> B>
void fields(Cursor& c, B& b) {
  fields(c, b.history);
}

template <class Cursor, Is<DegradeBody> B>
void fields(Cursor& c, B& b) {
  c.number(b.lacks);
  fields(c, b.history);
}

constexpr bool is_bool(std::uint8_t v) {
  return v <= 1;
}

constexpr bool is_control(char c) {
  const auto u = static_cast<unsigned char>(c);
  return u < 0x20 || u == 0x7f;
}

// These strings end in logs and on terminals.
bool is_text(std::string_view text, bool lines) {
  return std::all_of(text.begin(), text.end(),
                     [lines](char c) { return !is_control(c) || (lines && c == '\n'); });
}

bool valid(const History& h) {
  if (h.count > kHistoryMax) return false;
  return std::all_of(h.entries.begin(), h.entries.begin() + h.count,
                     [](const HistoryEntry& e) { return e.id != 0 && e.cause <= kCauseMax; });
}

bool valid(const HelloBody& b) {
  return b.protocol_min >= 1 && b.protocol_min <= b.protocol_max && b.node < kNodeCountMax &&
         is_text(b.mirror_name, false) && is_text(b.config_text, true);
}

bool valid(const StateBody& b) {
  return is_bool(b.is_source) && is_bool(b.wants_source) && b.disk_state <= kDiskStateMax &&
         is_bool(b.was_source) && is_bool(b.clean) && b.mode <= kModeMax && b.data_of_you <= kPeerDataMax &&
         is_bool(b.needs_full) && is_bool(b.resync_active) && b.resync_from < kNodeCountMax &&
         b.resolution <= kResolutionMax && valid(b.history);
}

// `kind` and `rule` are compared with what the receiver's own decide() said; any other value just differs.
bool valid(const VerdictBody& b) {
  return b.leader < kNodeCountMax && is_bool(b.full) && is_bool(b.stays_promotable);
}

bool valid(const SessionStartBody& b) {
  return is_bool(b.resync) && is_bool(b.stays_promotable) && valid(b.history);
}

bool valid(const SessionReadyBody&) {
  return true;
}
bool valid(const HistoryBody& b) {
  return valid(b.history);
}
bool valid(const DegradeBody& b) {
  return valid(b.history);
}

template <class Body>
std::size_t encode_body(const Body& body, std::span<std::byte> out) {
  TB_ASSERT(valid(body));
  BodyWriter writer{out};
  fields(writer, body);
  return writer.size();
}

template <class Body>
Result<Body> decode_body(std::span<const std::byte> in) {
  Body body{};
  BodyReader reader{in};
  fields(reader, body);
  if (!reader.ok() || !valid(body)) return errc::bad_body;
  return body;
}

}  // namespace

std::size_t encode(const HelloBody& body, std::span<std::byte> out) {
  return encode_body(body, out);
}
std::size_t encode(const StateBody& body, std::span<std::byte> out) {
  return encode_body(body, out);
}
std::size_t encode(const VerdictBody& body, std::span<std::byte> out) {
  return encode_body(body, out);
}
std::size_t encode(const SessionStartBody& body, std::span<std::byte> out) {
  return encode_body(body, out);
}
std::size_t encode(const SessionReadyBody& body, std::span<std::byte> out) {
  return encode_body(body, out);
}
std::size_t encode(const HistoryBody& body, std::span<std::byte> out) {
  return encode_body(body, out);
}
std::size_t encode(const DegradeBody& body, std::span<std::byte> out) {
  return encode_body(body, out);
}

Result<HelloBody> decode_hello(std::span<const std::byte> in) {
  return decode_body<HelloBody>(in);
}
Result<StateBody> decode_state(std::span<const std::byte> in) {
  return decode_body<StateBody>(in);
}
Result<VerdictBody> decode_verdict(std::span<const std::byte> in) {
  return decode_body<VerdictBody>(in);
}
Result<SessionStartBody> decode_session_start(std::span<const std::byte> in) {
  return decode_body<SessionStartBody>(in);
}
Result<SessionReadyBody> decode_session_ready(std::span<const std::byte> in) {
  return decode_body<SessionReadyBody>(in);
}
Result<HistoryBody> decode_history(std::span<const std::byte> in) {
  return decode_body<HistoryBody>(in);
}
Result<DegradeBody> decode_degrade(std::span<const std::byte> in) {
  return decode_body<DegradeBody>(in);
}

std::string reason_text(std::span<const std::byte> body) {
  const std::size_t size = std::min<std::size_t>(body.size(), kReasonMax);
  std::string text(reinterpret_cast<const char*>(body.data()), size);
  std::replace_if(
      text.begin(), text.end(), [](char c) { return is_control(c); }, '?');
  return text;
}

}  // namespace twinblock::wire
