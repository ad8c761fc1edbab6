// One data thread: a loop, its arena, and the order of work in a turn. Handlers run, then everything that
// asked for the end of the turn (mirrors emit acknowledgements and intent records once per turn), then those
// that waited for a buffer; sockets gather what all of it queued; then the loop submits once.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "replicator/engine/shard_context.hpp"
#include "transport/ring/mailbox.hpp"

namespace twinblock::engine {

struct ShardOptions {
  ByteCount arena_size{128u << 20};
  bool realtime = false;  // schedule_realtime()
};

// What log, events and status say where a fault layer is at work.
inline constexpr const char* kFaultsWarning =
    "FAULT INJECTION IS ON: TWINBLOCKD_FAULTS is set, and this daemon damages its own I/O on purpose; next: "
    "unset it and restart the daemon";

class Shard {
 public:
  // Work for the shard's thread from another one: set-up and control, never data.
  using Task = std::function<void()>;

  [[nodiscard]] static Result<std::unique_ptr<Shard>> create(const ShardOptions& options);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  [[nodiscard]] ShardContext context() noexcept { return {*loop_, *arena_, waiters_, turn_}; }
  [[nodiscard]] const ring::Loop& loop() const noexcept { return *loop_; }

  void start_thread();
  // Any thread. False: the mailbox is full (a control client that floods): try later.
  [[nodiscard]] bool post(Task task);
  // Ends the loop after the current turn. Any thread.
  void request_stop() { loop_->request_stop(); }
  void join();

 private:
  Shard() = default;
  static void on_turn_end(void* self);
  static void on_mail(void* self);
  void end_turn();
  void on_last(int);

  std::unique_ptr<ring::Loop> loop_;
  std::unique_ptr<ring::Arena> arena_;
  WaitList waiters_;
  TurnList turn_;
  ring::Mailbox<Task> mailbox_{1024};
  std::unique_ptr<ring::EventWatch> mail_watch_;
  ring::MethodOp<&Shard::on_last> last_op_{this};
  bool realtime_ = false;
  std::thread thread_;
};

// What a target may have to hold at once, so that a source can count on it (core::Config windows).
inline constexpr std::uint32_t kWindowMessages = 1024;
inline constexpr std::uint32_t kWindowBytes = 32u << 20;
inline constexpr std::uint32_t kResyncPieces = 8;

}  // namespace twinblock::engine
