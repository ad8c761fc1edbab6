#include "replicator/engine/nbd_connection.hpp"

#include <poll.h>

#include <algorithm>
#include <cstring>

#include "base/assert.hpp"
#include "base/overloaded.hpp"
#include "replicator/control/log.hpp"
#include "transport/nbd/reply.hpp"
#include "transport/ring/error.hpp"

namespace twinblock::engine {
namespace {

constexpr std::uint64_t kLastItem = 1ull << 63;
constexpr std::uint64_t kOutputItem = 1ull << 62;
constexpr std::size_t kTextMax = 200;  // a reply with it fits ring::kSendHeaderMax in every form

ring::StreamOptions stream_options() {
  ring::StreamOptions options;
  options.queue_items = {2, 512, 2};
  options.role = ring::FileRole::kNbd;
  // A TCP client whose host died says nothing any more: it would hold its place, and count as a client that
  // a demote refuses to drop, for ever.
  options.keepalive_s = 60;
  options.user_timeout_ms = 120'000;
  return options;
}

nbd::Status to_nbd(core::Status status) {
  switch (status) {
    case core::Status::ok:
      return nbd::Status::kOk;
    case core::Status::io_error:
      return nbd::Status::kIo;
    case core::Status::no_space:
      return nbd::Status::kNoSpace;
    case core::Status::shutdown:
    case core::Status::cancelled:
    case core::Status::not_source:
      return nbd::Status::kShutdown;
  }
  return nbd::Status::kIo;
}

// From `offset` on: up to the end of the request, of the extent, and `limit`.
ByteCount piece_length(ByteRange request, std::uint64_t done, ByteCount limit) {
  const std::uint64_t at = request.offset.value() + done;
  const std::uint64_t to_extent_end = kExtentSize.value() - at % kExtentSize.value();
  return ByteCount{std::min({request.length.value() - done, to_extent_end, limit.value()})};
}

ByteRange sub_range(ByteRange request, std::uint64_t done, ByteCount length) {
  return {request.offset + ByteCount{done}, length};
}

}  // namespace

NbdConnection::NbdConnection(const ShardContext& shard, NbdConnectionOwner& owner,
                             const nbd::ExportCatalog& catalog, const nbd::Limits& limits, int fd)
    : shard_{shard},
      owner_{owner},
      session_{catalog, limits},
      socket_{shard.loop, *this, stream_options()},
      opened_{shard.loop.now()},
      requests_{std::make_unique<std::array<ClientRequest, kRequestCount>>()} {
  TB_ASSERT(limits.in_flight_max <= kRequestCount);
  for (std::uint32_t i = kRequestCount; i > 0; --i) free_requests_.push_back(i - 1);
  socket_.open(fd);
  pump();  // the server speaks first
}

NbdConnection::~NbdConnection() {
  TB_ASSERT(finished_);
  shard_.waiters.remove(*this);
}

// --- socket ---

void NbdConnection::on_data(ring::StreamSocket&) {
  pump();
}

void NbdConnection::on_received(ring::StreamSocket&) {
  TB_ASSERT(payload_direct_);
  payload_direct_ = false;
  session_.payload_received(payload_size_ - payload_filled_);
  payload_filled_ = payload_size_;
  // Not whole when we began to stop: it must not start now. The socket may be closing already, which leaves
  // no place for its answer.
  if (draining_) return update_pause();
  if (submit_write_piece()) pump();
}

void NbdConnection::on_end(ring::StreamSocket& socket, bool truncated) {
  socket.close(truncated ? ring::errc::kTruncated : ring::errc::kEndOfStream);
}

void NbdConnection::on_closed(ring::StreamSocket&, ErrorCode reason) {
  if (reason != ring::errc::kClosed && reason != ring::errc::kEndOfStream) {
    control::log_info("nbd.closed", "an NBD connection ended", {{"reason", reason.message()}});
  }
  gone_ = true;
  payload_direct_ = false;
  release_payload();
  if (writing_ != kNone) {
    (*requests_)[writing_].whole = true;
    (*requests_)[writing_].status = nbd::Status::kShutdown;
  }
  const std::uint32_t half_written = writing_;
  const std::uint32_t half_started = blocked_;
  writing_ = blocked_ = kNone;
  starved_zeroes_.clear();
  cancel_pieces();
  for (const std::uint32_t index : waiting_answers_) retire(index);
  waiting_answers_.clear();
  if (half_started != kNone) (*requests_)[half_started].whole = true;
  for (std::uint32_t i = 0; i < kRequestCount; ++i) {
    ClientRequest& r = (*requests_)[i];
    if (r.used && !r.whole && r.request.command != nbd::Command::kRead) r.whole = true;
  }
  if (half_written != kNone) complete_if_done(half_written);
  if (half_started != kNone && half_started != half_written) complete_if_done(half_started);
  check_finished();
}

void NbdConnection::stop() {
  if (gone_ || draining_) return;
  session_.stop();
  draining_ = true;
  update_pause();
  check_drained();
}

void NbdConnection::abort() {
  if (socket_.is_open()) socket_.close(ring::errc::kClosed);
}

void NbdConnection::check_deadlines(Instant now, Duration handshake_max, Duration stall_max) {
  if (!socket_.is_open()) return;
  const bool late = !session_.handshake_done() && opened_ + handshake_max < now;
  const bool stalled = socket_.queued_bytes() > 0 && socket_.last_sent() + stall_max < now;
  // It holds a buffer that all clients of all mirrors share (P13).
  const bool withheld = payload_direct_ && socket_.last_received() + stall_max < now;
  if (late || stalled || withheld) {
    control::log_info("nbd.deadline", late      ? "a client did not finish the handshake in time"
                                      : stalled ? "a client does not take its answers"
                                                : "a client does not send the data of its write");
    socket_.close(ring::errc::kTimedOut);
  } else if (socket_.receive_paused() && client_hung_up()) {
    socket_.close(ring::errc::kEndOfStream);
  }
}

// A paused socket does not notice the end by itself. What such a client left behind must not start: it may
// have sent it again elsewhere.
bool NbdConnection::client_hung_up() const {
  pollfd fd{socket_.fd(), POLLRDHUP, 0};
  return poll(&fd, 1, 0) > 0 && (fd.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

// --- session ---

void NbdConnection::pump() {
  if (pumping_ || !socket_.is_open()) return;
  pumping_ = true;
  busy_ = false;
  while (socket_.is_open() && !draining_ && blocked_ == kNone && !payload_direct_ && !output_in_flight_) {
    if (!handle(session_.next())) break;
  }
  pumping_ = false;
  update_pause();
}

void NbdConnection::update_pause() {
  if (!socket_.is_open() || pumping_) return;
  const bool stop_reading = busy_ || blocked_ != kNone || output_in_flight_ || draining_;
  if (stop_reading && !payload_direct_) {
    socket_.pause_receive();
  } else {
    socket_.resume_receive();
  }
}

bool NbdConnection::handle(const nbd::Event& event) {
  return std::visit(overloaded{
                        [&](const nbd::NeedBytes&) { return feed_session(); },
                        [&](const nbd::NeedPayload&) { return receive_payload(); },
                        [&](const nbd::SendOutput&) { return send_output(); },
                        [&](const nbd::Opened&) {
                          export_ = owner_.export_of(session_.export_info());
                          if (export_ == nullptr) abort();
                          return export_ != nullptr;
                        },
                        [&](const nbd::Admitted& admitted) { return admit(admitted.request); },
                        [&](const nbd::Refused& refused) {
                          refuse(refused);
                          return true;
                        },
                        [&](const nbd::Busy&) {
                          busy_ = true;
                          return false;
                        },
                        [&](const nbd::Disconnect&) {
                          draining_ = true;
                          check_drained();
                          return false;
                        },
                        [&](const nbd::Drop& drop) {
                          control::log_info("nbd.dropped", "an NBD client was dropped",
                                            {{"reason", nbd::make_error_code(drop.reason).message()}});
                          socket_.close(nbd::make_error_code(drop.reason));
                          return false;
                        },
                    },
                    event);
}

bool NbdConnection::feed_session() {
  const auto stash = socket_.stash();
  if (stash.empty()) return false;
  const auto space = session_.receive_space();
  const std::size_t count = std::min(stash.size(), space.size());
  std::memcpy(space.data(), stash.data(), count);
  socket_.consume(count);
  session_.received(count);
  return true;
}

bool NbdConnection::send_output() {
  const auto output = session_.output();
  output_size_ = output.size();
  output_in_flight_ =
      socket_.send(ring::SendClass::kNormal, {{}, output, &sent_callback, this, kOutputItem, false});
  return false;
}

std::uint32_t NbdConnection::free_request() {
  TB_ASSERT(!free_requests_.empty());
  const std::uint32_t index = free_requests_.back();
  free_requests_.pop_back();
  ClientRequest& r = (*requests_)[index];
  r.used = true;
  r.whole = false;
  r.status = nbd::Status::kOk;
  r.pending = r.piece_count = r.submitted = 0;
  r.done = 0;
  return index;
}

bool NbdConnection::admit(const nbd::Request& request) {
  const std::uint32_t index = free_request();
  (*requests_)[index].request = request;
  if (start(index) == Start::kStarted) return true;
  block(index);
  return false;
}

void NbdConnection::block(std::uint32_t index) {
  TB_ASSERT(blocked_ == kNone);
  blocked_ = index;
  shard_.waiters.add(*this);
}

void NbdConnection::on_resources() {
  if (!socket_.is_open()) return;
  if (client_hung_up()) {
    socket_.close(ring::errc::kEndOfStream);
    return;
  }
  std::deque<std::uint32_t> starved;
  starved.swap(starved_zeroes_);
  for (const std::uint32_t index : starved) {
    submit_zeroes(index);
    complete_if_done(index);
  }
  // A stopping connection does not wait for what has not started (check_drained), nor may it start late.
  if (blocked_ == kNone || draining_) return;
  const std::uint32_t index = blocked_;
  blocked_ = kNone;
  if (index == writing_) {
    if (payload_ != ring::kNoBuffer && !submit_write_piece()) return;
  } else if (start(index) == Start::kBlocked) {
    block(index);
    return;
  }
  pump();
}

NbdConnection::Start NbdConnection::start(std::uint32_t index) {
  ClientRequest& r = (*requests_)[index];
  const nbd::Request& q = r.request;
  switch (q.command) {
    case nbd::Command::kRead:
      return start_read(index);
    case nbd::Command::kWrite:
      writing_ = index;  // NeedPayload follows
      return Start::kStarted;
    case nbd::Command::kTrim:
    case nbd::Command::kWriteZeroes:
      if (q.has(nbd::kCommandFastZero)) {
        // Whether zeroing is fast on every replica is not known: the answer that the flag allows.
        r.status = nbd::Status::kNotSupported;
        r.whole = true;
      } else {
        submit_zeroes(index);
        if (!r.whole && r.pending == 0) return Start::kBlocked;
      }
      break;
    case nbd::Command::kFlush: {
      const Piece piece{PieceVerb::kFlush, false, false, {}, {}};
      r.piece_count = 1;
      if (!submit_piece(index, 0, piece)) return Start::kBlocked;
      ++export_->counters().flushes;
      r.whole = true;
      break;
    }
    case nbd::Command::kBlockStatus:
      answer_status(index);
      return Start::kStarted;
    case nbd::Command::kCache:
    case nbd::Command::kDisconnect:
      r.whole = true;
      break;
  }
  complete_if_done(index);
  return Start::kStarted;
}

// All buffers or none: half a read that waits for the other half of another one would never end.
NbdConnection::Start NbdConnection::start_read(std::uint32_t index) {
  ClientRequest& r = (*requests_)[index];
  const ByteRange range = r.request.range();
  if (r.piece_count == 0) {
    std::uint64_t done = 0;
    std::uint32_t count = 0;
    while (done < range.length.value()) {
      TB_ASSERT(count < kPiecesMax);
      PieceRef& p = r.pieces[count];
      const ByteCount length = piece_length(range, done, core::kPieceMax);
      p.buffer = shard_.arena.allocate(length, ring::BufferUser::kApplication, export_->buffer_owner());
      if (p.buffer == ring::kNoBuffer) {
        for (std::uint32_t i = 0; i < count; ++i) shard_.arena.release(r.pieces[i].buffer);
        return Start::kBlocked;
      }
      p.running = false;
      p.length = static_cast<std::uint32_t>(length.value());
      done += length.value();
      ++count;
    }
    r.piece_count = count;
  }
  while (r.submitted < r.piece_count) {
    PieceRef& p = r.pieces[r.submitted];
    const Piece piece{PieceVerb::kRead, false, false, sub_range(range, r.done, ByteCount{p.length}),
                      p.buffer};
    const std::uint32_t at = r.submitted++;
    r.done += p.length;
    if (!submit_piece(index, at, piece)) {
      --r.submitted;
      r.done -= p.length;
      return Start::kBlocked;
    }
  }
  ++export_->counters().reads;
  export_->counters().read_bytes += range.length.value();
  r.whole = true;
  complete_if_done(index);
  return Start::kStarted;
}

// A request of gigabytes proceeds a few extents at a time and holds no range for long.
void NbdConnection::submit_zeroes(std::uint32_t index) {
  ClientRequest& r = (*requests_)[index];
  const nbd::Request& q = r.request;
  if (!r.used || r.whole) return;
  r.piece_count = 0;  // no buffers to give back
  while (!gone_ && r.status == nbd::Status::kOk && r.done < q.length.value()) {
    std::uint32_t at = 0;
    while (at < kZeroWindow && r.pieces[at].running) ++at;
    if (at == kZeroWindow) return;
    const ByteCount length = piece_length(q.range(), r.done, kExtentSize);
    const bool unmap = q.command == nbd::Command::kTrim || !q.has(nbd::kCommandNoHole);
    const Piece piece{
        PieceVerb::kZero, q.has(nbd::kCommandFua), unmap, sub_range(q.range(), r.done, length), {}};
    r.done += length.value();
    if (!submit_piece(index, at, piece)) {
      r.done -= length.value();
      if (r.pending == 0 && blocked_ != index && r.done > 0) {
        starved_zeroes_.push_back(index);
        shard_.waiters.add(*this);
      }
      return;
    }
  }
  r.whole = true;
}

bool NbdConnection::receive_payload() {
  TB_ASSERT(writing_ != kNone);
  ClientRequest& r = (*requests_)[writing_];
  if (payload_ == ring::kNoBuffer) {
    const ByteCount length = piece_length(r.request.range(), r.done, core::kPieceMax);
    payload_ = shard_.arena.allocate(length, ring::BufferUser::kApplication, export_->buffer_owner());
    if (payload_ == ring::kNoBuffer) {
      block(writing_);
      return false;
    }
    payload_size_ = static_cast<std::uint32_t>(length.value());
    payload_filled_ = 0;
  }
  const auto buffer = shard_.arena.bytes(payload_).first(payload_size_);
  payload_filled_ += static_cast<std::uint32_t>(session_.take_payload(buffer.subspan(payload_filled_)));
  if (payload_filled_ == payload_size_) return submit_write_piece();
  payload_direct_ = true;
  socket_.receive_into(buffer.subspan(payload_filled_));
  // Outside of a handler the bytes may have come at once from the socket's stash.
  return !payload_direct_;
}

bool NbdConnection::submit_write_piece() {
  const std::uint32_t index = writing_;
  ClientRequest& r = (*requests_)[index];
  const ByteRange range = sub_range(r.request.range(), r.done, ByteCount{payload_size_});
  const Piece piece{PieceVerb::kWrite, r.request.has(nbd::kCommandFua), false, range, payload_};
  const std::uint32_t at = r.submitted;
  TB_ASSERT(at < kPiecesMax);
  if (!submit_piece(index, at, piece)) {
    block(index);
    update_pause();
    return false;
  }
  payload_ = ring::kNoBuffer;
  r.done += payload_size_;
  ++r.submitted;
  if (r.done < r.request.length.value()) return true;
  ++export_->counters().writes;
  export_->counters().written_bytes += r.done;
  r.whole = true;
  writing_ = kNone;
  complete_if_done(index);
  return true;
}

bool NbdConnection::submit_piece(std::uint32_t index, std::uint32_t at, const Piece& piece) {
  ClientRequest& r = (*requests_)[index];
  PieceRef& p = r.pieces[at];
  if (piece.verb != PieceVerb::kRead) p.buffer = ring::kNoBuffer;
  p.running = true;
  ++r.pending;
  ++pieces_pending_;
  const ring::BufferHandle kept = p.buffer;
  p.buffer = ring::kNoBuffer;
  const auto id = export_->submit(piece, *this, index << 8 | at);
  if (!id) {
    p.buffer = kept;
    p.running = false;
    --r.pending;
    --pieces_pending_;
    return false;
  }
  if (p.running) p.id = *id;
  return true;
}

void NbdConnection::on_piece_done(std::uint32_t token, core::Status status, ring::BufferHandle buffer) {
  const std::uint32_t index = token >> 8;
  ClientRequest& r = (*requests_)[index];
  PieceRef& p = r.pieces[token & 0xff];
  TB_ASSERT(r.used && p.running && r.pending > 0);
  p.running = false;
  p.buffer = buffer;
  --r.pending;
  --pieces_pending_;
  if (status != core::Status::ok && r.status == nbd::Status::kOk) r.status = to_nbd(status);
  const bool zeroes =
      r.request.command == nbd::Command::kTrim || r.request.command == nbd::Command::kWriteZeroes;
  if (zeroes && !r.whole && blocked_ != index) submit_zeroes(index);
  complete_if_done(index);
  check_finished();
}

void NbdConnection::cancel_pieces() {
  if (export_ == nullptr) return;
  for (ClientRequest& r : *requests_) {
    for (std::uint32_t i = 0; r.used && i < kPiecesMax; ++i) {
      if (r.pieces[i].running) export_->cancel(r.pieces[i].id);
    }
  }
}

// --- answers ---

void NbdConnection::complete_if_done(std::uint32_t index) {
  ClientRequest& r = (*requests_)[index];
  if (!r.used || !r.whole || r.pending > 0) return;
  if (!socket_.is_open()) {
    retire(index);
    return;
  }
  waiting_answers_.push_back(index);
  answer_waiting();
}

void NbdConnection::answer_waiting() {
  while (!waiting_answers_.empty() && socket_.is_open()) {
    const std::uint32_t index = waiting_answers_.front();
    const ClientRequest& r = (*requests_)[index];
    const bool read = r.request.command == nbd::Command::kRead && r.status == nbd::Status::kOk;
    const std::size_t items = read ? r.piece_count : 1;
    if (socket_.free_items(ring::SendClass::kNormal) < items) return;  // item_sent() comes back here
    waiting_answers_.pop_front();
    answer(index);
  }
}

void NbdConnection::answer(std::uint32_t index) {
  ClientRequest& r = (*requests_)[index];
  if (r.request.command == nbd::Command::kRead && r.status == nbd::Status::kOk) {
    answer_read(index);
    return;
  }
  std::array<std::byte, nbd::kReplySizeMax> bytes;
  const std::size_t size = nbd::encode_reply(r.request, r.status, {}, bytes);
  send_reply(index, std::span{bytes}.first(size));
}

void NbdConnection::send_reply(std::uint32_t index, std::span<const std::byte> bytes) {
  ++sending_;
  const bool queued = socket_.send(ring::SendClass::kNormal,
                                   {bytes, {}, &sent_callback, this, kLastItem | index << 8, false});
  TB_ASSERT(queued);
}

void NbdConnection::answer_read(std::uint32_t index) {
  ClientRequest& r = (*requests_)[index];
  std::array<std::byte, nbd::kReplySizeMax> header;
  const std::size_t size = nbd::encode_reply(r.request, nbd::Status::kOk, {}, header);
  ++sending_;
  for (std::uint32_t i = 0; i < r.piece_count; ++i) {
    const bool last = i + 1 == r.piece_count;
    const auto payload = shard_.arena.bytes(r.pieces[i].buffer).first(r.pieces[i].length);
    const auto head = i == 0 ? std::span<const std::byte>{header}.first(size) : std::span<const std::byte>{};
    const bool queued =
        socket_.send(ring::SendClass::kNormal,
                     {head, payload, last ? &sent_callback : nullptr, this, kLastItem | index << 8, !last});
    TB_ASSERT(queued);
  }
}

// One chunk per context, into one buffer; a client asks again for what did not fit.
void NbdConnection::answer_status(std::uint32_t index) {
  ClientRequest& r = (*requests_)[index];
  const ring::BufferHandle buffer =
      shard_.arena.allocate(ByteCount{64u << 10}, ring::BufferUser::kApplication, export_->buffer_owner());
  if (buffer == ring::kNoBuffer) {
    r.status = nbd::Status::kNoMemory;
    r.whole = true;
    complete_if_done(index);
    return;
  }
  const auto bytes = shard_.arena.bytes(buffer).first(64u << 10);
  const bool both = session_.contexts().contains(nbd::MetaContext::kAllocation) &&
                    session_.contexts().contains(nbd::MetaContext::kDirty);
  std::size_t size = 0;
  std::vector<nbd::StatusExtent> extents;
  if (session_.contexts().contains(nbd::MetaContext::kAllocation)) {
    extents.push_back({r.request.length, 0});  // data: always true
    size += nbd::encode_block_status(r.request, {nbd::MetaContext::kAllocation, extents, !both},
                                     bytes.first(nbd::block_status_size(1)));
  }
  if (session_.contexts().contains(nbd::MetaContext::kDirty)) {
    extents.clear();
    export_->dirty_extents(r.request.range(), 2048, extents);
    size +=
        nbd::encode_block_status(r.request, {nbd::MetaContext::kDirty, extents, true}, bytes.subspan(size));
  }
  r.pieces[0].buffer = buffer;
  r.piece_count = 1;
  r.whole = true;
  ++sending_;
  const bool queued = socket_.send(
      ring::SendClass::kNormal, {{}, bytes.first(size), &sent_callback, this, kLastItem | index << 8, false});
  TB_ASSERT(queued);
}

void NbdConnection::refuse(const nbd::Refused& refused) {
  const std::uint32_t index = free_request();
  ClientRequest& r = (*requests_)[index];
  r.request = refused.request;
  r.status = refused.status;
  r.whole = true;
  if (socket_.free_items(ring::SendClass::kNormal) == 0) {
    waiting_answers_.push_back(index);
    return;
  }
  std::array<std::byte, nbd::kReplySizeMax> bytes;
  const std::size_t size =
      nbd::encode_reply(refused.request, refused.status, refused.text.substr(0, kTextMax), bytes);
  send_reply(index, std::span{bytes}.first(size));
}

void NbdConnection::sent_callback(void* context, std::uint64_t token, bool) {
  static_cast<NbdConnection*>(context)->item_sent(token);
}

void NbdConnection::item_sent(std::uint64_t token) {
  if ((token & kOutputItem) != 0) {
    output_in_flight_ = false;
    session_.output_sent(output_size_);
  } else {
    --sending_;
    retire(static_cast<std::uint32_t>(token >> 8) & 0xff);
    answer_waiting();
    check_drained();
  }
  check_finished();
  pump();
}

void NbdConnection::release_payload() {
  if (payload_ != ring::kNoBuffer) shard_.arena.release(payload_);
  payload_ = ring::kNoBuffer;
}

void NbdConnection::retire(std::uint32_t index) {
  ClientRequest& r = (*requests_)[index];
  TB_ASSERT(r.used && r.pending == 0);
  for (std::uint32_t i = 0; i < kPiecesMax && i < r.piece_count; ++i) {
    if (r.pieces[i].buffer != ring::kNoBuffer) shard_.arena.release(r.pieces[i].buffer);
    r.pieces[i].buffer = ring::kNoBuffer;
  }
  r.used = false;
  r.piece_count = 0;
  free_requests_.push_back(index);
  session_.request_done();
}

void NbdConnection::check_drained() {
  if (!draining_ || !socket_.is_open()) return;
  const std::uint32_t half_received = writing_ == kNone && blocked_ == kNone ? 0u : 1u;
  if (session_.outstanding() <= half_received) socket_.close_when_sent();
}

void NbdConnection::check_finished() {
  if (finished_ || !gone_ || !socket_.is_idle() || pieces_pending_ > 0 || sending_ > 0) return;
  finished_ = true;
  shard_.waiters.remove(*this);
  owner_.on_connection_finished(*this);
}

}  // namespace twinblock::engine
