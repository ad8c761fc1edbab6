// One NBD connection as the server sees it, without its socket. The shell receives and sends; the session
// says what the bytes mean. It is pulled: the shell calls next() and does what the event asks for.
//
//   for (;;) switch (session.next()):
//     NeedBytes    receive into receive_space(), then received(n)
//     NeedPayload  buffer for the WRITE admitted last: take_payload() what has come already, receive the rest
//                  straight into the buffer, payload_received(n)
//     SendOutput   send output(), output_sent(n) (handshake only)
//     Opened       bind the connection to export_info()
//     Admitted     start the request; answer with encode_reply & co., then request_done()
//     Refused      send encode_reply(request, status, text), then request_done()
//     Busy         in_flight_max answers outstanding: stop receiving until request_done()
//     Disconnect   the client said goodbye: answer what is outstanding() and close
//     Drop         close at once; the reason is for the log
//
//   kClientFlags → kOption ⇄ kListing            kOption ⇄ kSkipOption
//   kOption → kOpening → kHeader ⇄ kPayload      kHeader ⇄ kDrain, kPayload → kDrain
//   kOption, kHeader → kDisconnected             any of the receiving ones → kDropped
//
// Memory is a fixed stash and a fixed output buffer, both allocated once; the transmission phase allocates
// nothing. A handshake deadline is the shell's duty: close when handshake_done() stays false for too long.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "transport/nbd/negotiation.hpp"
#include "transport/nbd/request.hpp"
#include "transport/nbd/status.hpp"

namespace twinblock::nbd {

struct NeedBytes {};
struct NeedPayload {
  ByteCount remaining;
};
struct SendOutput {};
struct Opened {};
struct Admitted {
  Request request;
};
struct Refused {
  Request request;
  Status status;
  std::string_view text;  // static storage
};
struct Busy {};
struct Disconnect {};
struct Drop {
  errc reason;
};
using Event =
    std::variant<NeedBytes, NeedPayload, SendOutput, Opened, Admitted, Refused, Busy, Disconnect, Drop>;

class ServerSession {
 public:
  // `catalog` must outlive the session.
  explicit ServerSession(const ExportCatalog& catalog, const Limits& limits = {});
  ServerSession(const ServerSession&) = delete;
  ServerSession& operator=(const ServerSession&) = delete;

  // What to do next. Never blocks; idempotent until the shell has done what was asked, except that Opened,
  // Admitted and Refused are said once each.
  [[nodiscard]] Event next();

  // Free space of the stash, never empty after NeedBytes. It stays valid, and other calls are allowed, until
  // received(): a receive may run while requests are parsed.
  [[nodiscard]] std::span<std::byte> receive_space();
  // REQUIRES: n <= the size of the last receive_space().
  void received(std::size_t n);

  [[nodiscard]] std::span<const std::byte> output() const;
  void output_sent(std::size_t n);

  // Payload of the WRITE admitted last that has not been taken yet.
  [[nodiscard]] ByteCount payload_remaining() const;
  // Moves payload bytes from the stash to the front of `out`; returns how many. Fewer than both out.size()
  // and payload_remaining() means that the stash is empty: the next payload byte is still on the socket.
  std::size_t take_payload(std::span<std::byte> out);
  // The shell received n payload bytes itself. REQUIRES: take_payload() has emptied the stash and no receive
  // into receive_space() runs; n <= payload_remaining().
  void payload_received(std::size_t n);
  // Gives up the WRITE whose payload is still coming: the session swallows the rest and then says Refused
  // with this status. REQUIRES: payload_remaining() > 0. `text` must have static storage.
  void discard_payload(Status status, std::string_view text = {});

  // The answer to an Admitted or Refused request is out of the shell's hands. REQUIRES: outstanding() > 0.
  void request_done();
  [[nodiscard]] std::uint32_t outstanding() const noexcept { return outstanding_; }

  // The server is going away: options and requests not yet admitted are refused from now on.
  void stop();
  // The export grew (or shrank) under its clients; requests parsed from now on are checked against `size`.
  // REQUIRES: handshake_done(); a multiple of block_size_min.
  void set_size(ByteCount size);

  [[nodiscard]] bool handshake_done() const noexcept { return handshake_done_; }
  // REQUIRES: handshake_done() (all three).
  [[nodiscard]] const ExportInfo& export_info() const { return negotiation_.export_info(); }
  [[nodiscard]] ReplyForm form() const noexcept { return negotiation_.form(); }
  [[nodiscard]] MetaContextSet contexts() const noexcept { return negotiation_.contexts(); }

 private:
  enum class State : std::uint8_t {
    kClientFlags,
    kOption,
    kSkipOption,
    kListing,
    kOpening,
    kHeader,
    kPayload,
    kDrain,
    kDisconnected,
    kDropped
  };

  static bool may_follow(State from, State to);
  void enter(State to);
  // One step: an event, or nothing if there is more to do.
  std::optional<Event> step();
  std::optional<Event> step_client_flags();
  std::optional<Event> step_option();
  std::optional<Event> step_skip_option();
  std::optional<Event> step_listing();
  std::optional<Event> step_header();
  std::optional<Event> step_drain();
  std::optional<Event> apply(Negotiation::Outcome outcome);
  std::optional<Event> drop(errc reason);
  Event refuse(const Request& request, const Verdict& verdict);
  Verdict judge(const Request& request) const;
  // Answers are produced only into an empty buffer: a client that does not read its answers is not read from.
  ByteWriter begin_output();
  void end_output(const ByteWriter& writer);

  [[nodiscard]] std::span<const std::byte> buffered() const;
  void consume(std::size_t n);

  const Limits limits_;
  Negotiation negotiation_;
  State state_ = State::kClientFlags;
  errc drop_reason_{};
  bool stopping_ = false;
  bool handshake_done_ = false;
  std::uint32_t option_count_ = 0;
  std::uint32_t outstanding_ = 0;
  RequestRules rules_;

  // kSkipOption, kPayload and kDrain: what is still to come. kDrain: whose payload, and the answer after it.
  std::uint64_t remaining_ = 0;
  std::uint32_t skipped_option_ = 0;
  Request current_;
  Verdict verdict_;

  // Invariant: begin <= end <= size. Only receive_space() moves bytes.
  std::vector<std::byte> stash_;
  std::size_t stash_begin_ = 0;
  std::size_t stash_end_ = 0;
  std::vector<std::byte> output_;
  std::size_t output_begin_ = 0;
  std::size_t output_end_ = 0;
};

}  // namespace twinblock::nbd
