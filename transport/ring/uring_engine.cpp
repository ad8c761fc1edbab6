// io_uring below Loop. Set-up goes down a ladder of flags, since each helps and none is everywhere; opcodes
// are probed, kernel versions never parsed. DEFER_TASKRUN completes nothing unless the ring itself is waited
// on, which is what Loop does and nothing else.
#include <fcntl.h>
#include <liburing.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "transport/ring/engine.hpp"
#include "transport/ring/error.hpp"
#include "transport/ring/loop.hpp"

namespace twinblock::ring {
namespace {

struct Rung {
  unsigned flags;
  const char* name;
};
// R_DISABLED lets another thread than the runner set the ring up: the runner enables it and becomes its
// issuer.
constexpr std::array kLadder{
    Rung{IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
             IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED,
         "single issuer, deferred task work"},
    Rung{IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP, "cooperative task work"},
    Rung{0, "no set-up flags"},
};
constexpr std::array kOpcodes{
    IORING_OP_READ,   IORING_OP_WRITE,     IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED,
    IORING_OP_FSYNC,  IORING_OP_FALLOCATE, IORING_OP_SENDMSG,    IORING_OP_RECVMSG,
    IORING_OP_ACCEPT, IORING_OP_CONNECT,   IORING_OP_POLL_ADD,   IORING_OP_ASYNC_CANCEL,
    IORING_OP_CLOSE,
};
// Every submission carries user data, since liburing never clears it: this marks what nobody waits for.
constexpr std::uint64_t kIgnored = 1;

ErrorCode set_up_error(int negative_errno) {
  switch (-negative_errno) {
    case EPERM:
      return errc::kRingForbidden;
    case ENOSYS:
      return errc::kRingNotSupported;
    case ENOMEM:
      return errc::kRingLockedMemory;
    default:
      return system_error(negative_errno);
  }
}

bool has_opcodes(io_uring& ring) {
  io_uring_probe* probe = io_uring_get_probe_ring(&ring);
  if (probe == nullptr) return false;
  bool all = true;
  for (const auto opcode : kOpcodes) all = all && io_uring_opcode_supported(probe, opcode) != 0;
  io_uring_free_probe(probe);
  return all;
}

}  // namespace

class UringEngine final : public Engine {
 public:
  UringEngine(Loop& loop, const UringConfig& config) noexcept : loop_{loop}, config_{config} {}
  ~UringEngine() override {
    if (open_) io_uring_queue_exit(&ring_);
  }

  Result<std::string> open();
  void submit(Op& op) override;
  void cancel(Op& op) override;
  void wait(Duration limit) override;
  void bind_thread() override;
  Result<void> register_buffers(std::span<const iovec> buffers) override;
  int register_file(int fd) override;
  void unregister_file(int slot) override;

 private:
  io_uring_sqe& next_sqe();
  void enter(Duration limit);
  void reap();
  [[nodiscard]] int buffer_index(const std::byte* data, std::size_t length) const;
  void prepare_disk(io_uring_sqe& sqe, Op& op);
  void prepare_transfer(io_uring_sqe& sqe, Op& op);

  Loop& loop_;
  UringConfig config_;
  io_uring ring_{};
  bool open_ = false;
  bool disabled_ = false;  // made with R_DISABLED, not enabled yet
  bool has_file_table_ = false;
  std::vector<iovec> buffers_;
  std::vector<int> free_slots_;
};

Result<std::string> UringEngine::open() {
  int result = -EINVAL;
  const char* name = "";
  for (const Rung& rung : kLadder) {
    io_uring_params params{};
    params.flags = rung.flags;
    if ((rung.flags & IORING_SETUP_CLAMP) != 0) {
      params.flags |= IORING_SETUP_CQSIZE;
      params.cq_entries = config_.entries * 8;
    }
    result = io_uring_queue_init_params(config_.entries, &ring_, &params);
    name = rung.name;
    disabled_ = (rung.flags & IORING_SETUP_R_DISABLED) != 0;
    if (result != -EINVAL) break;
  }
  if (result < 0) return set_up_error(result);
  open_ = true;
  constexpr unsigned kNeeded = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;
  if ((ring_.features & kNeeded) != kNeeded || !has_opcodes(ring_)) return ErrorCode{errc::kRingTooOld};
  std::string note = std::string{"engine: io_uring ("} + name + ")";
  has_file_table_ =
      config_.fixed_files > 0 && io_uring_register_files_sparse(&ring_, config_.fixed_files) == 0;
  if (has_file_table_) {
    for (std::uint32_t i = config_.fixed_files; i > 0; --i) free_slots_.push_back(static_cast<int>(i) - 1);
  } else {
    note += ", no registered files";
  }
  return note;
}

void UringEngine::bind_thread() {
  if (disabled_) {
    // liburing 2.3 declares io_uring_enable_rings and does not export it.
    const long result =
        syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
    TB_ASSERT(result == 0);
    disabled_ = false;
  }
  // Best effort: the bound keeps a burst of flushes from making a thread each; without it they still work.
  std::array<unsigned, 2> limits{config_.worker_count_max, config_.worker_count_max};
  io_uring_register_iowq_max_workers(&ring_, limits.data());
}

io_uring_sqe& UringEngine::next_sqe() {
  for (;;) {
    if (io_uring_sqe* sqe = io_uring_get_sqe(&ring_); sqe != nullptr) return *sqe;
    TB_ASSERT(!disabled_);  // more set-up operations before the first turn than the queue holds
    const int result = io_uring_submit(&ring_);
    // The completion queue is full: move it to the loop's own list, which has no bound of its own because
    // every entry is an Op that somebody owns.
    if (result == -EBUSY || result == -EAGAIN)
      reap();
    else
      TB_ASSERT(result >= 0 || result == -EINTR);
  }
}

int UringEngine::buffer_index(const std::byte* data, std::size_t length) const {
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    const auto* begin = static_cast<const std::byte*>(buffers_[i].iov_base);
    if (data >= begin && data + length <= begin + buffers_[i].iov_len) return static_cast<int>(i);
  }
  return -1;
}

void UringEngine::prepare_transfer(io_uring_sqe& sqe, Op& op) {
  std::byte* const data = op.data_ + op.transferred_;
  const std::uint64_t at = op.offset_ + op.transferred_;
  const int fd = op.file_.fd;
  const int index = buffer_index(data, op.chunk_);
  if (op.kind_ == OpKind::kRead) {
    if (index >= 0)
      io_uring_prep_read_fixed(&sqe, fd, data, op.chunk_, at, index);
    else
      io_uring_prep_read(&sqe, fd, data, op.chunk_, at);
  } else {
    if (index >= 0)
      io_uring_prep_write_fixed(&sqe, fd, data, op.chunk_, at, index);
    else
      io_uring_prep_write(&sqe, fd, data, op.chunk_, at);
  }
  sqe.rw_flags = static_cast<int>(op.flags_);
}

void UringEngine::prepare_disk(io_uring_sqe& sqe, Op& op) {
  if (op.kind_ == OpKind::kFdatasync) {
    io_uring_prep_fsync(&sqe, op.file_.fd, IORING_FSYNC_DATASYNC);
  } else if (op.kind_ == OpKind::kFallocate) {
    io_uring_prep_fallocate(&sqe, op.file_.fd, static_cast<int>(op.flags_), static_cast<off_t>(op.offset_),
                            static_cast<off_t>(op.length_));
  } else {
    prepare_transfer(sqe, op);
  }
}

void UringEngine::submit(Op& op) {
  io_uring_sqe& sqe = next_sqe();
  switch (op.kind_) {
    case OpKind::kRead:
    case OpKind::kWrite:
    case OpKind::kFdatasync:
    case OpKind::kFallocate:
      prepare_disk(sqe, op);
      break;
    case OpKind::kReceive:
      io_uring_prep_recvmsg(&sqe, op.file_.fd, &op.message_, MSG_NOSIGNAL);
      break;
    case OpKind::kSend:
      io_uring_prep_sendmsg(&sqe, op.file_.fd, &op.message_, MSG_NOSIGNAL | MSG_WAITALL);
      break;
    case OpKind::kAccept:
      io_uring_prep_accept(&sqe, op.file_.fd, nullptr, nullptr, SOCK_CLOEXEC);
      break;
    case OpKind::kConnect:
      io_uring_prep_connect(&sqe, op.file_.fd, op.address_, op.address_length_);
      break;
    case OpKind::kPoll:
      io_uring_prep_poll_add(&sqe, op.file_.fd, op.flags_);
      break;
    case OpKind::kReadEvent:
      io_uring_prep_read(&sqe, op.file_.fd, &op.event_, sizeof op.event_, 0);
      break;
    case OpKind::kClose:
      io_uring_prep_close(&sqe, op.file_.fd);
      break;
    case OpKind::kNone:
    case OpKind::kCall:
    case OpKind::kDefer:
      TB_ASSERT(false);
  }
  if (op.file_.slot >= 0) {
    sqe.fd = op.file_.slot;
    sqe.flags |= IOSQE_FIXED_FILE;
  }
  io_uring_sqe_set_data(&sqe, &op);
}

void UringEngine::cancel(Op& op) {
  io_uring_sqe& sqe = next_sqe();
  io_uring_prep_cancel(&sqe, &op, 0);
  io_uring_sqe_set_data64(&sqe, kIgnored);
}

void UringEngine::wait(Duration limit) {
  enter(limit);
  reap();
}

void UringEngine::enter(Duration limit) {
  int result = 0;
  if (limit <= Duration{}) {
    result = io_uring_submit_and_get_events(&ring_);
  } else {
    io_uring_cqe* cqe = nullptr;
    // The kernel counts this on CLOCK_MONOTONIC, which stops while the machine is suspended: a timer may
    // then fire late by at most its rest, and the loop's clock says so.
    __kernel_timespec timeout{.tv_sec = limit.nanoseconds() / 1'000'000'000,
                              .tv_nsec = limit.nanoseconds() % 1'000'000'000};
    const bool endless = limit.nanoseconds() == INT64_MAX;
    result = io_uring_submit_and_wait_timeout(&ring_, &cqe, 1, endless ? nullptr : &timeout, nullptr);
  }
  // EBUSY, EAGAIN: the kernel is short of completion space or memory; what was not submitted stays queued.
  if (result >= 0 || result == -ETIME || result == -EINTR || result == -EBUSY || result == -EAGAIN) return;
  std::fprintf(stderr, "twinblock: io_uring_enter: error %d\n", -result);
  TB_ASSERT(result >= 0);
}

void UringEngine::reap() {
  io_uring_cqe* cqe = nullptr;
  while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
    const std::uint64_t data = cqe->user_data;
    const int result = cqe->res;
    const std::uint32_t flags = cqe->flags;
    io_uring_cqe_seen(&ring_, cqe);
    if (data == kIgnored) continue;
    TB_ASSERT(data != 0);
    loop_.engine_completed(*reinterpret_cast<Op*>(data), result, flags);
  }
}

Result<void> UringEngine::register_buffers(std::span<const iovec> buffers) {
  TB_ASSERT(buffers_.empty());
  const int result = io_uring_register_buffers(&ring_, buffers.data(), static_cast<unsigned>(buffers.size()));
  if (result < 0) return system_error(result);
  buffers_.assign(buffers.begin(), buffers.end());
  return {};
}

int UringEngine::register_file(int fd) {
  if (!has_file_table_ || free_slots_.empty()) return -1;
  const int slot = free_slots_.back();
  if (io_uring_register_files_update(&ring_, static_cast<unsigned>(slot), &fd, 1) != 1) return -1;
  free_slots_.pop_back();
  return slot;
}

void UringEngine::unregister_file(int slot) {
  const int none = -1;
  const int result = io_uring_register_files_update(&ring_, static_cast<unsigned>(slot), &none, 1);
  TB_ASSERT(result == 1);
  free_slots_.push_back(slot);
}

Result<UringEngineMade> make_uring_engine(Loop& loop, const UringConfig& config) {
  auto engine = std::make_unique<UringEngine>(loop, config);
  auto note = engine->open();
  if (!note) return note.error();
  return UringEngineMade{std::move(engine), std::move(*note)};
}

}  // namespace twinblock::ring
