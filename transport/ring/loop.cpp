#include "transport/ring/loop.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "transport/ring/engine.hpp"
#include "transport/ring/faults.hpp"
#include "transport/ring/pool.hpp"

namespace twinblock::ring {
namespace {

// A device that only ever answers "again" must not hold the shard for ever (P13).
constexpr std::uint16_t kRetriesMax = 1000;

Instant read_clock() {
  timespec t{};
  clock_gettime(CLOCK_BOOTTIME, &t);
  return Instant{static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec};
}

bool fallback_forced() {
  const char* value = std::getenv("TWINBLOCK_NO_IO_URING");
  return value != nullptr && *value != '\0' && std::strcmp(value, "0") != 0;
}

// Takes `count` bytes off the front of the vectors.
void consume(msghdr& message, std::size_t count) {
  while (message.msg_iovlen > 0 && count >= message.msg_iov->iov_len) {
    count -= message.msg_iov->iov_len;
    ++message.msg_iov;
    --message.msg_iovlen;
  }
  TB_ASSERT(count == 0 || message.msg_iovlen > 0);
  if (count == 0) return;
  message.msg_iov->iov_base = static_cast<std::byte*>(message.msg_iov->iov_base) + count;
  message.msg_iov->iov_len -= count;
}

}  // namespace

Loop::Loop(const LoopOptions& options) : options_{options}, now_{read_clock()} {
  TB_ASSERT(options.io_bytes_max > 0 && options.io_bytes_max <= (1u << 30));
}

Result<std::unique_ptr<Loop>> Loop::create(const LoopOptions& options) {
  std::unique_ptr<Loop> loop{new Loop{options}};
  loop->wake_fd_ = eventfd(0, EFD_CLOEXEC);
  if (loop->wake_fd_ < 0) return system_error(errno);
  loop->pool_ = std::make_unique<BlockingPool>(std::max(1u, options.pool_threads), loop->wake_fd_);
  if (auto made = loop->make_engine(); !made) return made.error();
  if (auto made = loop->make_faults(); !made) return made.error();
  return loop;
}

Result<void> Loop::make_engine() {
  if (options_.force_fallback || fallback_forced()) {
    fallback_reason_ = system_error(ECANCELED);
    add_note("engine: epoll and threads, as asked for (TWINBLOCK_NO_IO_URING or an option)");
  } else {
    const UringConfig config{.entries = options_.queue_entries,
                             .fixed_files = options_.fixed_files,
                             .worker_count_max = options_.worker_count_max};
    auto made = make_uring_engine(*this, config);
    if (made) {
      engine_ = std::move(made->engine);
      add_note(made->note);
      return {};
    }
    fallback_reason_ = made.error();
    add_note("engine: epoll and threads, slower: " + made.error().message());
  }
  auto made = make_epoll_engine(*this, *pool_);
  if (!made) return made.error();
  engine_ = std::move(*made);
  return {};
}

Result<void> Loop::make_faults() {
  const char* const asked = std::getenv("TWINBLOCKD_FAULTS");
  const std::string& text = options_.faults.empty() && asked != nullptr ? asked : options_.faults;
  if (text.empty()) return {};
  auto made = FaultLayer::create(*this, text);
  if (!made) return made.error();
  faults_ = std::move(*made);
  add_note("faults: " + faults_->describe());
  return {};
}

Loop::~Loop() {
  TB_ASSERT(in_flight_ == 0);
  TB_ASSERT(!wake_op_.in_flight());
  faults_.reset();
  if (deadline_timer_.armed()) disarm(deadline_timer_);
  TB_ASSERT(first_timer_ == nullptr);
  engine_.reset();
  pool_.reset();
  if (wake_fd_ >= 0) ::close(wake_fd_);
}

void Loop::add_note(const std::string& note) {
  if (!notes_.empty()) notes_ += "; ";
  notes_ += note;
}

// --- turns ---

void Loop::run() {
  while (!stop_requested()) turn();
  stop_.store(false, std::memory_order_release);
}

void Loop::turn() {
  run_turn(true);
}
void Loop::poll() {
  run_turn(false);
}

void Loop::run_turn(bool may_wait) {
  if (thread_ != std::this_thread::get_id()) bind_thread();
  if (!wake_op_.in_flight() && !quiescing_) arm_wake();
  // Asked for after the wake is armed: that may have completed at once.
  engine_->wait(may_wait ? wait_limit() : Duration{});
  now_ = read_clock();
  OpQueue ready = ready_;
  ready_ = OpQueue{};
  while (Op* op = ready.pop()) dispatch(*op);
  fire_timers();
  if (turn_end_ != nullptr) turn_end_(turn_end_context_);
  OpQueue last = at_turn_end_;
  at_turn_end_ = OpQueue{};
  while (Op* op = last.pop()) dispatch(*op);
}

void Loop::bind_thread() {
  TB_ASSERT(thread_ == std::thread::id{});
  thread_ = std::this_thread::get_id();
  engine_->bind_thread();
}

void Loop::request_stop() noexcept {
  stop_.store(true, std::memory_order_release);
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_fd_, &one, sizeof one);
}

void Loop::arm_wake() {
  begin(wake_op_, OpKind::kReadEvent, File{wake_fd_, -1});
  --in_flight_;
  submit(wake_op_);
}

void Loop::on_wake(int) {
  OpQueue finished = pool_->collect();
  while (Op* op = finished.pop()) engine_completed(*op, op->result_, 0);
  if (!quiescing_) arm_wake();
}

void Loop::drain() {
  while (in_flight_ > 0) turn();
  quiesce();
}

void Loop::quiesce() {
  quiescing_ = true;
  cancel(wake_op_);
  while (wake_op_.in_flight()) turn();
  quiescing_ = false;
}

Duration Loop::wait_limit() const {
  if (!ready_.empty() || !at_turn_end_.empty() || (stop_requested() && in_flight_ == 0)) return Duration{};
  if (first_timer_ == nullptr) return Duration{INT64_MAX};
  return std::max(Duration{}, first_timer_->at_ - read_clock());
}

void Loop::set_turn_end(Callback callback, void* context) noexcept {
  turn_end_ = callback;
  turn_end_context_ = context;
}

// --- completions ---

void Loop::engine_completed(Op& op, int result, std::uint32_t flags) {
  TB_ASSERT(op.state_ == Op::State::kSubmitted);
  if (op.faulted_) [[unlikely]]
    result = faults_->completed(op, result);
  op.state_ = Op::State::kReady;
  op.result_ = result;
  op.result_flags_ = flags;
  ready_.push(&op);
}

void Loop::dispatch(Op& op) {
  if (continues(op)) {
    submit(op);
    return;
  }
  op.state_ = Op::State::kIdle;
  if (&op != &wake_op_) --in_flight_;
  if (op.file_.slot >= 0) --slot_in_flight_[static_cast<std::size_t>(op.file_.slot)];
  op.done(&op, op.result_, op.result_flags_);
}

bool Loop::retries(Op& op) {
  return !op.cancelled_ && op.retries_++ < kRetriesMax;
}

// Whether the operation has to be submitted again. If not, result_ is the final result of the whole.
bool Loop::continues(Op& op) {
  const int result = op.result_;
  switch (op.kind_) {
    case OpKind::kRead:
    case OpKind::kWrite:
      if (result == -EINTR || result == -EAGAIN) return retries(op);
      if (result < 0) return false;
      op.transferred_ += static_cast<std::uint64_t>(result);
      TB_ASSERT(op.transferred_ <= op.length_);
      if (op.transferred_ < op.length_ && result > 0) return true;
      op.result_ = static_cast<int>(op.transferred_);
      // A device that accepts nothing and gives no reason: not a success.
      if (op.kind_ == OpKind::kWrite && op.transferred_ < op.length_) op.result_ = -EIO;
      return false;
    case OpKind::kSend:
      if (result == -EINTR || result == -EAGAIN) return retries(op);
      if (result < 0) return false;
      op.transferred_ += static_cast<std::uint64_t>(result);
      consume(op.message_, static_cast<std::size_t>(result));
      if (op.transferred_ < op.length_ && !op.cancelled_) return true;
      op.result_ = op.transferred_ < op.length_ ? -ECANCELED : static_cast<int>(op.transferred_);
      return false;
    case OpKind::kFdatasync:
    case OpKind::kFallocate:
    case OpKind::kReceive:
    case OpKind::kAccept:
    case OpKind::kReadEvent:
      return (result == -EINTR || result == -EAGAIN) && retries(op);
    case OpKind::kConnect:
    case OpKind::kPoll:
    case OpKind::kClose:
    case OpKind::kCall:
    case OpKind::kDefer:
      return false;
    case OpKind::kNone:
      break;
  }
  TB_ASSERT(false);
  return false;
}

// --- timers ---

void Loop::arm(Timer& timer, Instant at) {
  disarm(timer);
  if (at == Instant::never()) return;
  timer.at_ = at;
  timer.armed_ = true;
  Timer* previous = nullptr;
  Timer* next = first_timer_;
  while (next != nullptr && next->at_ <= at) {
    previous = next;
    next = next->next_;
  }
  timer.previous_ = previous;
  timer.next_ = next;
  (previous != nullptr ? previous->next_ : first_timer_) = &timer;
  if (next != nullptr) next->previous_ = &timer;
}

void Loop::disarm(Timer& timer) noexcept {
  if (!timer.armed_) return;
  (timer.previous_ != nullptr ? timer.previous_->next_ : first_timer_) = timer.next_;
  if (timer.next_ != nullptr) timer.next_->previous_ = timer.previous_;
  timer.previous_ = timer.next_ = nullptr;
  timer.armed_ = false;
}

// A timer that is armed for the past from inside a timer fires in the next turn: the bound is the count of
// timers that were due when this began.
void Loop::fire_timers() {
  std::size_t due = 0;
  for (const Timer* t = first_timer_; t != nullptr && t->at_ <= now_; t = t->next_) ++due;
  for (; due > 0 && first_timer_ != nullptr && first_timer_->at_ <= now_; --due) {
    Timer& timer = *first_timer_;
    disarm(timer);
    timer.fire_(&timer);
  }
}

void Loop::set_deadline_callback(Callback callback, void* context) noexcept {
  deadline_ = callback;
  deadline_context_ = context;
}
void Loop::set_deadline(Instant at) {
  arm(deadline_timer_, at);
}
void Loop::on_deadline() {
  if (deadline_ != nullptr) deadline_(deadline_context_);
}

// --- submissions ---

Op& Loop::begin(Op& op, OpKind kind, File file) {
  TB_ASSERT(op.state_ == Op::State::kIdle);
  TB_ASSERT(op.done != nullptr);
  op.kind_ = kind;
  op.file_ = file;
  op.cancelled_ = false;
  op.faulted_ = false;
  op.retries_ = 0;
  op.flags_ = 0;
  op.transferred_ = 0;
  op.length_ = 0;
  op.message_ = msghdr{};
  ++in_flight_;
  if (file.slot >= 0) ++slot_in_flight_[static_cast<std::size_t>(file.slot)];
  return op;
}

void Loop::submit(Op& op) {
  op.state_ = Op::State::kSubmitted;
  op.chunk_ = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(op.length_ - op.transferred_, options_.io_bytes_max));
  if (faults_ != nullptr && faults_->intercept(op)) [[unlikely]]
    return;
  engine_->submit(op);
}

void Loop::read(Op& op, File file, std::span<std::byte> into, ByteOffset at) {
  TB_ASSERT(into.size() <= INT32_MAX);
  begin(op, OpKind::kRead, file);
  op.data_ = into.data();
  op.length_ = into.size();
  op.offset_ = at.value();
  submit(op);
}

void Loop::write(Op& op, File file, std::span<const std::byte> from, ByteOffset at, Durability durability) {
  TB_ASSERT(from.size() <= INT32_MAX);
  begin(op, OpKind::kWrite, file);
  op.data_ = const_cast<std::byte*>(from.data());
  op.length_ = from.size();
  op.offset_ = at.value();
  op.flags_ = durability == Durability::kStable ? RWF_DSYNC : 0;
  submit(op);
}

void Loop::fdatasync(Op& op, File file) {
  submit(begin(op, OpKind::kFdatasync, file));
}

void Loop::fallocate(Op& op, File file, int mode, ByteRange range) {
  begin(op, OpKind::kFallocate, file);
  op.flags_ = static_cast<std::uint32_t>(mode);
  op.offset_ = range.offset.value();
  op.length_ = range.length.value();
  submit(op);
}

void Loop::receive(Op& op, File file, std::span<std::byte> into) {
  op.vector_ = iovec{into.data(), into.size()};
  receive(op, file, std::span{&op.vector_, 1});
}

void Loop::receive(Op& op, File file, std::span<iovec> into) {
  begin(op, OpKind::kReceive, file);
  op.message_.msg_iov = into.data();
  op.message_.msg_iovlen = into.size();
  submit(op);
}

void Loop::send(Op& op, File file, std::span<iovec> from) {
  begin(op, OpKind::kSend, file);
  op.message_.msg_iov = from.data();
  op.message_.msg_iovlen = from.size();
  for (const iovec& v : from) op.length_ += v.iov_len;
  TB_ASSERT(op.length_ > 0 && op.length_ <= INT32_MAX);
  submit(op);
}

void Loop::accept(Op& op, File file) {
  submit(begin(op, OpKind::kAccept, file));
}

void Loop::connect(Op& op, File file, const sockaddr* address, socklen_t length) {
  begin(op, OpKind::kConnect, file);
  op.address_ = address;
  op.address_length_ = length;
  submit(op);
}

void Loop::poll_fd(Op& op, File file, short events) {
  begin(op, OpKind::kPoll, file);
  op.flags_ = static_cast<std::uint16_t>(events);
  submit(op);
}

void Loop::read_event(Op& op, int event_fd) {
  submit(begin(op, OpKind::kReadEvent, File{event_fd, -1}));
}

void Loop::close(Op& op, int fd) {
  submit(begin(op, OpKind::kClose, File{fd, -1}));
}

void Loop::call(Op& op, int (*function)(void*), void* argument) {
  begin(op, OpKind::kCall, File{});
  op.call_ = function;
  op.call_argument_ = argument;
  op.state_ = Op::State::kSubmitted;
  pool_->submit(op);
}

void Loop::defer(Op& op, int result) {
  begin(op, OpKind::kDefer, File{});
  op.state_ = Op::State::kSubmitted;
  engine_completed(op, result, 0);
}

void Loop::defer_to_turn_end(Op& op) {
  begin(op, OpKind::kDefer, File{});
  op.state_ = Op::State::kReady;
  op.result_ = 0;
  at_turn_end_.push(&op);
}

void Loop::cancel(Op& op) {
  if (op.state_ != Op::State::kSubmitted) return;
  switch (op.kind_) {
    case OpKind::kReceive:
    case OpKind::kSend:
    case OpKind::kAccept:
    case OpKind::kConnect:
    case OpKind::kPoll:
    case OpKind::kReadEvent:
      op.cancelled_ = true;
      if (faults_ == nullptr || !faults_->cancel(op)) engine_->cancel(op);
      return;
    case OpKind::kNone:
    case OpKind::kRead:
    case OpKind::kWrite:
    case OpKind::kFdatasync:
    case OpKind::kFallocate:
    case OpKind::kClose:
    case OpKind::kCall:
    case OpKind::kDefer:
      return;
  }
}

// --- registration ---

Result<void> Loop::register_buffers(std::span<const iovec> buffers) {
  return engine_->register_buffers(buffers);
}

File Loop::register_file(int fd) {
  const int slot = engine_->register_file(fd);
  if (slot >= 0 && slot_in_flight_.size() <= static_cast<std::size_t>(slot)) {
    slot_in_flight_.resize(static_cast<std::size_t>(slot) + 1);
  }
  return File{fd, slot};
}

void Loop::unregister_file(File& file) {
  if (file.slot < 0) return;
  TB_ASSERT(slot_in_flight_[static_cast<std::size_t>(file.slot)] == 0);
  engine_->unregister_file(file.slot);
  file.slot = -1;
}

// --- EventWatch ---

void EventWatch::start(int event_fd) {
  fd_ = event_fd;
  stopping_ = false;
  loop_.read_event(op_, fd_);
}

void EventWatch::stop() {
  stopping_ = true;
  loop_.cancel(op_);
}

void EventWatch::on_event(int result) {
  if (stopping_) return;
  TB_ASSERT(result == static_cast<int>(sizeof(std::uint64_t)));
  loop_.read_event(op_, fd_);
  callback_(context_);
}

}  // namespace twinblock::ring
