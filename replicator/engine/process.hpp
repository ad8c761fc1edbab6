// What a daemon asks of its process: signals, memory, who its parent is.
#pragma once

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

// Ends this process with SIGTERM when its parent dies.
void exit_with_parent();

// Removed by the destructor.
class PidFile {
 public:
  PidFile() = default;
  PidFile(const PidFile&) = delete;
  PidFile& operator=(const PidFile&) = delete;
  ~PidFile();
  [[nodiscard]] Outcome<void> write(const std::string& path);

 private:
  std::string path_;
};

// A line on stdout, at once: scripts wait for it.
void print_line(const std::string& line);

}  // namespace twinblock::engine
