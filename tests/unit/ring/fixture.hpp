// Every test of the loop runs on both engines; a machine without io_uring skips the first half and says so.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/random.hpp"
#include "transport/ring/loop.hpp"

namespace twinblock::ring::test {

enum class EngineKind { kUring, kEpoll };

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "twinblock-ring-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// An Op that runs a function.
struct FunctionOp : Op {
  FunctionOp() : Op{&call} {}
  static void call(Op* op, int result, std::uint32_t) {
    auto* self = static_cast<FunctionOp*>(op);
    self->result = result;
    self->finished = true;
    if (self->then) self->then(result);
  }
  std::function<void(int)> then;
  int result = 0;
  bool finished = false;
};

struct FunctionTimer : Timer {
  explicit FunctionTimer(std::function<void()> f) : Timer{&call}, then{std::move(f)} {}
  static void call(Timer* timer) { static_cast<FunctionTimer*>(timer)->then(); }
  std::function<void()> then;
};

class LoopTest : public testing::TestWithParam<EngineKind> {
 protected:
  void SetUp() override { make(LoopOptions{}); }
  void TearDown() override {
    if (loop_) loop_->drain();
  }
  void make(LoopOptions options) {
    if (loop_) loop_->drain();
    options.force_fallback = GetParam() == EngineKind::kEpoll;
    auto made = Loop::create(options);
    ASSERT_TRUE(made) << made.error().message();
    loop_ = std::move(*made);
    if (GetParam() == EngineKind::kUring && !loop_->uses_io_uring()) {
      GTEST_SKIP() << loop_->fallback_reason().message();
    }
  }
  // Runs turns until `done` or, so that a bug is a failure and not a hang, ten seconds are over.
  bool run_until(const std::function<bool()>& done) {
    bool late = false;
    FunctionTimer limit{[&] { late = true; }};
    loop_->arm(limit, loop_->now() + Duration::seconds(10));
    while (!done() && !late) loop_->turn();
    loop_->disarm(limit);
    return done();
  }
  int finish(FunctionOp& op) {
    EXPECT_TRUE(run_until([&] { return op.finished; }));
    op.finished = false;
    return op.result;
  }

  std::unique_ptr<Loop> loop_;
};

inline std::string engine_name(const testing::TestParamInfo<EngineKind>& info) {
  return info.param == EngineKind::kUring ? "io_uring" : "epoll";
}

inline std::vector<std::byte> random_bytes(Random& random, std::size_t count) {
  std::vector<std::byte> bytes(count);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random.next());
  return bytes;
}

struct SocketPair {
  SocketPair() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0); }
  int fds[2] = {-1, -1};
};

}  // namespace twinblock::ring::test

#define TB_BOTH_ENGINES(Suite)                                                           \
  INSTANTIATE_TEST_SUITE_P(Engines, Suite,                                               \
                           testing::Values(::twinblock::ring::test::EngineKind::kUring,  \
                                           ::twinblock::ring::test::EngineKind::kEpoll), \
                           ::twinblock::ring::test::engine_name)
