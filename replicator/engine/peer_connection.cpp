#include "replicator/engine/peer_connection.hpp"

#include <algorithm>
#include <memory>

#include "base/assert.hpp"
#include "replicator/control/log.hpp"
#include "transport/ring/address.hpp"
#include "transport/ring/error.hpp"

namespace twinblock::engine {
namespace {

constexpr Duration kLeaveTime = Duration::seconds(1);
// A body that fits beside its header needs no memory of its own.
constexpr std::size_t kInlineBody = ring::kSendHeaderMax - wire::kHeaderSize;

ring::StreamOptions stream_options() {
  ring::StreamOptions options;
  options.queue_items = {64, 2048, 2};
  options.role = ring::FileRole::kPeer;
  options.unsent_bytes_max = 256u << 10;  // what waits, waits here, where acknowledgements can pass it
  return options;
}

// Keepalives say that we live, not where we are in the stream. All else keeps its order.
ring::SendClass class_of(wire::Type type) {
  return type == wire::Type::ping || type == wire::Type::pong ? ring::SendClass::kUrgent
                                                              : ring::SendClass::kNormal;
}

std::string path_of(int fd) {
  const auto local = ring::local_address(fd);
  const auto peer = ring::peer_address(fd);
  return (local ? local->text() : "?") + " -> " + (peer ? peer->text() : "?");
}

}  // namespace

PeerConnection::PeerConnection(const ShardContext& shard, PeerConnectionOwner& owner, int fd)
    : shard_{shard},
      owner_{&owner},
      scratch_(wire::kBodySizeMax),
      parser_{scratch_},
      transport_{shard.loop, *this, stream_options()},
      opened_{shard.loop.now()},
      path_{path_of(fd)} {
  transport_.open(fd);
}

PeerConnection::~PeerConnection() {
  TB_ASSERT(transport_.is_idle() && overflow_.empty() && incoming_ == ring::kNoBuffer);
  shard_.waiters.remove(*this);
  shard_.loop.disarm(leave_timer_);
}

// --- receiving ---

void PeerConnection::pump() {
  if (parsing_) return;
  parsing_ = true;
  while (is_open()) {
    auto in = transport_.stash();
    const std::size_t before = in.size();
    const auto event = parser_.feed(in);
    transport_.consume(before - in.size());
    if (!handle(event)) break;
  }
  parsing_ = false;
}

void PeerConnection::on_received(link::Transport&) {
  direct_pending_ = false;
  const auto event = parser_.received(parser_.direct().size());
  const bool nested = parsing_;
  parsing_ = true;
  const bool go_on = handle(event);
  parsing_ = nested;
  if (go_on) pump();
}

bool PeerConnection::handle(wire::Parser::Event event) {
  switch (event) {
    case wire::Parser::Event::need_bytes:
      // Asked for once: resuming after a wait for a buffer may have shown us the stash already.
      if (!parser_.direct().empty() && !direct_pending_) {
        direct_pending_ = true;
        transport_.receive_into(parser_.direct());
      }
      return false;
    case wire::Parser::Event::need_buffer:
      return supply_buffer();
    case wire::Parser::Event::message: {
      const ring::BufferHandle payload = incoming_;
      incoming_ = ring::kNoBuffer;
      owner_->on_peer_message(*this, parser_.header(), parser_.body(), payload);
      return true;
    }
    case wire::Parser::Event::failed:
      control::log_warning("peer.bad_bytes", "closing a replication connection: bad data",
                           {{"path", path_}, {"reason", parser_.error().message()}});
      close(parser_.error());
      return false;
  }
  return false;
}

bool PeerConnection::supply_buffer() {
  if (!payload_accepted_) {
    close(wire::errc::unknown_type);
    return false;
  }
  const std::uint32_t size = parser_.header().wire_length;
  incoming_ = shard_.arena.allocate(ByteCount{size}, ring::BufferUser::kPeer);
  if (incoming_ == ring::kNoBuffer) {
    transport_.pause_receive();
    shard_.waiters.add(*this);
    return false;
  }
  parser_.supply(shard_.arena.bytes(incoming_).first(size));
  return true;
}

void PeerConnection::on_resources() {
  if (!is_open()) return;
  parsing_ = true;
  const bool supplied = supply_buffer();
  parsing_ = false;
  if (!supplied) return;
  transport_.resume_receive();
  pump();
}

// --- sending ---

void PeerConnection::send(const OutgoingMessage& message) {
  if (!is_open()) return;
  wire::Header header = message.header;
  std::span<const std::byte> bytes = message.body;
  if (message.payload != ring::kNoBuffer) {
    bytes = shard_.arena.bytes(message.payload).first(header.wire_length);
    shard_.arena.add_ref(message.payload);
  }
  TB_ASSERT(bytes.size() == header.wire_length);
  if (!bytes.empty()) header.aux = wire::payload_hash(bytes);
  const bool urgent = class_of(header.type) == ring::SendClass::kUrgent;
  if ((urgent || overflow_.empty()) && try_send(header, message.body, message.payload)) return;
  overflow_.push_back({header, {message.body.begin(), message.body.end()}, message.payload});
}

// The reference to the payload is the message's.
bool PeerConnection::try_send(const wire::Header& header, std::span<const std::byte> body,
                              ring::BufferHandle payload) {
  std::array<std::byte, ring::kSendHeaderMax> bytes;
  wire::encode_header(header, std::span{bytes}.first<wire::kHeaderSize>());
  ring::SendItem item;
  item.header = std::span{bytes}.first(wire::kHeaderSize);
  item.context = this;
  std::unique_ptr<std::vector<std::byte>> copy;
  if (payload != ring::kNoBuffer) {
    item.payload = shard_.arena.bytes(payload).first(header.wire_length);
    item.token = payload.value();
    item.sent = &payload_sent;
  } else if (body.size() <= kInlineBody) {
    std::copy(body.begin(), body.end(), bytes.begin() + wire::kHeaderSize);
    item.header = std::span{bytes}.first(wire::kHeaderSize + body.size());
  } else {
    copy = std::make_unique<std::vector<std::byte>>(body.begin(), body.end());
    item.payload = *copy;
    item.token = reinterpret_cast<std::uintptr_t>(copy.get());
    item.sent = &body_sent;
  }
  if (!transport_.send(class_of(header.type), item)) return false;
  // body_sent() deletes it.
  static_cast<void>(copy.release());
  return true;
}

void PeerConnection::drain_overflow() {
  while (!overflow_.empty() && transport_.is_open()) {
    const Overflow& next = overflow_.front();
    if (!try_send(next.header, next.body, next.payload)) return;
    overflow_.pop_front();
  }
}

void PeerConnection::payload_sent(void* context, std::uint64_t token, bool) {
  auto& self = *static_cast<PeerConnection*>(context);
  self.shard_.arena.release(ring::BufferHandle{static_cast<std::uint32_t>(token)});
  self.sent();
}

void PeerConnection::body_sent(void* context, std::uint64_t token, bool) {
  delete reinterpret_cast<std::vector<std::byte>*>(static_cast<std::uintptr_t>(token));
  static_cast<PeerConnection*>(context)->sent();
}

void PeerConnection::sent() {
  if (leaving_ && transport_.is_open() && transport_.queued_bytes() == 0) close(ring::errc::kClosed);
}

void PeerConnection::refuse(std::string_view text) {
  wire::Header header;
  header.type = wire::Type::refuse;
  const std::string_view cut = text.substr(0, wire::kReasonMax);
  header.length = header.wire_length = static_cast<std::uint32_t>(cut.size());
  send({header, std::as_bytes(std::span{cut}), ring::kNoBuffer});
  close_when_sent();
}

// --- the end ---

void PeerConnection::close_when_sent() {
  if (!is_open()) return;
  leaving_ = true;
  transport_.pause_receive();
  // Small messages give no notice when they have left: the timer is the end for them.
  const Duration limit = overflow_.empty() ? kLeaveTime / 5 : kLeaveTime;
  shard_.loop.arm(leave_timer_, shard_.loop.now() + limit);
}

void PeerConnection::on_leave_timeout() {
  close(ring::errc::kClosed);
}

void PeerConnection::close(ErrorCode reason) {
  leaving_ = true;
  if (transport_.is_open()) transport_.close(reason);
}

void PeerConnection::on_closed(link::Transport&, ErrorCode reason) {
  leaving_ = true;
  shard_.loop.disarm(leave_timer_);
  shard_.waiters.remove(*this);
  for (const Overflow& message : overflow_) {
    if (message.payload != ring::kNoBuffer) shard_.arena.release(message.payload);
  }
  overflow_.clear();
  if (incoming_ != ring::kNoBuffer) shard_.arena.release(incoming_);
  incoming_ = ring::kNoBuffer;
  owner_->on_peer_closed(*this, reason);
}

}  // namespace twinblock::engine
