#include "replicator/engine/process.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "replicator/control/log.hpp"
#include "replicator/engine/probe.hpp"
#include "transport/ring/disk.hpp"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

namespace twinblock::engine {
namespace {

sigset_t handled_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  return set;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
#else
constexpr bool kSanitized = false;
#endif

}  // namespace

void block_signals() {
  const sigset_t set = handled_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

int wait_for_signal() {
  const sigset_t set = handled_signals();
  int signal = 0;
  while (sigwait(&set, &signal) != 0) {
  }
  return signal;
}

void harden_memory() {
  // A sanitizer's shadow is terabytes of address space: it cannot be locked.
  if (!kSanitized && mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) {
    control::log_warning("process.mlock", "memory is not locked", {{"reason", std::strerror(errno)}});
  }
  if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0) {
    control::log_warning("process.io_flusher", "not marked as an I/O flusher",
                         {{"reason", std::strerror(errno)}});
  }
}

void schedule_realtime() {
  sched_param parameters{};
  parameters.sched_priority = 1;
  if (const int error = pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameters); error != 0) {
    control::log_warning("process.realtime", "the data thread is not scheduled in real time",
                         {{"reason", std::strerror(error)}});
    return;
  }
  control::log_info("process.realtime", "the data thread is scheduled in real time (SCHED_FIFO 1)", {});
}

std::uint64_t boot_id() {
  const std::string text = ring::read_attribute("/proc/sys/kernel/random/boot_id");
  return text.empty() ? 0 : hash_text(text);
}

void exit_with_parent() {
  const pid_t parent = getppid();
  prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
  // It may have died before the call.
  if (parent == 1 || getppid() != parent) std::raise(SIGTERM);
}

Outcome<void> PidFile::write(const std::string& path) {
  fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ >= 0 && flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return Problem{"the pid file " + path + " belongs to a daemon that is running", "Nothing was started.",
                   "stop that one first, or choose another place with --pid-file", true, false};
  }
  const std::string text = std::to_string(getpid()) + "\n";
  const auto size = static_cast<off_t>(text.size());
  // Cut after it is written: a reader finds the number in the first line at any moment.
  if (fd_ < 0 || pwrite(fd_, text.data(), text.size(), 0) != size || ftruncate(fd_, size) != 0) {
    return Problem{"the pid file " + path + " cannot be written: " + std::strerror(errno),
                   "Nothing was started.", "choose a writable place with --pid-file", false, false};
  }
  path_ = path;
  return {};
}

PidFile::~PidFile() {
  if (!path_.empty()) unlink(path_.c_str());
  if (fd_ >= 0) close(fd_);
}

void print_line(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

}  // namespace twinblock::engine
