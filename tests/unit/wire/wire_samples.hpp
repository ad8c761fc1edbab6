// Messages for the tests: one fixed sample of every type (the golden file), and random ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "base/units.hpp"
#include "transport/wire/messages.hpp"

namespace twinblock::wire::test {

using Bytes = std::vector<std::byte>;

struct Message {
  Header header;
  Bytes tail;  // body or payload
};

inline Bytes bytes_of(std::string_view text) {
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

template <class Body>
Bytes encoded(const Body& body) {
  Bytes out(kBodySizeMax);
  out.resize(encode(body, out));
  return out;
}

// Fills length, wire_length and aux for the bytes behind the header.
inline Message with_tail(Header header, Bytes tail) {
  header.length = static_cast<std::uint32_t>(tail.size());
  header.wire_length = header.length;
  if (!tail.empty()) header.aux = payload_hash(tail);
  return {header, std::move(tail)};
}

inline Bytes header_bytes(const Header& header) {
  Bytes out(kHeaderSize);
  encode_header(header, std::span{out}.first<kHeaderSize>());
  return out;
}

inline Bytes on_wire(const Message& message) {
  Bytes out = header_bytes(message.header);
  out.insert(out.end(), message.tail.begin(), message.tail.end());
  return out;
}

// Makes the header hash of changed bytes right again: what an attacker or a later version would send.
inline void rehash(std::span<std::byte> header) {
  const std::uint64_t hash = payload_hash(header.first(56));
  for (std::size_t i = 0; i < 8; ++i) header[56 + i] = static_cast<std::byte>(hash >> (8 * i) & 0xff);
}

inline constexpr Type kAllTypes[] = {Type::hello,
                                     Type::state,
                                     Type::verdict,
                                     Type::bitmap_data,
                                     Type::bitmap_end,
                                     Type::session_start,
                                     Type::session_ready,
                                     Type::refuse,
                                     Type::write,
                                     Type::zero,
                                     Type::flush,
                                     Type::resync_end,
                                     Type::ack,
                                     Type::resync_done,
                                     Type::replica_failed,
                                     Type::read_reply,
                                     Type::stable_saved,
                                     Type::read_request,
                                     Type::degrade,
                                     Type::degrade_ack,
                                     Type::demoted,
                                     Type::demoted_ack,
                                     Type::term_taken,
                                     Type::term_ack,
                                     Type::term_nack,
                                     Type::switchover_request,
                                     Type::paused,
                                     Type::ping,
                                     Type::pong};

inline std::uint8_t small(Random& random, std::uint64_t bound) {
  return static_cast<std::uint8_t>(random.below(bound));
}

inline History random_history(Random& random) {
  History h;
  h.count = static_cast<std::uint32_t>(random.below(kHistoryMax + 1));
  for (std::uint32_t i = 0; i < h.count; ++i) {
    h.entries[i] = {random.name(), random.next(), random.next(), small(random, 5)};
  }
  return h;
}

inline std::string random_text(Random& random, std::size_t size_max) {
  std::string text(random.below(size_max + 1), ' ');
  for (char& c : text) c = static_cast<char>(' ' + random.below(95));
  return text;
}

inline HelloBody random_hello(Random& random) {
  HelloBody b;
  b.protocol_min = static_cast<std::uint16_t>(1 + random.below(100));
  b.protocol_max = static_cast<std::uint16_t>(b.protocol_min + random.below(100));
  b.required_features = random.next();
  b.optional_features = random.next();
  b.mirror_id = random.next();
  b.node = small(random, kNodeCountMax);
  b.identity = random.next();
  b.incarnation = random.next();
  b.size = random.next();
  b.region_size = static_cast<std::uint32_t>(random.next());
  b.logical_block_size = static_cast<std::uint32_t>(random.next());
  b.hot_extents = static_cast<std::uint32_t>(random.next());
  b.mirror_name = random_text(random, kNameMax);
  b.config_text = random_text(random, random.one_in(20) ? kConfigTextMax : 80);
  return b;
}

inline StateBody random_state(Random& random) {
  StateBody b;
  b.round = static_cast<std::uint32_t>(random.next());
  b.nonce = static_cast<std::uint32_t>(random.next());
  b.is_source = small(random, 2);
  b.wants_source = small(random, 2);
  b.disk_state = small(random, 4);
  b.was_source = small(random, 2);
  b.clean = small(random, 2);
  b.mode = small(random, 3);
  b.term_own = random.next();
  b.term_seen = random.next();
  b.history = random_history(random);
  b.base_for_you = random.next();
  b.data_of_you = small(random, 4);
  b.needs_full = small(random, 2);
  b.your_identity = random.next();
  b.session = {random.next(), random.next()};
  b.session_common = {random.next(), random.next()};
  b.your_stable_sequence = random.next();
  b.dirty_regions = random.next();
  b.resync_active = small(random, 2);
  b.resync_from = small(random, kNodeCountMax);
  b.resync_generation = random.next();
  b.resolution = small(random, 3);
  b.resolution_against = random.next();
  b.stable_sequence = random.next();
  b.sequence_limit = random.next();
  return b;
}

inline VerdictBody random_verdict(Random& random) {
  return {small(random, 256), small(random, 256), small(random, kNodeCountMax), small(random, 2),
          small(random, 2)};
}

inline SessionStartBody random_session_start(Random& random) {
  return {small(random, 2),
          small(random, 2),
          random.next(),
          random.next(),
          random.next(),
          random.next(),
          {random.next(), random.next()},
          random_history(random)};
}

inline SessionReadyBody random_session_ready(Random& random) {
  return {static_cast<std::uint32_t>(random.next()), static_cast<std::uint32_t>(random.next())};
}

inline HistoryBody random_history_body(Random& random) {
  return {random_history(random)};
}
inline DegradeBody random_degrade(Random& random) {
  return {random_history(random), small(random, 256)};
}

inline Bytes random_bytes(Random& random, std::size_t size) {
  Bytes out(size);
  for (std::byte& b : out) b = static_cast<std::byte>(random.next() & 0xff);
  return out;
}

// What travels behind the header of a message of `type`; no more than `size_max` bytes where any size goes.
inline Bytes random_tail(Random& random, Type type, std::size_t size_max) {
  switch (type) {
    case Type::hello:
      return encoded(random_hello(random));
    case Type::state:
      return encoded(random_state(random));
    case Type::verdict:
      return encoded(random_verdict(random));
    case Type::session_start:
      return encoded(random_session_start(random));
    case Type::session_ready:
      return encoded(random_session_ready(random));
    case Type::resync_end:
      return encoded(random_history_body(random));
    case Type::degrade:
      return encoded(random_degrade(random));
    case Type::refuse:
      return bytes_of(random_text(random, kReasonMax));
    case Type::bitmap_data:
    case Type::write:
    case Type::read_reply:
      return random_bytes(random, 1 + random.below(size_max));
    default:
      return {};
  }
}

// A message of `type` that check_fields() accepts, every free field random.
inline Message random_message(Random& random, Type type, std::size_t size_max = 2048) {
  Header h;
  h.type = type;
  h.flags = static_cast<std::uint8_t>(random.below(8));
  h.mirror = small(random, 256);
  h.lacks = small(random, 256);
  h.session = static_cast<std::uint32_t>(random.next());
  h.handle = static_cast<std::uint32_t>(random.next());
  h.sequence = random.next();
  h.term = random.next();
  h.offset = random.next() >> 1;
  h.aux = random.next();
  if (type == Type::zero || type == Type::read_request) {
    h.length = static_cast<std::uint32_t>(1 + random.below(kPayloadSizeMax));
    return {h, {}};
  }
  return with_tail(h, random_tail(random, type, size_max));
}

inline Message random_message(Random& random) {
  return random_message(random, kAllTypes[random.below(std::size(kAllTypes))]);
}

}  // namespace twinblock::wire::test
