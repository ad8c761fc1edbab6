#include "replicator/engine/metadata_file.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>

#include "base/assert.hpp"
#include "bitmap/codec.hpp"
#include "replicator/engine/probe.hpp"

namespace twinblock::engine {
namespace {

// Of an area whose superblocks are unreadable: enough to say what is wrong.
constexpr std::uint64_t kLookMax = 16u << 20;

class File {
 public:
  File(const std::string& path, int flags) : fd_{open(path.c_str(), flags | O_CLOEXEC, 0600)} {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  [[nodiscard]] int fd() const { return fd_; }

  Result<std::vector<std::byte>> read(std::uint64_t size) const {
    std::vector<std::byte> bytes(size);
    std::size_t done = 0;
    while (done < size) {
      const ssize_t n = pread(fd_, bytes.data() + done, size - done, static_cast<off_t>(done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return system_error(errno);
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    bytes.resize(done);
    return bytes;
  }

  [[nodiscard]] ErrorCode write(std::span<const std::byte> bytes, std::uint64_t at) const {
    while (!bytes.empty()) {
      const ssize_t n = pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(at));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return system_error(errno);
      bytes = bytes.subspan(static_cast<std::size_t>(n));
      at += static_cast<std::uint64_t>(n);
    }
    return fdatasync(fd_) == 0 ? ErrorCode{} : system_error(errno);
  }

  // Somebody else (a running daemon) holds it.
  [[nodiscard]] bool lock() const {
    struct flock range {};
    range.l_type = F_WRLCK;
    range.l_whence = SEEK_SET;
    return fcntl(fd_, F_OFD_SETLK, &range) == 0;
  }

 private:
  int fd_;
};

constexpr std::uint64_t kSuperblocks = std::uint64_t{2} * bitmap::kBlockSize;

}  // namespace

Result<std::vector<std::byte>> read_metadata(const std::string& path) {
  const auto size = size_of(path);  // also finds what is no place for metadata, a pipe for one
  if (!size) return size.error();
  const File file{path, O_RDONLY};
  if (!file.valid()) return system_error(errno);
  const std::uint64_t available = *size ? (*size)->value() : 0;
  auto head = file.read(std::min(available, kSuperblocks));
  if (!head) return head.error();
  const auto superblock = bitmap::peek(*head);
  const std::uint64_t wanted = superblock ? superblock->geometry.area_size().value() : kLookMax;
  return file.read(std::min(available, wanted));
}

ErrorCode write_new_metadata(const std::string& path, std::span<const std::byte> area) {
  TB_ASSERT(area.size() > kSuperblocks);
  const File file{path, O_RDWR | O_CREAT};
  if (!file.valid()) return system_error(errno);
  if (!file.lock()) return system_error(EBUSY);
  const std::vector<std::byte> none(kSuperblocks);
  if (const ErrorCode failed = file.write(none, 0); failed) return failed;
  if (const ErrorCode failed = file.write(area.subspan(kSuperblocks), kSuperblocks); failed) return failed;
  if (fsync(file.fd()) != 0) return system_error(errno);  // the length too
  sync_folder_of(path);
  return file.write(area.first(kSuperblocks), 0);
}

ErrorCode rewrite_superblock(const std::string& path, const bitmap::Superblock& superblock,
                             std::uint64_t sequence) {
  const File file{path, O_RDWR};
  if (!file.valid()) return system_error(errno);
  for (int copy = 0; copy < 2; ++copy) {
    alignas(4096) std::array<std::byte, bitmap::kBlockSize> block{};
    bitmap::encode_superblock(superblock, sequence, copy, bitmap::Block{block});
    const std::uint64_t at = superblock.geometry.superblock(copy).value() * bitmap::kBlockSize;
    if (const ErrorCode failed = file.write(block, at); failed) return failed;
  }
  return {};
}

bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

bool is_unfinished_area(std::span<const std::byte> area) {
  return area.size() >= kSuperblocks && all_zero(area.first(kSuperblocks));
}

void sync_folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path{path}.parent_path().string();
  const int fd = open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  close(fd);
}

std::uint64_t random_name() {
  std::uint64_t name = 0;
  while (name == 0) {
    const ssize_t n = getrandom(&name, sizeof name, 0);
    TB_ASSERT(n == sizeof name);
  }
  return name;
}

}  // namespace twinblock::engine
