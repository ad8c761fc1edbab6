#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <thread>

#include "tests/unit/ring/fixture.hpp"

namespace twinblock::ring::test {
namespace {

using Loops = LoopTest;
TB_BOTH_ENGINES(Loops);

int open_file(const TemporaryDirectory& directory) {
  return open(directory.file("data").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

TEST_P(Loops, say_which_engine_runs) {
  EXPECT_EQ(loop_->uses_io_uring(), GetParam() == EngineKind::kUring);
  EXPECT_NE(loop_->notes().find(loop_->uses_io_uring() ? "io_uring" : "epoll"), std::string::npos);
}

TEST_P(Loops, write_then_read_back) {
  const TemporaryDirectory directory;
  const int fd = open_file(directory);
  Random random{1};
  const auto out = random_bytes(random, 100'000);
  FunctionOp op;
  File file = loop_->register_file(fd);
  loop_->write(op, file, out, ByteOffset{12'345}, Durability::kStable);
  EXPECT_TRUE(op.in_flight());
  EXPECT_EQ(loop_->in_flight(), 1u);
  EXPECT_EQ(finish(op), 100'000);
  EXPECT_EQ(loop_->in_flight(), 0u);
  std::vector<std::byte> in(out.size());
  loop_->read(op, file, in, ByteOffset{12'345});
  EXPECT_EQ(finish(op), 100'000);
  EXPECT_EQ(in, out);
  loop_->fdatasync(op, file);
  EXPECT_EQ(finish(op), 0);
  loop_->fallocate(op, file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                   {ByteOffset{12'345}, ByteCount{1000}});
  EXPECT_EQ(finish(op), 0);
  loop_->read(op, file, in, ByteOffset{12'345});
  EXPECT_EQ(finish(op), 100'000);
  EXPECT_EQ(in[999], std::byte{0});
  EXPECT_TRUE(std::equal(in.begin() + 1000, in.end(), out.begin() + 1000));
  loop_->unregister_file(file);
  close(fd);
}

TEST_P(Loops, short_transfers_are_continued_to_the_end) {
  make(LoopOptions{.io_bytes_max = 1000});  // each submission moves at most this
  if (IsSkipped()) return;
  const TemporaryDirectory directory;
  const int fd = open_file(directory);
  Random random{2};
  const auto out = random_bytes(random, 54'321);
  FunctionOp op;
  loop_->write(op, File{fd, -1}, out, ByteOffset{7}, Durability::kCached);
  EXPECT_EQ(finish(op), 54'321);
  std::vector<std::byte> in(out.size());
  loop_->read(op, File{fd, -1}, in, ByteOffset{7});
  EXPECT_EQ(finish(op), 54'321);
  EXPECT_EQ(in, out);
  in.resize(60'000);
  loop_->read(op, File{fd, -1}, in, ByteOffset{7});
  EXPECT_EQ(finish(op), 54'321) << "short only at the end of the file";
  close(fd);
}

TEST_P(Loops, a_write_that_fails_half_way_is_an_error_and_not_a_count) {
  make(LoopOptions{.io_bytes_max = 4096});
  if (IsSkipped()) return;
  // A full device: /dev/full accepts nothing.
  const int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  FunctionOp op;
  const std::vector<std::byte> out(10'000);
  loop_->write(op, File{fd, -1}, out, ByteOffset{0}, Durability::kCached);
  EXPECT_EQ(finish(op), -ENOSPC);
  close(fd);
}

TEST_P(Loops, errors_of_the_file_come_back_as_errno) {
  FunctionOp op;
  const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const std::array<std::byte, 16> out{};
  loop_->write(op, File{fd, -1}, out, ByteOffset{0}, Durability::kCached);
  EXPECT_EQ(finish(op), -EBADF);
  close(fd);
}

TEST_P(Loops, more_operations_at_once_than_the_queue_holds) {
  make(LoopOptions{.queue_entries = 4});
  if (IsSkipped()) return;
  const TemporaryDirectory directory;
  const int fd = open_file(directory);
  constexpr std::size_t kCount = 500;
  std::array<FunctionOp, kCount> ops;
  std::vector<std::uint64_t> values(kCount);
  std::size_t finished = 0;
  // From inside the loop: before the first turn only what fits may be queued.
  FunctionOp begin;
  begin.then = [&](int) {
    for (std::size_t i = 0; i < kCount; ++i) {
      values[i] = i * 7;
      ops[i].then = [&](int result) { finished += result == 8 ? 1u : 0u; };
      loop_->write(ops[i], File{fd, -1}, std::as_bytes(std::span{&values[i], 1}), ByteOffset{i * 8},
                   Durability::kCached);
    }
  };
  loop_->defer(begin, 0);
  ASSERT_TRUE(run_until([&] { return finished == kCount; }));
  std::vector<std::uint64_t> back(kCount);
  ASSERT_EQ(pread(fd, back.data(), kCount * 8, 0), static_cast<ssize_t>(kCount * 8));
  EXPECT_EQ(back, values);
  close(fd);
}

TEST_P(Loops, sendmsg_takes_everything_through_a_small_socket_buffer) {
  const SocketPair pair;
  const int small = 4096;
  setsockopt(pair.fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  Random random{3};
  std::array<std::vector<std::byte>, 5> parts;
  std::vector<iovec> vectors;
  std::vector<std::byte> all;
  for (auto& part : parts) {
    part = random_bytes(random, 1 + random.below(300'000));
    all.insert(all.end(), part.begin(), part.end());
    vectors.push_back(iovec{part.data(), part.size()});
  }
  FunctionOp send;
  FunctionOp receive;
  std::vector<std::byte> got;
  std::array<std::byte, 3000> buffer;
  receive.then = [&](int n) {
    ASSERT_GT(n, 0);
    got.insert(got.end(), buffer.begin(), buffer.begin() + n);
    if (got.size() < all.size()) loop_->receive(receive, File{pair.fds[1], -1}, buffer);
  };
  loop_->send(send, File{pair.fds[0], -1}, vectors);
  loop_->receive(receive, File{pair.fds[1], -1}, buffer);
  ASSERT_TRUE(run_until([&] { return got.size() == all.size() && send.finished; }));
  EXPECT_EQ(send.result, static_cast<int>(all.size()));
  EXPECT_EQ(got, all);
  close(pair.fds[0]);
  close(pair.fds[1]);
}

TEST_P(Loops, cancelled_receive_and_poll_end_at_once) {
  const SocketPair pair;
  std::array<std::byte, 8> buffer;
  FunctionOp receive;
  FunctionOp poll;
  loop_->receive(receive, File{pair.fds[0], -1}, buffer);
  loop_->poll_fd(poll, File{pair.fds[1], -1}, POLLIN);
  loop_->poll();
  loop_->cancel(receive);
  loop_->cancel(poll);
  ASSERT_TRUE(run_until([&] { return receive.finished && poll.finished; }));
  EXPECT_EQ(receive.result, -ECANCELED);
  EXPECT_EQ(poll.result, -ECANCELED);
  loop_->cancel(receive);  // idle: nothing
  close(pair.fds[0]);
  close(pair.fds[1]);
}

TEST_P(Loops, poll_reports_readiness) {
  const SocketPair pair;
  FunctionOp poll;
  loop_->poll_fd(poll, File{pair.fds[0], -1}, POLLIN);
  ASSERT_EQ(write(pair.fds[1], "x", 1), 1);
  EXPECT_NE(finish(poll) & POLLIN, 0);
  FunctionOp end;
  loop_->close(end, pair.fds[0]);
  EXPECT_EQ(finish(end), 0);
  close(pair.fds[1]);
}

TEST_P(Loops, timers_fire_in_order_and_never_early) {
  std::vector<int> order;
  const Instant start = loop_->now();
  std::array<Instant, 3> fired{};
  FunctionTimer late{[&] {
    order.push_back(3);
    fired[2] = loop_->now();
  }};
  FunctionTimer early{[&] {
    order.push_back(1);
    fired[0] = loop_->now();
  }};
  FunctionTimer middle{[&] {
    order.push_back(2);
    fired[1] = loop_->now();
  }};
  FunctionTimer never{[&] { order.push_back(9); }};
  loop_->arm(late, start + Duration::milliseconds(30));
  loop_->arm(never, start + Duration::milliseconds(15));
  loop_->arm(early, start + Duration::milliseconds(40));
  loop_->arm(middle, start + Duration::milliseconds(20));
  loop_->arm(early, start + Duration::milliseconds(10));  // moved
  loop_->disarm(never);
  ASSERT_TRUE(run_until([&] { return order.size() == 3; }));
  EXPECT_EQ(order, (std::vector{1, 2, 3}));
  for (int i = 0; i < 3; ++i) {
    EXPECT_GE(fired[static_cast<std::size_t>(i)], start + Duration::milliseconds(10 * (i + 1)));
  }
}

TEST_P(Loops, deadline_callback_and_turn_end) {
  struct Seen {
    int deadlines = 0;
    int turns = 0;
  } seen;
  loop_->set_deadline_callback([](void* c) { ++static_cast<Seen*>(c)->deadlines; }, &seen);
  loop_->set_turn_end([](void* c) { ++static_cast<Seen*>(c)->turns; }, &seen);
  loop_->set_deadline(loop_->now());
  loop_->turn();
  EXPECT_EQ(seen.deadlines, 1);
  EXPECT_EQ(seen.turns, 1);
  loop_->set_deadline(loop_->now() + Duration::milliseconds(5));
  ASSERT_TRUE(run_until([&] { return seen.deadlines == 2; }));
  loop_->set_deadline(loop_->now() + Duration::seconds(1000));
  loop_->set_deadline(Instant::never());
  loop_->set_turn_end(nullptr, nullptr);  // `seen` ends before the fixture's last turns
}

TEST_P(Loops, a_timer_that_arms_itself_for_now_does_not_hold_the_turn) {
  int count = 0;
  FunctionTimer* self = nullptr;
  FunctionTimer timer{[&] {
    if (++count < 1000) loop_->arm(*self, loop_->now());
  }};
  self = &timer;
  loop_->arm(timer, loop_->now());
  loop_->turn();
  EXPECT_LT(count, 3);
  loop_->disarm(timer);
}

TEST_P(Loops, work_at_the_end_of_the_turn_comes_after_handlers_and_turn_end) {
  std::string order;
  FunctionOp first;
  FunctionOp last;
  first.then = [&](int) {
    order += 'h';
    loop_->defer_to_turn_end(last);
  };
  last.then = [&](int) { order += 'l'; };
  loop_->set_turn_end([](void* c) { *static_cast<std::string*>(c) += 'e'; }, &order);
  loop_->defer(first, 5);
  loop_->turn();
  EXPECT_EQ(order, "hel");
  EXPECT_EQ(first.result, 5);
  loop_->set_turn_end(nullptr, nullptr);
}

TEST_P(Loops, calls_run_on_another_thread_and_return) {
  struct Call {
    std::thread::id thread;
  } call;
  FunctionOp op;
  loop_->call(
      op,
      [](void* c) {
        static_cast<Call*>(c)->thread = std::this_thread::get_id();
        return 42;
      },
      &call);
  EXPECT_EQ(finish(op), 42);
  EXPECT_NE(call.thread, std::this_thread::get_id());
}

TEST_P(Loops, stop_from_another_thread_ends_a_waiting_run) {
  std::thread stopper{[&] { loop_->request_stop(); }};
  loop_->run();
  stopper.join();
  EXPECT_FALSE(loop_->stop_requested());
}

TEST_P(Loops, made_here_and_run_on_another_thread) {
  const TemporaryDirectory directory;
  const int fd = open_file(directory);
  File file = loop_->register_file(fd);
  std::thread shard{[&] {
    FunctionOp op;
    const std::array<std::byte, 512> out{};
    loop_->write(op, file, out, ByteOffset{0}, Durability::kStable);
    EXPECT_EQ(finish(op), 512);
    loop_->unregister_file(file);
    loop_->drain();
  }};
  shard.join();
  loop_.reset();
  close(fd);
}

TEST_P(Loops, drain_waits_for_everything_in_flight) {
  const TemporaryDirectory directory;
  const int fd = open_file(directory);
  std::array<FunctionOp, 32> ops;
  const std::vector<std::byte> out(64u << 10);
  for (std::size_t i = 0; i < ops.size(); ++i) {
    loop_->write(ops[i], File{fd, -1}, out, ByteOffset{i * out.size()}, Durability::kStable);
  }
  loop_->drain();
  EXPECT_EQ(loop_->in_flight(), 0u);
  for (const FunctionOp& op : ops) EXPECT_EQ(op.result, static_cast<int>(out.size()));
  close(fd);
}

using LoopDeaths = LoopTest;
TB_BOTH_ENGINES(LoopDeaths);

TEST_P(LoopDeaths, an_operation_submitted_twice_aborts) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  FunctionOp op;
  EXPECT_DEATH(
      {
        loop_->defer(op, 0);
        loop_->defer(op, 0);
      },
      "assertion failed");
}

TEST_P(LoopDeaths, an_operation_destroyed_in_flight_aborts) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        FunctionOp op;
        loop_->defer(op, 0);
      },
      "assertion failed");
}

TEST(ForcedFallback, by_the_environment) {
  setenv("TWINBLOCK_NO_IO_URING", "1", 1);
  auto loop = Loop::create(LoopOptions{});
  unsetenv("TWINBLOCK_NO_IO_URING");
  ASSERT_TRUE(loop);
  EXPECT_FALSE((*loop)->uses_io_uring());
}

}  // namespace
}  // namespace twinblock::ring::test
