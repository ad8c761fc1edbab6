// The seam below Loop: something that carries out one submission of an Op and says later how it went. Two
// implementations: io_uring, and epoll with a small thread pool where io_uring is forbidden. Continuation of
// short transfers, timers and accounting are Loop's, so that both behave alike.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/error.hpp"
#include "base/units.hpp"
#include "transport/ring/op.hpp"

namespace twinblock::ring {

class Loop;

class Engine {
 public:
  virtual ~Engine() = default;
  // Queues the (rest of the) operation. Never waits, never runs a handler.
  virtual void submit(Op& op) = 0;
  // Asks for the end of a socket, poll or event operation; it completes with -ECANCELED or its result.
  virtual void cancel(Op& op) = 0;
  // Submits what is queued, waits at most `limit` (never: Duration max) for a completion and hands all
  // completions to Loop::engine_completed. A limit of zero only looks.
  virtual void wait(Duration limit) = 0;
  // Called once, on the thread that will run the loop, before its first wait.
  virtual void bind_thread() = 0;
  virtual Result<void> register_buffers(std::span<const iovec> buffers) = 0;
  // The slot, or -1 when the engine has no table or it is full.
  virtual int register_file(int fd) = 0;
  virtual void unregister_file(int slot) = 0;
};

class BlockingPool;

struct UringConfig {
  std::uint32_t entries;           // submission queue
  std::uint32_t fixed_files;       // slots of the file table
  std::uint32_t worker_count_max;  // kernel worker threads for what cannot be done without blocking
};
struct UringEngineMade {
  std::unique_ptr<Engine> engine;
  std::string note;  // set-up flags, and what had to be left out
};
[[nodiscard]] Result<UringEngineMade> make_uring_engine(Loop& loop, const UringConfig& config);
[[nodiscard]] Result<std::unique_ptr<Engine>> make_epoll_engine(Loop& loop, BlockingPool& pool);

}  // namespace twinblock::ring
