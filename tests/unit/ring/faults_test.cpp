#include "transport/ring/faults.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <fstream>
#include <sstream>

#include "tests/unit/ring/fixture.hpp"
#include "transport/ring/disk.hpp"
#include "transport/ring/error.hpp"
#include "transport/ring/stream.hpp"

namespace twinblock::ring::test {
namespace {

constexpr std::size_t kBlock = 4096;

// --- the text ---

TEST(FaultPlans, every_word_is_understood) {
  const auto parsed = parse_fault_plan(
      "# a comment\n seed=7 ; file=/tmp/rules\nid=x\n"
      "data.write@nth:3=fail:EIO; metadata.flush@from:2,count:5=failafter:ENOSPC\n"
      "peer.any@1in:10=delay:5-50;any.read=delay:3; nbd.read=hang; data.read=short:512; data.flush=drop\n"
      "metadata.write@offset:0-4096=torn:1024; any.any=crash; data.zero=crashafter; data.read=fail:5\n");
  ASSERT_TRUE(parsed.plan) << parsed.problem;
  EXPECT_EQ(parsed.plan->seed, 7u);
  EXPECT_EQ(parsed.plan->file, "/tmp/rules");
  EXPECT_EQ(parsed.plan->id, "x");
  const auto& rules = parsed.plan->rules;
  ASSERT_EQ(rules.size(), 11u);
  EXPECT_EQ(rules[0].role, FileRole::kData);
  EXPECT_EQ(rules[0].op, FaultOp::kWrite);
  EXPECT_EQ(rules[0].first, 3u);
  EXPECT_EQ(rules[0].hits_max, 1u);
  EXPECT_EQ(rules[0].error, EIO);
  EXPECT_EQ(rules[0].text, "data.write@nth:3=fail:EIO");
  EXPECT_EQ(rules[1].first, 2u);
  EXPECT_EQ(rules[1].hits_max, 5u);
  EXPECT_EQ(rules[1].action, FaultAction::kFailAfter);
  EXPECT_EQ(rules[2].one_in, 10u);
  EXPECT_EQ(rules[2].amount, 5u);
  EXPECT_EQ(rules[2].amount_max, 50u);
  EXPECT_EQ(rules[2].op, std::nullopt);
  EXPECT_EQ(rules[3].role, std::nullopt);
  EXPECT_EQ(rules[3].amount_max, 3u);
  EXPECT_EQ(rules[7].offset_end, 4096u);
  EXPECT_EQ(rules[7].amount, 1024u);
  EXPECT_EQ(rules[10].error, EIO);
}

TEST(FaultPlans, what_makes_no_sense_is_named) {
  struct Case {
    const char* text;
    const char* part;
  };
  const std::array cases{
      Case{"nonsense", "TARGET.OPERATION"},
      Case{"disk.write=hang", "\"disk\" is none of"},
      Case{"data.append=hang", "\"append\" is none of"},
      Case{"data.write=explode", "\"explode\" is no action"},
      Case{"data.write=fail:EBROKEN", "no errno"},
      Case{"data.write=fail", "no errno"},
      Case{"data.write@nth:0=hang", "number from 1"},
      Case{"data.write@every:2=hang", "\"every\" is none of"},
      Case{"data.write@offset:8-8=hang", "BEGIN-END"},
      Case{"data.write=delay:9-5", "MS-MS"},
      Case{"data.write=short:100", "multiple of 512"},
      Case{"data.write=short:0", "at least 512"},
      Case{"data.flush=short:512", "only reads and writes"},
      Case{"data.read=torn:512", "only a write"},
      Case{"data.read=drop", "only writes, flushes"},
      Case{"peer.write=drop", "only a disk"},
      Case{"peer.write=short:512", "only a disk"},
      Case{"nbd.flush=hang", "read and write only"},
      Case{"data.write=hang:5", "no argument"},
      Case{"seed=many", "number"},
      Case{"file=rules", "absolute"},
  };
  for (const Case& c : cases) {
    const auto parsed = parse_fault_plan(c.text);
    EXPECT_FALSE(parsed.plan) << c.text;
    EXPECT_NE(parsed.problem.find(c.part), std::string::npos) << c.text << ": " << parsed.problem;
  }
}

std::string pattern_of(const char* text, int count) {
  auto rule = parse_fault_plan(text).plan->rules.at(0);
  Random random{3};
  std::string pattern;
  for (int i = 0; i < count; ++i) pattern += rule.strikes(random) ? 'x' : '.';
  return pattern;
}

TEST(FaultPlans, conditions_choose_operations) {
  EXPECT_EQ(pattern_of("data.write=hang", 5), "xxxxx");
  EXPECT_EQ(pattern_of("data.write@nth:3=hang", 5), "..x..");
  EXPECT_EQ(pattern_of("data.write@from:3=hang", 5), "..xxx");
  EXPECT_EQ(pattern_of("data.write@from:2,count:2=hang", 5), ".xx..");
  const std::string chance = pattern_of("data.write@1in:4=hang", 4000);
  EXPECT_EQ(chance, pattern_of("data.write@1in:4=hang", 4000)) << "the seed decides";
  EXPECT_NEAR(static_cast<double>(std::count(chance.begin(), chance.end(), 'x')), 1000.0, 150.0);
  const FaultRule area = parse_fault_plan("data.any@offset:4096-8192=hang").plan->rules.at(0);
  EXPECT_FALSE(area.matches(FileRole::kData, FaultOp::kWrite, 0, 4096));
  EXPECT_TRUE(area.matches(FileRole::kData, FaultOp::kWrite, 0, 4097));
  EXPECT_TRUE(area.matches(FileRole::kData, FaultOp::kRead, 8191, 1));
  EXPECT_FALSE(area.matches(FileRole::kData, FaultOp::kRead, 8192, 512));
  EXPECT_FALSE(area.matches(FileRole::kData, FaultOp::kFlush, 0, 0)) << "a flush has no place";
  EXPECT_FALSE(area.matches(FileRole::kMetadata, FaultOp::kWrite, 4096, 512));
}

// --- the layer ---

class Faults : public LoopTest {
 protected:
  void SetUp() override {}
  void TearDown() override {
    if (disk_) disk_->detach();
    disk_.reset();
    LoopTest::TearDown();
  }
  void start(const std::string& rules) {
    make(LoopOptions{.faults = rules});
    if (IsSkipped()) return;
    path_ = directory_.file("disk");
    ASSERT_TRUE(allocate_and_zero(path_, ByteCount{1u << 20}, nullptr, nullptr));
    auto opened = Disk::open(path_, DiskOptions{.role = FileRole::kData});
    ASSERT_TRUE(opened);
    disk_ = std::move(*opened);
    disk_->attach(*loop_);
  }
  std::span<std::byte> block(int fill, std::size_t size = kBlock) {
    std::memset(memory_.data(), fill, memory_.size());
    return std::span{memory_}.first(size);
  }
  int write(int fill, std::uint64_t at, std::size_t size = kBlock) {
    FunctionOp op;
    disk_->write(op, block(fill, size), ByteOffset{at}, Durability::kStable);
    return finish(op);
  }
  int flush() {
    FunctionOp op;
    disk_->flush(op);
    return finish(op);
  }
  int read(std::uint64_t at, std::size_t size = kBlock) {
    FunctionOp op;
    disk_->read(op, block(0xee, size), ByteOffset{at});
    return finish(op);
  }
  // How many bytes of the file from `at` on have this value.
  std::size_t run_of(std::uint64_t at, int fill) const {
    std::ifstream in{path_, std::ios::binary};
    in.seekg(static_cast<std::streamoff>(at));
    std::size_t count = 0;
    while (in.get() == fill) ++count;
    return count;
  }
  // Writes the rules file and runs turns until it is in force.
  void set_rules(const std::string& text) {
    const std::string id = "n" + std::to_string(++id_);
    {
      std::ofstream out{directory_.file("rules.new")};
      out << "id=" << id << "\n" << text;
    }
    std::filesystem::rename(directory_.file("rules.new"), directory_.file("rules"));
    ASSERT_TRUE(run_until([&] { return state().find("id " + id + "\n") != std::string::npos; }));
  }
  std::string state() const {
    std::ifstream in{directory_.file("rules.state")};
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }

  TemporaryDirectory directory_;
  std::string path_;
  std::unique_ptr<Disk> disk_;
  int id_ = 0;
  alignas(4096) std::array<std::byte, 65536> memory_{};
};
TB_BOTH_ENGINES(Faults);

TEST_P(Faults, are_off_unless_asked_for) {
  make(LoopOptions{});
  if (IsSkipped()) return;
  EXPECT_EQ(loop_->faults(), nullptr);
}

TEST_P(Faults, nonsense_refuses_to_start) {
  LoopOptions options;
  options.faults = "data.write=explode";
  const auto made = Loop::create(options);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error(), errc::kBadFaults);
}

TEST_P(Faults, a_failure_does_nothing_and_a_late_one_everything) {
  start("data.write@nth:1=fail:ENOSPC; data.write@nth:2=failafter:EIO; data.flush@nth:2=fail:EIO");
  if (IsSkipped()) return;
  EXPECT_NE(loop_->notes().find("faults: "), std::string::npos);
  EXPECT_EQ(write(1, 0), -ENOSPC);
  EXPECT_EQ(run_of(0, 1), 0u);
  EXPECT_EQ(write(2, 0), -EIO);
  EXPECT_EQ(run_of(0, 2), kBlock);
  EXPECT_EQ(write(3, 0), static_cast<int>(kBlock));
  EXPECT_EQ(run_of(0, 3), kBlock);
  EXPECT_EQ(flush(), 0);
  EXPECT_EQ(flush(), -EIO);
  EXPECT_EQ(flush(), 0);
}

TEST_P(Faults, reads_and_zeroes_fail_at_their_place) {
  start("data.read@offset:8192-12288=fail:EIO; data.zero=fail:EIO; data.write@offset:65536-69632=fail:EIO");
  if (IsSkipped()) return;
  EXPECT_EQ(read(0, 2 * kBlock), static_cast<int>(2 * kBlock));
  EXPECT_EQ(read(0, 2 * kBlock + 512), -EIO);
  EXPECT_EQ(write(1, 65536 - kBlock), static_cast<int>(kBlock));
  EXPECT_EQ(write(1, 65536), -EIO);
  struct Zero : ZeroRequest {
    Zero() : ZeroRequest{[](ZeroRequest* r, int value) { static_cast<Zero*>(r)->result = value; }} {}
    int result = 1;
  } zero;
  disk_->write_zeroes(zero, {ByteOffset{0}, ByteCount{kBlock}}, false, Durability::kCached);
  EXPECT_TRUE(run_until([&] { return zero.result != 1; }));
  EXPECT_EQ(zero.result, -EIO);
}

TEST_P(Faults, short_transfers_are_continued_to_their_end) {
  start("file=" + directory_.file("rules"));
  if (IsSkipped()) return;
  const std::size_t step = std::max<std::size_t>(kBlock, disk_->properties().logical_block);
  set_rules("data.any@1in:1000000=hang; data.write=short:" + std::to_string(step) +
            "; data.read=short:" + std::to_string(step));
  EXPECT_EQ(write(5, 0, 8 * step), static_cast<int>(8 * step));
  EXPECT_EQ(run_of(0, 5), 8 * step);
  EXPECT_EQ(read(0, 8 * step), static_cast<int>(8 * step));
  EXPECT_EQ(
      std::count(memory_.begin(), memory_.begin() + static_cast<std::ptrdiff_t>(8 * step), std::byte{5}),
      static_cast<std::ptrdiff_t>(8 * step));
  EXPECT_TRUE(run_until([&] { return state().find("data.read 8\ndata.write 8\n") != std::string::npos; }))
      << state();
}

TEST_P(Faults, a_short_write_whose_rest_fails_is_a_failure) {
  start("data.write@nth:1=short:4096; data.write@nth:2=fail:EIO");
  if (IsSkipped()) return;
  EXPECT_EQ(write(6, 0, 4 * kBlock), -EIO);
  EXPECT_EQ(run_of(0, 6), kBlock);
}

TEST_P(Faults, an_interruption_is_tried_again) {
  start("data.write@count:3=fail:EAGAIN; data.read@count:3=fail:EINTR; data.flush@count:3=fail:EAGAIN");
  if (IsSkipped()) return;
  EXPECT_EQ(write(7, 0), static_cast<int>(kBlock));
  EXPECT_EQ(read(0), static_cast<int>(kBlock));
  EXPECT_EQ(memory_[0], std::byte{7});
  EXPECT_EQ(flush(), 0);
}

TEST_P(Faults, a_disk_that_always_says_again_is_given_up) {
  start("data.write=fail:EAGAIN");
  if (IsSkipped()) return;
  EXPECT_EQ(write(7, 0), -EAGAIN);
}

TEST_P(Faults, a_dropped_write_is_a_success_that_left_nothing) {
  start("data.write@nth:2=drop; data.flush=drop");
  if (IsSkipped()) return;
  EXPECT_EQ(write(1, 0), static_cast<int>(kBlock));
  EXPECT_EQ(write(2, 0), static_cast<int>(kBlock));
  EXPECT_EQ(flush(), 0);
  EXPECT_EQ(run_of(0, 1), kBlock);
}

TEST_P(Faults, a_delay_holds_one_operation_and_no_other) {
  start("data.write@nth:1=delay:60");
  if (IsSkipped()) return;
  FunctionOp late;
  const Instant begun = loop_->now();
  disk_->write(late, block(1), ByteOffset{0}, Durability::kCached);
  EXPECT_EQ(read(65536), static_cast<int>(kBlock));
  EXPECT_FALSE(late.finished);
  std::memset(memory_.data(), 1, kBlock);  // the held write still points here
  EXPECT_EQ(finish(late), static_cast<int>(kBlock));
  EXPECT_GE((loop_->now() - begun).nanoseconds(), Duration::milliseconds(60).nanoseconds());
  EXPECT_EQ(run_of(0, 1), kBlock);
}

TEST_P(Faults, what_hangs_completes_when_its_rule_goes) {
  start("file=" + directory_.file("rules"));
  if (IsSkipped()) return;
  set_rules("data.write=hang");
  FunctionOp hung;
  disk_->write(hung, block(9), ByteOffset{0}, Durability::kStable);
  EXPECT_EQ(read(65536), static_cast<int>(kBlock));
  std::memset(memory_.data(), 9, kBlock);
  set_rules("data.write=hang; data.flush@nth:1=fail:EIO");
  EXPECT_EQ(flush(), -EIO);
  EXPECT_FALSE(hung.finished) << "its rule is still there";
  EXPECT_NE(state().find("rule 1 data.write=hang\n"), std::string::npos) << state();
  EXPECT_NE(state().find("held 1\n"), std::string::npos) << state();
  EXPECT_EQ(run_of(0, 9), 0u);
  set_rules("");
  EXPECT_EQ(finish(hung), static_cast<int>(kBlock));
  EXPECT_EQ(run_of(0, 9), kBlock);
}

TEST_P(Faults, a_bad_rules_file_is_told_and_changes_nothing) {
  start("file=" + directory_.file("rules"));
  if (IsSkipped()) return;
  set_rules("data.flush=fail:EIO");
  std::ofstream{directory_.file("rules")} << "data.flush=explode";
  EXPECT_TRUE(run_until([&] { return state().find("problem \"data.flush=explode\"") != std::string::npos; }));
  EXPECT_EQ(flush(), -EIO);
}

TEST_P(Faults, a_socket_that_hangs_can_be_closed) {
  start("peer.write=hang; nbd.read=fail:ECONNRESET");
  if (IsSkipped()) return;
  struct Handler : StreamHandler {
    void on_data(StreamSocket& socket) override { socket.consume(socket.stash().size()); }
    void on_received(StreamSocket&) override {}
    void on_closed(StreamSocket&, ErrorCode why) override {
      closed = true;
      reason = why;
    }
    bool closed = false;
    ErrorCode reason;
  } handler;
  SocketPair pair;
  {
    StreamSocket peer{*loop_, handler, StreamOptions{.role = FileRole::kPeer}};
    peer.open(pair.fds[0]);
    const std::array<std::byte, 4> hello{};
    EXPECT_TRUE(peer.send(SendClass::kNormal, SendItem{.header = hello}));
    loop_->turn();
    loop_->poll();
    std::array<char, 8> received{};
    EXPECT_EQ(recv(pair.fds[1], received.data(), received.size(), MSG_DONTWAIT), -1) << "nothing left";
    peer.close(errc::kClosed);
    EXPECT_TRUE(run_until([&] { return handler.closed; }));
  }
  close(pair.fds[1]);
  SocketPair second;
  handler.closed = false;
  {
    StreamSocket client{*loop_, handler, StreamOptions{.role = FileRole::kNbd}};
    client.open(second.fds[0]);
    EXPECT_TRUE(run_until([&] { return handler.closed; }));
    EXPECT_EQ(handler.reason, system_error(ECONNRESET));
  }
  close(second.fds[1]);
}

// In a child of its own: three blocks of 1, then one request of 2 that tears or dies.
void die_in(EngineKind kind, const std::string& path, const std::string& rules) {
  LoopOptions options;
  options.force_fallback = kind == EngineKind::kEpoll;
  options.faults = rules;
  auto loop = Loop::create(options);
  if (!loop) std::_Exit(1);
  // The ring of the child before us may still hold the disk for a moment.
  auto disk = Disk::open(path, DiskOptions{.role = FileRole::kMetadata});
  while (!disk && disk.error() == errc::kDiskInUse) {
    disk = Disk::open(path, DiskOptions{.role = FileRole::kMetadata});
  }
  if (!disk) std::_Exit(2);
  (*disk)->attach(**loop);
  alignas(4096) static std::array<std::byte, 3 * kBlock> data;
  for (const int fill : {1, 2}) {
    std::memset(data.data(), fill, data.size());
    FunctionOp op;
    (*disk)->write(op, data, ByteOffset{kBlock}, Durability::kStable);
    while (!op.finished) (*loop)->turn();
  }
  std::_Exit(3);
}

TEST_P(Faults, a_torn_write_ends_at_its_sector_and_kills) {
  const std::string path = directory_.file("torn");
  ASSERT_TRUE(allocate_and_zero(path, ByteCount{1u << 20}, nullptr, nullptr));
  path_ = path;
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{512}, 2 * kBlock + 1024, 64 * kBlock}) {
    EXPECT_EXIT(die_in(GetParam(), path, "metadata.write@nth:2=torn:" + std::to_string(bytes)),
                testing::KilledBySignal(SIGKILL), "");
    const std::size_t torn = std::min(bytes, 3 * kBlock);
    EXPECT_EQ(run_of(kBlock, 2), torn);
    EXPECT_EQ(run_of(kBlock + torn, 1), 3 * kBlock - torn);
  }
}

TEST_P(Faults, a_crash_comes_before_or_after) {
  const std::string path = directory_.file("crash");
  ASSERT_TRUE(allocate_and_zero(path, ByteCount{1u << 20}, nullptr, nullptr));
  path_ = path;
  EXPECT_EXIT(die_in(GetParam(), path, "metadata.write@nth:2=crash"), testing::KilledBySignal(SIGKILL), "");
  EXPECT_EQ(run_of(kBlock, 1), 3 * kBlock);
  EXPECT_EXIT(die_in(GetParam(), path, "metadata.write@nth:2=crashafter"), testing::KilledBySignal(SIGKILL),
              "");
  EXPECT_EQ(run_of(kBlock, 2), 3 * kBlock);
}

}  // namespace
}  // namespace twinblock::ring::test
