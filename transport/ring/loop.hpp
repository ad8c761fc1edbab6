// The loop of a shard thread: one queue to the kernel for its sockets and its disks, one wait, one submission
// per turn. A turn waits for completions, runs their handlers, fires due timers, calls `turn_end` (where
// group commits belong), and the next turn submits all that came of it at once. Rejected: a second wait point
// (Asio beside the ring) costs 16 to 36 %; Asio's own io_uring runs one operation per file and direction.
//
// Threads: everything except request_stop() belongs to one thread, the one that runs the first turn. Set-up
// (create, register, open) may happen on another thread before that.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "base/units.hpp"
#include "transport/ring/op.hpp"

namespace twinblock::ring {

class Engine;
class BlockingPool;
class FaultLayer;

// Owned by who wants to be woken; fires once. Armed timers stand in a list sorted by time: there are few.
class Timer {
 public:
  using Fire = void (*)(Timer*);
  explicit Timer(Fire fire) noexcept : fire_{fire} {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { TB_ASSERT(!armed()); }
  [[nodiscard]] bool armed() const noexcept { return armed_; }
  [[nodiscard]] Instant at() const noexcept { return at_; }

 private:
  friend class Loop;
  Fire fire_;
  Instant at_ = Instant::never();
  Timer* previous_ = nullptr;
  Timer* next_ = nullptr;
  bool armed_ = false;
};

// A Timer that calls `void Owner::on_x()` of the object that embeds it.
template <class Owner, void (Owner::*Method)()>
class MethodTimer : public Timer {
 public:
  explicit MethodTimer(Owner* owner) noexcept : Timer{&call}, owner_{owner} {}

 private:
  static void call(Timer* timer) { (static_cast<MethodTimer*>(timer)->owner_->*Method)(); }
  Owner* owner_;
};

struct LoopOptions {
  std::uint32_t queue_entries = 512;
  std::uint32_t fixed_files = 256;
  std::uint32_t worker_count_max = 8;     // kernel workers of the ring (flush, fallocate)
  unsigned pool_threads = 4;              // threads for blocking calls
  bool force_fallback = false;            // as does TWINBLOCK_NO_IO_URING=1 in the environment
  std::uint32_t io_bytes_max = 1u << 30;  // longer reads and writes go in pieces
  std::string faults{};                   // rules of a fault layer; as does TWINBLOCKD_FAULTS (tests only)
};

enum class Durability : std::uint8_t { kCached, kStable };  // kStable: RWF_DSYNC, what FUA asks for

class Loop {
 public:
  using Callback = void (*)(void* context);

  // Falls back to epoll and threads when io_uring is unavailable; notes() then says why and how to fix it.
  [[nodiscard]] static Result<std::unique_ptr<Loop>> create(const LoopOptions& options);
  // REQUIRES: no operation in flight, no timer armed; drain() ran if a turn ever ran.
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  [[nodiscard]] bool uses_io_uring() const noexcept { return fallback_reason_ == ErrorCode{}; }
  // Empty, or why the fallback engine runs.
  [[nodiscard]] ErrorCode fallback_reason() const noexcept { return fallback_reason_; }
  // For `doctor` and the log: engine, flags, what was degraded.
  [[nodiscard]] const std::string& notes() const noexcept { return notes_; }
  void add_note(const std::string& note);

  // Null, except where a test asked for faults.
  [[nodiscard]] const FaultLayer* faults() const noexcept { return faults_.get(); }

  // CLOCK_BOOTTIME, read once per turn.
  [[nodiscard]] Instant now() const noexcept { return now_; }

  // Runs turns until request_stop(). May be called again.
  void run();
  // One turn: waits for something to happen.
  void turn();
  // One turn that does not wait.
  void poll();
  // Any thread, signal-safe.
  void request_stop() noexcept;
  [[nodiscard]] bool stop_requested() const noexcept { return stop_.load(std::memory_order_acquire); }
  // Runs turns until nothing is in flight. The owners have closed their sockets and wait for their disks.
  void drain();
  [[nodiscard]] std::size_t in_flight() const noexcept { return in_flight_; }

  // Called after the handlers of every turn, before its submission.
  void set_turn_end(Callback callback, void* context) noexcept;
  // The callback that set_deadline() wakes. A deadline in the past fires in the next turn; never() disarms.
  void set_deadline_callback(Callback callback, void* context) noexcept;
  void set_deadline(Instant at);
  void arm(Timer& timer, Instant at);  // moves it when already armed
  void disarm(Timer& timer) noexcept;

  // Disk. All of the span, or an error; a read is shorter only at the end of a file. Never cancelled.
  // The memory stays the operation's until `done`. REQUIRES for all: !op.in_flight(), length < 2 GiB.
  void read(Op& op, File file, std::span<std::byte> into, ByteOffset at);
  void write(Op& op, File file, std::span<const std::byte> from, ByteOffset at, Durability durability);
  // Durability: all writes that completed before this began are stable when it succeeds.
  void fdatasync(Op& op, File file);
  void fallocate(Op& op, File file, int mode, ByteRange range);

  // Sockets: in blocking mode (not O_NONBLOCK).
  void receive(Op& op, File file, std::span<std::byte> into);  // 1 byte or more; 0: end
  void receive(Op& op, File file, std::span<iovec> into);
  // All of it or an error. The vectors are consumed (modified) as bytes leave.
  void send(Op& op, File file, std::span<iovec> from);
  void accept(Op& op, File file);  // result: the new fd, CLOEXEC
  void connect(Op& op, File file, const sockaddr* address, socklen_t length);
  void poll_fd(Op& op, File file, short events);  // result: events
  void read_event(Op& op, int event_fd);          // an eventfd; consumes its count
  void close(Op& op, int fd);
  // Runs `function(argument)` on a thread of the pool; the result must not be negative unless it is an errno.
  void call(Op& op, int (*function)(void*), void* argument);
  // Completes with `result` in the next turn: for answers that must not come from inside the request.
  void defer(Op& op, int result);
  // Completes with 0 at the end of this turn, after `turn_end`: for what wants to gather the turn's work.
  void defer_to_turn_end(Op& op);
  // Asks for the early end of a socket, poll or event operation, which completes with -ECANCELED or its
  // result. Nothing for disk operations and calls (they are waited for) and for an idle Op.
  void cancel(Op& op);

  // REQUIRES: once, before the first turn. Reads and writes inside these buffers need no pinning per I/O.
  // On an error (limits) plain I/O goes on as before.
  [[nodiscard]] Result<void> register_buffers(std::span<const iovec> buffers);
  // Enters the fd into the ring's table where there is one. The table holds the open file: unregister
  // before closing. REQUIRES: unregister with nothing of the slot in flight.
  // For files whose operations end soon: Linux before 6.13 lets go of a file that has left the table only
  // after every operation on any registered file that began before. A receive of a silent client would keep
  // another mirror's disk open, and locked, so sockets are not registered.
  [[nodiscard]] File register_file(int fd);
  void unregister_file(File& file);

  // For the engines.
  void engine_completed(Op& op, int result, std::uint32_t flags);

 private:
  friend class FaultLayer;
  explicit Loop(const LoopOptions& options);
  [[nodiscard]] Result<void> make_engine();
  [[nodiscard]] Result<void> make_faults();
  Op& begin(Op& op, OpKind kind, File file);
  void submit(Op& op);
  void run_turn(bool may_wait);
  void bind_thread();
  void arm_wake();
  void on_wake(int result);
  void quiesce();
  [[nodiscard]] Duration wait_limit() const;
  void dispatch(Op& op);
  [[nodiscard]] bool continues(Op& op);
  [[nodiscard]] bool retries(Op& op);
  void fire_timers();

  LoopOptions options_;
  int wake_fd_ = -1;
  std::unique_ptr<BlockingPool> pool_;
  std::unique_ptr<Engine> engine_;
  ErrorCode fallback_reason_;
  std::string notes_;
  std::thread::id thread_;
  std::atomic<bool> stop_{false};
  Instant now_;
  OpQueue ready_;
  OpQueue at_turn_end_;
  std::size_t in_flight_ = 0;  // without wake_op_
  std::vector<std::uint32_t> slot_in_flight_;
  bool quiescing_ = false;
  Timer* first_timer_ = nullptr;
  Callback turn_end_ = nullptr;
  void* turn_end_context_ = nullptr;
  Callback deadline_ = nullptr;
  void* deadline_context_ = nullptr;
  void on_deadline();
  MethodTimer<Loop, &Loop::on_deadline> deadline_timer_{this};
  MethodOp<&Loop::on_wake> wake_op_{this};
  std::unique_ptr<FaultLayer> faults_;
};

// Calls back whenever the eventfd of a mailbox (or another thread) says so.
class EventWatch {
 public:
  EventWatch(Loop& loop, Loop::Callback callback, void* context) noexcept
      : loop_{loop}, callback_{callback}, context_{context} {}
  void start(int event_fd);
  // The watch may be destroyed, and the eventfd closed, once active() is false (drain() sees to it).
  void stop();
  [[nodiscard]] bool active() const noexcept { return op_.in_flight(); }

 private:
  void on_event(int result);
  Loop& loop_;
  Loop::Callback callback_;
  void* context_;
  int fd_ = -1;
  bool stopping_ = false;
  MethodOp<&EventWatch::on_event> op_{this};
};

}  // namespace twinblock::ring
