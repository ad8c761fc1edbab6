// Runs the real binary and keeps what it says.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>
#include <array>
#include <csignal>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace twinblock::cli::test {

struct Outcome {
  int exit_code{-1};
  std::string out;
  std::string err;
};

class Child {
 public:
  // With `terminal`, stdout is a pseudo-terminal of 100 columns.
  explicit Child(const std::vector<std::string>& arguments, bool terminal = false) {
    std::array<int, 2> out{};
    std::array<int, 2> err{};
    winsize size{24, 100, 0, 0};
    if (terminal) {
      EXPECT_EQ(::openpty(&out[0], &out[1], nullptr, nullptr, &size), 0);
    } else {
      EXPECT_EQ(::pipe(out.data()), 0);
    }
    EXPECT_EQ(::pipe(err.data()), 0);
    std::vector<std::string> words{TWINBLOCK_CLI};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (auto& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(out[1], 1);
      ::dup2(err[1], 2);
      for (const int fd : {out[0], out[1], err[0], err[1]}) ::close(fd);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    ::close(out[1]);
    ::close(err[1]);
    out_ = out[0];
    err_ = err[0];
  }
  ~Child() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(out_);
    ::close(err_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Reads until stdout contains `text`; false if it ends before.
  bool read_until(const std::string& text) {
    while (outcome_.out.find(text) == std::string::npos) {
      if (!read_some()) return false;
    }
    return true;
  }
  Outcome finish() {
    while (read_some()) {
    }
    int status{};
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    outcome_.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return outcome_;
  }
  void interrupt() const { ::kill(pid_, SIGINT); }

 private:
  bool read_some() {
    std::array<pollfd, 2> states{{{out_open_ ? out_ : -1, POLLIN, 0}, {err_open_ ? err_ : -1, POLLIN, 0}}};
    if (!out_open_ && !err_open_) return false;
    if (::poll(states.data(), states.size(), 60'000) <= 0) return false;
    if (states[0].revents != 0) out_open_ = drain(out_, outcome_.out);
    if (states[1].revents != 0) err_open_ = drain(err_, outcome_.err);
    return true;
  }
  static bool drain(int fd, std::string& text) {
    std::array<char, 4096> buffer{};
    const ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n > 0) text.append(buffer.data(), static_cast<std::size_t>(n));
    return n > 0;
  }

  pid_t pid_{-1};
  int out_{-1};
  int err_{-1};
  bool out_open_{true};
  bool err_open_{true};
  Outcome outcome_;
};

inline Outcome run_cli(const std::vector<std::string>& arguments) {
  return Child{arguments}.finish();
}

}  // namespace twinblock::cli::test
