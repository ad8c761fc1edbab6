// Replication protocol: the bytes of a peer that gets every hash right, in pieces that the input chooses.
// Byte 0 chooses what is fed: a body decoder, or the parser. For the parser the rest is a list of records
// {pieces, header fields, tail}; the hashes are made right here, which a fuzzer would never guess.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/assert.hpp"
#include "transport/wire/messages.hpp"
#include "transport/wire/parser.hpp"

namespace {

namespace wire = twinblock::wire;
using Bytes = std::span<const std::byte>;

constexpr std::size_t kHashedSize = 56;

void store_u64(std::byte* to, std::uint64_t value) {
  for (std::size_t i = 0; i < 8; ++i) to[i] = static_cast<std::byte>(value >> (8 * i) & 0xff);
}

// What decodes must encode to the very bytes that were decoded.
template <class Body>
void check_body(twinblock::Result<Body> (*decode)(Bytes), Bytes in) {
  static std::array<std::byte, wire::kBodySizeMax> out;
  const auto body = decode(in);
  if (!body) return;
  const std::size_t size = wire::encode(*body, out);
  TB_ASSERT(size <= in.size() && std::equal(out.begin(), out.begin() + size, in.begin()));
}

void check_any_body(unsigned which, Bytes in) {
  switch (which % 8) {
    case 0:
      return check_body(wire::decode_hello, in);
    case 1:
      return check_body(wire::decode_state, in);
    case 2:
      return check_body(wire::decode_verdict, in);
    case 3:
      return check_body(wire::decode_session_start, in);
    case 4:
      return check_body(wire::decode_session_ready, in);
    case 5:
      return check_body(wire::decode_history, in);
    case 6:
      return check_body(wire::decode_degrade, in);
    default:
      TB_ASSERT(wire::reason_text(in).size() <= wire::kReasonMax);
  }
}

Bytes take(Bytes& in, std::size_t size) {
  const Bytes head = in.first(std::min(size, in.size()));
  in = in.subspan(head.size());
  return head;
}

// One record becomes one message: 40 bytes of header fields as they are, lengths from the tail, right hashes.
void append_message(Bytes& in, std::vector<std::byte>& stream) {
  const auto tail_size = std::to_integer<std::size_t>(in.front());
  in = in.subspan(1);
  std::array<std::byte, wire::kHeaderSize> header{};
  const Bytes given = take(in, 47);
  const std::byte wild = given.empty() ? std::byte{0} : given.back();
  std::copy(given.begin(), given.end(), header.begin() + 4);
  constexpr std::array kMagicBytes{std::byte{0x54}, std::byte{0x42}, std::byte{0x4b}, std::byte{0x31}};
  std::copy(kMagicBytes.begin(), kMagicBytes.end(), header.begin());
  const Bytes tail = take(in, tail_size);
  if (wild != std::byte{0xff}) {
    // Lengths that belong to the tail; without this nearly every message ends in bad_length.
    for (const std::size_t at : {std::size_t{40}, std::size_t{44}}) {
      std::fill_n(header.begin() + static_cast<std::ptrdiff_t>(at), 4, std::byte{0});
      header[at] = static_cast<std::byte>(tail.size());
    }
  }
  if (!tail.empty()) store_u64(header.data() + 48, wire::payload_hash(tail));
  store_u64(header.data() + kHashedSize, wire::payload_hash(std::span{header}.first(kHashedSize)));
  stream.insert(stream.end(), header.begin(), header.end());
  stream.insert(stream.end(), tail.begin(), tail.end());
}

class Shell {
 public:
  Shell() : scratch_(wire::kBodySizeMax), parser_{scratch_} {}

  // False: the connection is over.
  bool deliver(Bytes piece) {
    if (const auto direct = parser_.direct(); !direct.empty()) {
      const std::size_t size = std::min(piece.size(), direct.size());
      std::copy_n(piece.begin(), size, direct.begin());
      piece = piece.subspan(size);
      if (!note(parser_.received(size))) return false;
    }
    for (;;) {
      const auto event = parser_.feed(piece);
      if (!note(event)) return false;
      if (event == wire::Parser::Event::need_bytes) {
        TB_ASSERT(piece.empty());
        return true;
      }
    }
  }

 private:
  bool note(wire::Parser::Event event) {
    switch (event) {
      case wire::Parser::Event::need_bytes:
        return true;
      case wire::Parser::Event::need_buffer:
        TB_ASSERT(parser_.header().wire_length <= wire::kPayloadSizeMax);
        buffer_ = std::vector<std::byte>(parser_.header().wire_length);  // exact: a sanitizer guards its end
        parser_.supply(buffer_);
        return true;
      case wire::Parser::Event::message:
        check_message();
        return true;
      case wire::Parser::Event::failed:
        TB_ASSERT(parser_.error());
        return false;
    }
    return false;
  }

  void check_message() {
    const wire::Header& header = parser_.header();
    TB_ASSERT(wire::is_known(header.type) && wire::check_fields(header) == wire::errc::ok);
    const Bytes tail = wire::carries_payload(header.type) ? parser_.payload() : parser_.body();
    TB_ASSERT(wire::check_payload(header, tail));
    check_any_body(static_cast<unsigned>(header.type) - 1u, tail);
  }

  std::vector<std::byte> scratch_;
  std::vector<std::byte> buffer_;
  wire::Parser parser_;
};

void check_stream(Bytes in) {
  std::vector<std::byte> stream;
  const Bytes cuts = take(in, 8);
  while (!in.empty()) append_message(in, stream);
  Shell shell;
  Bytes rest{stream};
  for (std::size_t i = 0; !rest.empty(); ++i) {
    const auto cut = cuts.empty() ? 0u : std::to_integer<unsigned>(cuts[i % cuts.size()]);
    if (!shell.deliver(take(rest, 1 + cut))) return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Bytes in{reinterpret_cast<const std::byte*>(data) + 1, size - 1};
  const unsigned which = data[0];
  if (which < 128) {
    check_any_body(which, in);
  } else if (which < 250) {
    check_stream(in);
  } else {
    Shell shell;
    shell.deliver(in);
    if (in.size() >= wire::kHeaderSize) static_cast<void>(wire::decode_header(in.first<wire::kHeaderSize>()));
  }
  return 0;
}
