// Incremental, sans-IO reader of one direction of a connection. The shell keeps a small stash for what a
// receive brought; the parser takes headers and bodies out of it. Mirror data goes where it will be used:
// the parser asks for an aligned buffer, takes what the stash already holds of it, and lets the socket fill
// the rest directly. One copy of at most one stash per payload; no allocation anywhere.
//
//             feed()                        feed()/received()
//   header ──────────► body (scratch)   ──────────────────────► message ─► header
//     │  └───────────► buffer wanted ─supply()─► payload ─────► message ─► header
//     ├──────────────► skip (unknown optional type; nothing kept) ───────► header
//     └── any error, from any state ──► failed (for ever)
//
// Nothing leaves the parser before its hash was checked. The stream has no resynchronisation point: after
// an error the shell closes the connection.
//
//   for (;;) switch (parser.feed(stash)) {
//     case Event::need_bytes:  receive into direct() (then received()) if not empty, else into the stash
//     case Event::need_buffer: supply() one, or stop reading this socket until there is one
//     case Event::message:     use header(), body(), payload(); then feed() again
//     case Event::failed:      error(); close
//   }
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "transport/wire/messages.hpp"

namespace twinblock::wire {

class Parser {
 public:
  enum class Event : std::uint8_t {
    need_bytes,   // all of the input was taken; no message is complete
    need_buffer,  // header() announces wire_length bytes of mirror data; nothing behind it was taken
    message,      // complete and checked; valid until the next call of feed() or received()
    failed,       // error(); every later call says the same and takes nothing
  };

  // REQUIRES: `scratch` holds kBodySizeMax bytes and outlives the parser.
  explicit Parser(std::span<std::byte> scratch);

  // Takes from the front of `in`, which is left with what was not taken, until something is to be said.
  Event feed(std::span<const std::byte>& in);

  // Where the payload of header() goes. REQUIRES: the last event was need_buffer; the buffer holds
  // header().wire_length bytes and is the parser's until message or failed, or until the parser is dropped.
  void supply(std::span<std::byte> buffer);

  // The part of the supplied buffer that is still empty: a receive may go there, once feed() has said
  // need_bytes (else it would overtake bytes in the stash). Empty while no payload is under way.
  [[nodiscard]] std::span<std::byte> direct() const;
  // `size` bytes were received into direct(). REQUIRES: size <= direct().size().
  Event received(std::size_t size);

  // REQUIRES: the last event was message or need_buffer.
  [[nodiscard]] const Header& header() const;
  // Empty for a message without one. REQUIRES: the last event was message.
  [[nodiscard]] std::span<const std::byte> body() const;
  [[nodiscard]] std::span<const std::byte> payload() const;

  // No message is half read: an end of the stream here is an orderly one.
  [[nodiscard]] bool at_boundary() const;
  [[nodiscard]] ErrorCode error() const { return error_; }
  // Messages of unknown optional types so far.
  [[nodiscard]] std::uint64_t skipped_count() const { return skipped_count_; }

 private:
  enum class State : std::uint8_t { header, body, buffer_wanted, payload, skip, delivered, failed };

  void transition_to(State next);
  void take_header(std::span<const std::byte>& in);
  void begin_message();
  void take_body(std::span<const std::byte>& in);
  void take_payload(std::span<const std::byte>& in);
  void take_skipped(std::span<const std::byte>& in);
  void deliver_checked(std::span<const std::byte> bytes);
  void fail(ErrorCode error);

  std::span<std::byte> scratch_;
  std::span<std::byte> buffer_;  // supplied, cut to wire_length
  std::array<std::byte, kHeaderSize> header_bytes_{};
  Header header_;
  std::uint32_t filled_ = 0;  // bytes taken of header, body, payload or skipped one
  State state_ = State::header;
  ErrorCode error_;
  std::uint64_t skipped_count_ = 0;
};

}  // namespace twinblock::wire
