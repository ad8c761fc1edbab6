#include "transport/ring/stream.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

#include "transport/ring/error.hpp"

namespace twinblock::ring {
namespace {

// One sendmsg takes no more than about this: what is urgent waits behind it.
constexpr std::uint64_t kGatherBytes = 512u << 10;

void set_option(int fd, int level, int name, std::uint32_t value) {
  const int number = static_cast<int>(value);
  // Best effort: these tune, the protocol does not depend on them.
  setsockopt(fd, level, name, &number, sizeof number);
}

}  // namespace

void StreamHandler::on_end(StreamSocket& socket, bool truncated) {
  socket.close(truncated ? errc::kTruncated : errc::kEndOfStream);
}

StreamSocket::StreamSocket(Loop& loop, StreamHandler& handler, const StreamOptions& options)
    : loop_{loop}, handler_{handler}, options_{options}, stash_{std::make_unique<std::byte[]>(kStashBytes)} {
  for (std::size_t i = 0; i < kSendClassCount; ++i) {
    TB_ASSERT(std::has_single_bit(options.queue_items[i]));
    queues_[i].capacity = options.queue_items[i];
    queues_[i].items = std::make_unique<Queued[]>(options.queue_items[i]);
  }
}

StreamSocket::~StreamSocket() {
  TB_ASSERT(state_ == State::kIdle);
}

void StreamSocket::open(int fd, std::span<const std::byte> early) {
  TB_ASSERT(state_ == State::kIdle && fd >= 0 && early.size() <= kStashBytes);
  set_options(fd);
  file_ = File{fd, -1};  // not registered: Loop::register_file
  file_.role = options_.role;
  state_ = State::kOpen;
  reason_ = ErrorCode{};
  if (!early.empty()) std::memcpy(stash_.get(), early.data(), early.size());
  stash_begin_ = 0;
  stash_end_ = early.size();
  direct_ = {};
  direct_filled_ = 0;
  fresh_ = !early.empty();
  ended_ = end_shown_ = paused_ = close_when_sent_ = shutdown_when_sent_ = false;
  open_message_ = nullptr;
  queued_bytes_ = sent_bytes_ = received_bytes_ = 0;
  last_sent_ = last_received_ = loop_.now();
  if (fresh_)
    schedule_turn_end();
  else
    start_receive();
}

void StreamSocket::set_options(int fd) const {
  const int flags = fcntl(fd, F_GETFL);
  // The ring polls by itself for sockets in blocking mode; others only ever answer EAGAIN.
  if (flags >= 0 && (flags & O_NONBLOCK) != 0) fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
  if (options_.send_buffer_bytes > 0) set_option(fd, SOL_SOCKET, SO_SNDBUF, options_.send_buffer_bytes);
  int domain = 0;
  socklen_t length = sizeof domain;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0) return;
  if (domain != AF_INET && domain != AF_INET6) return;
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (options_.user_timeout_ms > 0) set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, options_.user_timeout_ms);
  if (options_.keepalive_s > 0) {
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, options_.keepalive_s);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, std::max(1u, options_.keepalive_s / 4));
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
  }
  if (options_.unsent_bytes_max > 0)
    set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, options_.unsent_bytes_max);
}

// --- receiving ---

void StreamSocket::consume(std::size_t count) {
  TB_ASSERT(count <= stash_end_ - stash_begin_);
  stash_begin_ += count;
}

void StreamSocket::receive_into(std::span<std::byte> into) {
  TB_ASSERT(direct_.empty() && !into.empty());
  if (state_ != State::kOpen) return;
  direct_ = into;
  direct_filled_ = 0;
  pump();
}

void StreamSocket::resume_receive() {
  if (!paused_) return;
  paused_ = false;
  fresh_ = stash_begin_ != stash_end_;
  pump();
}

void StreamSocket::fill_direct_from_stash() {
  // Bytes of a receive that is under way into direct_ would come after these: there are none then, because
  // the stash was empty when it began and it fills direct_ first.
  const std::size_t count = std::min(direct_.size() - direct_filled_, stash_end_ - stash_begin_);
  if (count == 0) return;
  std::memcpy(direct_.data() + direct_filled_, stash_.get() + stash_begin_, count);
  direct_filled_ += count;
  stash_begin_ += count;
}

// Shows the handler what there is, as far as it wants to see it, then receives more.
void StreamSocket::pump() {
  if (pumping_) return;
  pumping_ = true;
  while (state_ == State::kOpen && !paused_) {
    if (!direct_.empty()) {
      fill_direct_from_stash();
      if (direct_filled_ < direct_.size()) break;
      direct_ = {};
      fresh_ = stash_begin_ != stash_end_;
      handler_.on_received(*this);
    } else if (fresh_) {
      fresh_ = false;
      handler_.on_data(*this);
    } else {
      break;
    }
  }
  pumping_ = false;
  if (state_ != State::kOpen || paused_) return;
  if (ended_)
    show_end();
  else
    start_receive();
}

void StreamSocket::show_end() {
  if (end_shown_) return;
  end_shown_ = true;
  handler_.on_end(*this, !direct_.empty() || stash_begin_ != stash_end_);
}

void StreamSocket::start_receive() {
  if (receive_op_.in_flight()) return;
  if (stash_begin_ == stash_end_) {
    stash_begin_ = stash_end_ = 0;
  } else if (stash_end_ > kStashBytes / 2 && stash_begin_ > 0) {
    std::memmove(stash_.get(), stash_.get() + stash_begin_, stash_end_ - stash_begin_);
    stash_end_ -= stash_begin_;
    stash_begin_ = 0;
  }
  std::size_t count = 0;
  receiving_direct_ = direct_.size() - direct_filled_;
  if (direct_.empty()) receiving_direct_ = 0;
  if (receiving_direct_ > 0) {
    receive_vectors_[count++] = iovec{direct_.data() + direct_filled_, receiving_direct_};
  }
  if (stash_end_ < kStashBytes) {
    receive_vectors_[count++] = iovec{stash_.get() + stash_end_, kStashBytes - stash_end_};
  }
  if (count == 0) {
    close(errc::kStashOverflow);
    return;
  }
  loop_.receive(receive_op_, file_, std::span{receive_vectors_}.first(count));
}

void StreamSocket::on_receive(int result) {
  if (state_ != State::kOpen) {
    finish_close();
    return;
  }
  if (result < 0) {
    close(system_error(result));
    return;
  }
  if (result == 0) {
    ended_ = true;
  } else {
    const auto count = static_cast<std::size_t>(result);
    const std::size_t to_direct = std::min(count, receiving_direct_);
    direct_filled_ += to_direct;
    stash_end_ += count - to_direct;
    fresh_ = fresh_ || count > to_direct;
    received_bytes_ += count;
    last_received_ = loop_.now();
  }
  pump();
}

// --- sending ---

std::size_t StreamSocket::free_items(SendClass send_class) const noexcept {
  const Queue& queue = queues_[static_cast<std::size_t>(send_class)];
  return queue.capacity - static_cast<std::size_t>(queue.tail - queue.head);
}

bool StreamSocket::send(SendClass send_class, const SendItem& item) {
  TB_ASSERT(item.header.size() <= kSendHeaderMax && item.header.size() + item.payload.size() > 0);
  if (state_ != State::kOpen || close_when_sent_ || shutdown_when_sent_) return false;
  Queue& queue = queues_[static_cast<std::size_t>(send_class)];
  if (queue.tail - queue.head == queue.capacity) {
    queue.refused = true;
    return false;
  }
  Queued& queued = queue.at(queue.tail++);
  if (!item.header.empty()) std::memcpy(queued.header.data(), item.header.data(), item.header.size());
  queued.header_size = static_cast<std::uint32_t>(item.header.size());
  queued.more = item.more;
  queued.payload = item.payload;
  queued.sent = item.sent;
  queued.context = item.context;
  queued.token = item.token;
  queued_bytes_ += item.header.size() + item.payload.size();
  schedule_turn_end();
  return true;
}

void StreamSocket::schedule_turn_end() {
  if (!turn_end_op_.in_flight()) loop_.defer_to_turn_end(turn_end_op_);
}

void StreamSocket::on_turn_end(int) {
  if (state_ != State::kOpen) {
    finish_close();
    return;
  }
  if (fresh_) pump();
  if (state_ == State::kOpen && !send_op_.in_flight()) start_send();
}

StreamSocket::Queue* StreamSocket::next_queue() {
  const auto waits = [](const Queue& queue) { return queue.gathered < queue.tail; };
  if (open_message_ != nullptr) return waits(*open_message_) ? open_message_ : nullptr;
  const auto found = std::find_if(queues_.begin(), queues_.end(), waits);
  return found == queues_.end() ? nullptr : &*found;
}

void StreamSocket::gather(Queue& queue) {
  Queued& item = queue.at(queue.gathered++);
  if (item.header_size > 0) vectors_[vector_count_++] = iovec{item.header.data(), item.header_size};
  if (!item.payload.empty()) {
    vectors_[vector_count_++] = iovec{const_cast<std::byte*>(item.payload.data()), item.payload.size()};
  }
  gathered_bytes_ += item.header_size + item.payload.size();
  open_message_ = item.more ? &queue : nullptr;
}

void StreamSocket::start_send() {
  vector_count_ = 0;
  gathered_bytes_ = 0;
  while (vector_count_ + 2 <= kVectorsMax && gathered_bytes_ < kGatherBytes) {
    Queue* queue = next_queue();
    if (queue == nullptr) break;
    gather(*queue);
  }
  if (vector_count_ > 0)
    loop_.send(send_op_, file_, std::span{vectors_}.first(vector_count_));
  else
    all_sent();
}

void StreamSocket::all_sent() {
  if (queued_bytes_ > 0) return;
  if (close_when_sent_) {
    close(errc::kClosed);
  } else if (shutdown_when_sent_) {
    ::shutdown(file_.fd, SHUT_WR);
  }
}

void StreamSocket::on_sent(int result) {
  if (result > 0) {
    sent_bytes_ += gathered_bytes_;
    queued_bytes_ -= gathered_bytes_;
    last_sent_ = loop_.now();
    retire_sent();
  } else {
    close(result < 0 ? system_error(result) : ErrorCode{errc::kClosed});
  }
  if (state_ != State::kOpen) {
    finish_close();
    return;
  }
  schedule_turn_end();
}

void StreamSocket::retire_sent() {
  for (Queue& queue : queues_) {
    const std::uint64_t end = queue.gathered;
    while (queue.head < end) {
      const Queued& item = queue.at(queue.head);
      auto* const sent = item.sent;
      void* const context = item.context;
      const std::uint64_t token = item.token;
      ++queue.head;
      if (sent != nullptr) sent(context, token, true);
    }
    const bool room = queue.tail - queue.head <= queue.capacity / 2;
    if (queue.refused && room && state_ == State::kOpen) {
      queue.refused = false;
      handler_.on_writable(*this);
    }
  }
}

// --- closing ---

void StreamSocket::close_when_sent() {
  if (state_ != State::kOpen) return;
  close_when_sent_ = true;
  schedule_turn_end();
}

void StreamSocket::shutdown_when_sent() {
  if (state_ != State::kOpen) return;
  shutdown_when_sent_ = true;
  schedule_turn_end();
}

void StreamSocket::close(ErrorCode reason) {
  if (state_ != State::kOpen) return;
  state_ = State::kClosing;
  reason_ = reason;
  ::shutdown(file_.fd, SHUT_RDWR);
  loop_.cancel(receive_op_);
  loop_.cancel(send_op_);
  finish_close();
}

// Buffers are given back only when the kernel is done with them: the last operation to end comes here.
void StreamSocket::finish_close() {
  TB_ASSERT(state_ == State::kClosing);
  const bool busy = receive_op_.in_flight() || send_op_.in_flight() || turn_end_op_.in_flight();
  if (!busy && !finish_op_.in_flight()) loop_.defer(finish_op_, 0);
}

void StreamSocket::on_finish(int) {
  const int fd = file_.fd;
  file_ = File{};
  ::close(fd);
  direct_ = {};
  for (Queue& queue : queues_) {
    while (queue.head < queue.tail) {
      const Queued& item = queue.at(queue.head++);
      if (item.sent != nullptr) item.sent(item.context, item.token, false);
    }
    queue = Queue{.items = std::move(queue.items), .capacity = queue.capacity};
  }
  state_ = State::kIdle;
  handler_.on_closed(*this, reason_);
}

}  // namespace twinblock::ring
