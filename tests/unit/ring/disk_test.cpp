#include "transport/ring/disk.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <cstring>

#include "tests/unit/ring/fixture.hpp"
#include "transport/ring/arena.hpp"
#include "transport/ring/error.hpp"

namespace twinblock::ring::test {
namespace {

struct FunctionZero : ZeroRequest {
  FunctionZero() : ZeroRequest{&call} {}
  static void call(ZeroRequest* request, int result) {
    auto* self = static_cast<FunctionZero*>(request);
    self->result = result;
    self->finished = true;
  }
  int result = 0;
  bool finished = false;
};

class Disks : public LoopTest {
 protected:
  void TearDown() override {
    if (disk_) disk_->detach();
    disk_.reset();
    LoopTest::TearDown();
  }
  void make_disk(std::uint64_t size, const DiskOptions& options = {}) {
    const std::string path = directory_.file("disk");
    ASSERT_TRUE(allocate_and_zero(path, ByteCount{size}, nullptr, nullptr));
    auto opened = Disk::open(path, options);
    ASSERT_TRUE(opened) << opened.error().message();
    disk_ = std::move(*opened);
    disk_->attach(*loop_);
  }
  int zero(ByteRange range, bool unmap, Durability durability) {
    FunctionZero request;
    disk_->write_zeroes(request, range, unmap, durability);
    EXPECT_TRUE(run_until([&] { return request.finished; }));
    return request.result;
  }
  void random_history(std::uint64_t seed, int steps);

  TemporaryDirectory directory_;
  std::unique_ptr<Disk> disk_;
};
TB_BOTH_ENGINES(Disks);

void Disks::random_history(std::uint64_t seed, int steps) {
  constexpr std::uint64_t kSize = 4u << 20;
  if (!disk_) make_disk(kSize);
  auto arena = Arena::create(ArenaOptions::of_size(ByteCount{8u << 20}));
  ASSERT_TRUE(arena);
  const BufferHandle handle = (*arena)->allocate(kBufferSizeMax, BufferUser::kApplication);
  const auto buffer = (*arena)->bytes(handle);
  std::vector<std::byte> model(kSize);
  Random random{seed};
  const std::uint64_t block = disk_->properties().logical_block;
  for (int i = 0; i < steps; ++i) {
    const std::uint64_t length = (1 + random.below(buffer.size() / block)) * block >> random.below(8);
    const std::uint64_t rounded = std::max(block, length / block * block);
    const std::uint64_t at = random.below((kSize - rounded) / block + 1) * block;
    const auto part = buffer.first(rounded);
    FunctionOp op;
    switch (random.below(4)) {
      case 0:
        for (std::byte& b : part) b = static_cast<std::byte>(random.next());
        std::copy(part.begin(), part.end(), model.begin() + static_cast<std::ptrdiff_t>(at));
        disk_->write(op, part, ByteOffset{at}, random.one_in(2) ? Durability::kStable : Durability::kCached);
        ASSERT_EQ(finish(op), static_cast<int>(rounded));
        break;
      case 1:
        std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(at), rounded, std::byte{0});
        ASSERT_EQ(zero({ByteOffset{at}, ByteCount{rounded}}, random.one_in(2),
                       random.one_in(4) ? Durability::kStable : Durability::kCached),
                  0);
        break;
      case 2:
        disk_->flush(op);
        ASSERT_EQ(finish(op), 0);
        break;
      default:
        disk_->read(op, part, ByteOffset{at});
        ASSERT_EQ(finish(op), static_cast<int>(rounded));
        ASSERT_EQ(std::memcmp(part.data(), model.data() + at, rounded), 0)
            << "seed " << seed << " step " << i;
    }
  }
  for (std::uint64_t at = 0; at < kSize; at += buffer.size()) {
    FunctionOp op;
    disk_->read(op, buffer, ByteOffset{at});
    ASSERT_EQ(finish(op), static_cast<int>(buffer.size()));
    ASSERT_EQ(std::memcmp(buffer.data(), model.data() + at, buffer.size()), 0);
  }
  (*arena)->release(handle);
}

TEST_P(Disks, random_reads_writes_and_zeroes_agree_with_a_model) {
  random_history(1, 300);
}

TEST_P(Disks, the_same_buffered) {
  make_disk(4u << 20, DiskOptions{.direct = false});
  EXPECT_FALSE(disk_->properties().direct);
  random_history(2, 300);
}

TEST_P(Disks, the_same_in_short_pieces) {
  make(LoopOptions{.io_bytes_max = 8192});
  if (IsSkipped()) return;
  random_history(3, 150);
}

TEST_P(Disks, registered_buffers_carry_reads_and_writes) {
  auto arena = Arena::create(ArenaOptions::of_size(ByteCount{8u << 20}));
  ASSERT_TRUE(arena);
  // May be refused by the limit on locked memory: then plain I/O must work just as well.
  const bool registered = static_cast<bool>((*arena)->register_with(*loop_));
  EXPECT_EQ(registered, loop_->notes().find("not registered") == std::string::npos);
  make_disk(1u << 20);
  Random random{4};
  const BufferHandle out = (*arena)->allocate(ByteCount{64u << 10}, BufferUser::kApplication);
  const BufferHandle in = (*arena)->allocate(ByteCount{64u << 10}, BufferUser::kApplication);
  for (std::byte& b : (*arena)->bytes(out)) b = static_cast<std::byte>(random.next());
  FunctionOp op;
  disk_->write(op, (*arena)->bytes(out), ByteOffset{65536}, Durability::kStable);
  ASSERT_EQ(finish(op), 65536);
  disk_->read(op, (*arena)->bytes(in), ByteOffset{65536});
  ASSERT_EQ(finish(op), 65536);
  EXPECT_EQ(std::memcmp((*arena)->bytes(out).data(), (*arena)->bytes(in).data(), 65536), 0);
  (*arena)->release(out);
  (*arena)->release(in);
  disk_->detach();
  loop_->drain();
  loop_.reset();  // before the arena: the ring pins its pages
}

TEST_P(Disks, zeroes_with_unmap_give_the_space_back) {
  make_disk(1u << 20);
  struct stat before {};
  ASSERT_EQ(fstat(disk_->fd(), &before), 0);
  ASSERT_EQ(before.st_blocks * 512 >= 1 << 20, true) << "allocate_and_zero leaves no holes";
  ASSERT_EQ(zero({ByteOffset{0}, ByteCount{512u << 10}}, true, Durability::kStable), 0);
  struct stat after {};
  ASSERT_EQ(fstat(disk_->fd(), &after), 0);
  EXPECT_LT(after.st_blocks, before.st_blocks);
  EXPECT_EQ(after.st_size, before.st_size);
}

TEST_P(Disks, write_zeroes_falls_back_to_writing_where_fallocate_is_refused) {
  make_disk(1u << 20);
  // A file system that lacks FALLOC_FL_ZERO_RANGE: tmpfs.
  const std::string path =
      "/dev/shm/twinblock-zero-" + std::to_string(getpid()) + (GetParam() == EngineKind::kUring ? "u" : "e");
  struct statfs fs {};
  if (statfs("/dev/shm", &fs) != 0) GTEST_SKIP() << "no /dev/shm";
  ASSERT_TRUE(allocate_and_zero(path, ByteCount{1u << 20}, nullptr, nullptr));
  auto opened = Disk::open(path, DiskOptions{});
  ASSERT_TRUE(opened) << opened.error().message();
  unlink(path.c_str());
  disk_->detach();
  disk_ = std::move(*opened);
  disk_->attach(*loop_);
  EXPECT_TRUE(disk_->properties().volatile_backing);
  alignas(4096) static std::array<std::byte, 8192> data;
  data.fill(std::byte{7});
  FunctionOp op;
  disk_->write(op, data, ByteOffset{4096}, Durability::kCached);
  ASSERT_EQ(finish(op), 8192);
  ASSERT_EQ(zero({ByteOffset{8192}, ByteCount{700u << 10}}, false, Durability::kStable), 0);
  disk_->read(op, data, ByteOffset{4096});
  ASSERT_EQ(finish(op), 8192);
  EXPECT_EQ(data[4095], std::byte{7});
  EXPECT_EQ(data[4096], std::byte{0});
}

TEST(DiskOpen, a_second_opener_is_told_that_the_disk_is_in_use) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("disk");
  ASSERT_TRUE(allocate_and_zero(path, ByteCount{1u << 20}, nullptr, nullptr));
  auto first = Disk::open(path, DiskOptions{});
  ASSERT_TRUE(first);
  EXPECT_EQ(Disk::open(path, DiskOptions{}).error(), errc::kDiskInUse);
  // The lock is the open file description's: a copy of the descriptor, such as the ring's, keeps it.
  const int copy = dup((*first)->fd());
  first->reset();
  EXPECT_EQ(Disk::open(path, DiskOptions{}).error(), errc::kDiskInUse);
  close(copy);
  EXPECT_TRUE(Disk::open(path, DiskOptions{}));
}

TEST(DiskOpen, readers_share_and_exclude_a_writer) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("disk");
  ASSERT_TRUE(allocate_and_zero(path, ByteCount{1u << 20}, nullptr, nullptr));
  auto reader = Disk::open(path, DiskOptions{.writable = false});
  ASSERT_TRUE(reader);
  EXPECT_TRUE(Disk::open(path, DiskOptions{.writable = false}));
  EXPECT_EQ(Disk::open(path, DiskOptions{}).error(), errc::kDiskInUse);
}

TEST(DiskOpen, bad_paths_are_refused) {
  const TemporaryDirectory directory;
  EXPECT_EQ(Disk::open(directory.file("none"), DiskOptions{}).error(), system_error(ENOENT));
  EXPECT_EQ(Disk::open(directory.file("."), DiskOptions{}).error(), errc::kNotADisk);
  EXPECT_EQ(Disk::open("/dev/null", DiskOptions{}).error(), errc::kNotADisk);
  const std::string tiny = directory.file("tiny");
  ASSERT_TRUE(allocate_and_zero(tiny, ByteCount{100}, nullptr, nullptr));
  EXPECT_EQ(Disk::open(tiny, DiskOptions{}).error(), errc::kEmptyDisk);
}

TEST(DiskOpen, the_size_is_rounded_down_to_blocks) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("odd");
  ASSERT_TRUE(allocate_and_zero(path, ByteCount{100'000}, nullptr, nullptr));
  auto disk = Disk::open(path, DiskOptions{});
  ASSERT_TRUE(disk);
  const DiskProperties& p = (*disk)->properties();
  EXPECT_EQ(p.size.value(), 100'000 / p.logical_block * p.logical_block);
  EXPECT_FALSE(p.block_device);
}

TEST(DiskIdentities, tell_a_file_from_its_successor) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("disk");
  std::string first;
  {
    ASSERT_TRUE(allocate_and_zero(path, ByteCount{4096}, nullptr, nullptr));
    auto disk = Disk::open(path, DiskOptions{});
    ASSERT_TRUE(disk);
    first = (*disk)->identity().text();
    EXPECT_EQ((*disk)->identity().text(), first);
  }
  EXPECT_EQ((*Disk::open(path, DiskOptions{}))->identity().text(), first);
  std::filesystem::rename(path, directory.file("moved"));
  EXPECT_EQ((*Disk::open(directory.file("moved"), DiskOptions{}))->identity().text(), first);
  ASSERT_TRUE(allocate_and_zero(path, ByteCount{4096}, nullptr, nullptr));
  EXPECT_NE((*Disk::open(path, DiskOptions{}))->identity().text(), first);
}

TEST(AllocateAndZero, reports_progress_and_refuses_an_existing_file) {
  const TemporaryDirectory directory;
  const std::string path = directory.file("new");
  std::uint64_t last = 0;
  ASSERT_TRUE(allocate_and_zero(
      path, ByteCount{3'000'000},
      [](void* c, ByteCount done) { *static_cast<std::uint64_t*>(c) = done.value(); }, &last));
  EXPECT_EQ(last, 3'000'000u);
  EXPECT_EQ(std::filesystem::file_size(path), 3'000'000u);
  EXPECT_EQ(allocate_and_zero(path, ByteCount{1}, nullptr, nullptr).error(), system_error(EEXIST));
  EXPECT_EQ(std::filesystem::file_size(path), 3'000'000u);
  EXPECT_FALSE(allocate_and_zero(directory.file("huge"), ByteCount{1ull << 60}, nullptr, nullptr));
  EXPECT_FALSE(std::filesystem::exists(directory.file("huge"))) << "a failure leaves nothing behind";
}

}  // namespace
}  // namespace twinblock::ring::test
