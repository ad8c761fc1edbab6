// Zeroes on a disk: one request at run time (ZeroRequest), and a whole new file (allocate_and_zero).
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "transport/ring/disk.hpp"

namespace twinblock::ring {
namespace {

constexpr std::size_t kZeroBytes = 256u << 10;
alignas(4096) constinit const std::array<std::byte, kZeroBytes> kZeroes{};
// A request in pieces of this size, so that one huge range does not keep the device from everything else.
constexpr ByteCount kPieceMax{64u << 20};

class OpenFile {
 public:
  explicit OpenFile(int fd) noexcept : fd_{fd} {}
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile() { close(); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  [[nodiscard]] int get() const noexcept { return fd_; }

 private:
  int fd_;
};

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

int write_all_zeroes(int fd, ByteCount size, void (*progress)(void*, ByteCount), void* context) {
  const std::vector<std::byte> chunk(1u << 20);
  std::uint64_t at = 0;
  while (at < size.value()) {
    const std::size_t n = std::min<std::uint64_t>(chunk.size(), size.value() - at);
    const ssize_t written = pwrite(fd, chunk.data(), n, static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return written < 0 ? errno : EIO;
    at += static_cast<std::uint64_t>(written);
    if (progress != nullptr) progress(context, ByteCount{at});
  }
  return 0;
}

}  // namespace

void ZeroRequest::step() {
  Loop& loop = *disk_->loop_;
  constexpr int kKeep = FALLOC_FL_KEEP_SIZE;
  switch (method_) {
    case Method::kPunch:
    case Method::kZeroRange:
      piece_ = std::min(rest_.length, kPieceMax);
      loop.fallocate(op_, disk_->file_,
                     kKeep | (method_ == Method::kPunch ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE),
                     ByteRange{rest_.offset, piece_});
      return;
    case Method::kWrite:
      piece_ = std::min(rest_.length, ByteCount{kZeroBytes});
      loop.write(op_, disk_->file_, std::span{kZeroes}.first(piece_.value()), rest_.offset,
                 Durability::kCached);
      return;
    case Method::kFlush:
      loop.fdatasync(op_, disk_->file_);
      return;
  }
}

// Whether another method shall do the rest of the range. The disk remembers what it cannot do.
bool ZeroRequest::method_failed(int result) {
  // EINVAL: the range was checked, so it is the mode that the backing does not know.
  if (result != -EOPNOTSUPP && result != -ENOSYS && result != -EINVAL) return false;
  if (method_ == Method::kPunch) {
    disk_->can_punch_ = false;
    method_ = disk_->can_zero_range_ ? Method::kZeroRange : Method::kWrite;
    return true;
  }
  if (method_ == Method::kZeroRange) {
    disk_->can_zero_range_ = false;
    method_ = Method::kWrite;
    return true;
  }
  return false;
}

void ZeroRequest::on_step(int result) {
  if (result < 0) {
    if (method_failed(result))
      step();
    else
      done_(this, result);
    return;
  }
  if (method_ == Method::kFlush) {
    done_(this, 0);
    return;
  }
  rest_ = ByteRange{rest_.offset + piece_, rest_.length - piece_};
  if (rest_.empty()) {
    // One flush for all pieces: fallocate has no RWF_DSYNC.
    if (durability_ == Durability::kCached) {
      done_(this, 0);
      return;
    }
    method_ = Method::kFlush;
  }
  step();
}

Result<void> allocate_and_zero(const std::string& path, ByteCount size,
                               void (*progress)(void* context, ByteCount done), void* context) {
  OpenFile file{open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  if (file.get() < 0) return system_error(errno);
  int error = 0;
  // Asked for first, so that a full file system says so before gigabytes are written; not all can.
  if (fallocate(file.get(), 0, 0, static_cast<off_t>(size.value())) != 0 && errno != EOPNOTSUPP &&
      errno != ENOSYS) {
    error = errno;
  }
  if (error == 0) error = write_all_zeroes(file.get(), size, progress, context);
  if (error == 0 && fsync(file.get()) != 0) error = errno;
  if (error == 0) {
    const OpenFile directory{open(directory_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (directory.get() < 0 || fsync(directory.get()) != 0) error = errno;
  }
  if (error == 0) return {};
  unlink(path.c_str());
  return system_error(error);
}

}  // namespace twinblock::ring
