// What a daemon asks of its process: signals, memory, who its parent is.
#pragma once

#include <cstdint>
#include <string>

#include "base/units.hpp"
#include "replicator/engine/problem.hpp"

namespace twinblock::engine {

// Blocks SIGTERM, SIGINT and SIGHUP for this thread and those it starts; SIGPIPE is ignored.
void block_signals();
// Waits for one of them.
[[nodiscard]] int wait_for_signal();

// So that a file system on top of us under memory pressure cannot deadlock on our page faults or allocations:
// locks the memory and marks the process an I/O flusher. Logs what the system refuses, and goes on.
void harden_memory();

// The calling thread runs under SCHED_FIFO, priority 1. A data path that needs a page to free pages (the
// kernel's buffers of a TCP connection, while what is to be freed is swap on our own device) then gets it
// from the reserve that Linux keeps for real-time tasks; an ordinary thread would wait for itself. Logs what
// the system refuses, and goes on.
void schedule_realtime();

// A name for this boot of the machine (/proc/sys/kernel/random/boot_id, hashed): the same for every process
// until the next boot, so that a daemon that was killed is told from a machine that lost its disk's cache. 0:
// unknown.
[[nodiscard]] std::uint64_t boot_id();

// Ends this process with SIGTERM when its parent dies.
void exit_with_parent();

// Locked while its process lives, removed by the destructor: a second daemon that is started by mistake is
// refused and leaves the first one's alone.
class PidFile {
 public:
  PidFile() = default;
  PidFile(const PidFile&) = delete;
  PidFile& operator=(const PidFile&) = delete;
  ~PidFile();
  [[nodiscard]] Outcome<void> write(const std::string& path);

 private:
  std::string path_;
  int fd_ = -1;
};

// A line on stdout, at once: scripts wait for it.
void print_line(const std::string& line);

}  // namespace twinblock::engine
