// One TCP connection of the replication protocol, before and after it is known whose it is. Parses what
// arrives (payloads straight into arena buffers, hashes checked before anybody sees them) and sends what it
// is given, in order. A bad byte closes it: the stream has no place to start again.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "replicator/engine/shard_context.hpp"
#include "transport/link/plain_transport.hpp"
#include "transport/wire/parser.hpp"

namespace twinblock::engine {

class PeerConnection;

class PeerConnectionOwner {
 public:
  // `payload`: a reference that is the owner's from here; kNoBuffer for messages without mirror data.
  virtual void on_peer_message(PeerConnection& connection, const wire::Header& header,
                               std::span<const std::byte> body, ring::BufferHandle payload) = 0;
  // Once; nothing is in flight any more. May be destroyed, though not from inside this call.
  virtual void on_peer_closed(PeerConnection& connection, ErrorCode reason) = 0;

 protected:
  ~PeerConnectionOwner() = default;
};

struct OutgoingMessage {
  wire::Header header;              // aux of a body or payload is filled in
  std::span<const std::byte> body;  // copied
  ring::BufferHandle payload;       // takes a reference of its own
};

class PeerConnection final : private link::TransportHandler, private Waiter {
 public:
  PeerConnection(const ShardContext& shard, PeerConnectionOwner& owner, int fd);
  ~PeerConnection() override;
  PeerConnection(const PeerConnection&) = delete;
  PeerConnection& operator=(const PeerConnection&) = delete;

  void set_owner(PeerConnectionOwner& owner) { owner_ = &owner; }
  // Until then a message with mirror data is an error: it would take buffers for a stranger.
  void accept_payload() { payload_accepted_ = true; }
  void send(const OutgoingMessage& message);
  // Sends a refusal with this text for the other side's log, then closes.
  void refuse(std::string_view text);
  // Reads no more; closes when what is queued has left, or after a second.
  void close_when_sent();
  void close(ErrorCode reason);

  [[nodiscard]] bool is_open() const noexcept { return transport_.is_open() && !leaving_; }
  [[nodiscard]] Instant opened() const noexcept { return opened_; }
  // "local address -> peer address".
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  struct Overflow {
    wire::Header header;
    std::vector<std::byte> body;
    ring::BufferHandle payload;
  };

  void on_data(link::Transport&) override { pump(); }
  void on_received(link::Transport&) override;
  void on_writable(link::Transport&) override { drain_overflow(); }
  void on_closed(link::Transport&, ErrorCode reason) override;
  void on_resources() override;
  void on_leave_timeout();

  void pump();
  // False: wait for something.
  bool handle(wire::Parser::Event event);
  bool supply_buffer();
  bool try_send(const wire::Header& header, std::span<const std::byte> body, ring::BufferHandle payload);
  void drain_overflow();
  void sent();
  static void payload_sent(void* context, std::uint64_t token, bool taken);
  static void body_sent(void* context, std::uint64_t token, bool taken);

  ShardContext shard_;
  PeerConnectionOwner* owner_;
  std::vector<std::byte> scratch_;
  wire::Parser parser_;
  link::PlainTransport transport_;
  Instant opened_;
  std::string path_;
  std::deque<Overflow> overflow_;  // beyond the socket's queue; bounded by the core's windows
  ring::BufferHandle incoming_;
  bool payload_accepted_ = false;
  bool parsing_ = false;
  bool direct_pending_ = false;  // a receive straight into the payload buffer is under way
  bool leaving_ = false;
  ring::MethodTimer<PeerConnection, &PeerConnection::on_leave_timeout> leave_timer_{this};
};

}  // namespace twinblock::engine
