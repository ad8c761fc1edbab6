#include "transport/ring/disk.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "transport/ring/error.hpp"

namespace twinblock::ring {
namespace {

constexpr std::uint32_t kSector = 512;

struct DirectAlignment {
  std::uint32_t offset = 0;  // 0: direct I/O impossible
  std::uint32_t memory = 0;
};

// What the kernel says (statx, 6.1), else the usual for a file system on a disk: offsets like the disk's
// sectors are refused by some, so the page is assumed.
DirectAlignment direct_alignment(int fd) {
#ifdef STATX_DIOALIGN
  struct statx s {};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &s) == 0 && (s.stx_mask & STATX_DIOALIGN) != 0) {
    return {s.stx_dio_offset_align, s.stx_dio_mem_align};
  }
#else
  static_cast<void>(fd);
#endif
  return {4096, 4096};
}

bool is_rotational(std::uint64_t device) {
  const std::string base =
      "/sys/dev/block/" + std::to_string(major(device)) + ":" + std::to_string(minor(device));
  std::string text = read_attribute(base + "/queue/rotational");
  if (text.empty()) text = read_attribute(base + "/../queue/rotational");  // a partition's disk
  return text == "1";
}

bool device_discards(std::uint64_t device) {
  const std::string base =
      "/sys/dev/block/" + std::to_string(major(device)) + ":" + std::to_string(minor(device));
  std::string text = read_attribute(base + "/queue/discard_max_bytes");
  if (text.empty()) text = read_attribute(base + "/../queue/discard_max_bytes");
  return !text.empty() && text != "0";
}

}  // namespace

Result<std::unique_ptr<Disk>> Disk::open(const std::string& path, const DiskOptions& options) {
  struct stat before {};
  if (stat(path.c_str(), &before) != 0) return system_error(errno);
  const bool block = S_ISBLK(before.st_mode);
  if (!block && !S_ISREG(before.st_mode)) return ErrorCode{errc::kNotADisk};
  int flags = (options.writable ? O_RDWR : O_RDONLY) | O_CLOEXEC;
  if (block && options.writable) flags |= O_EXCL;
  int fd = options.direct ? ::open(path.c_str(), flags | O_DIRECT) : -1;
  bool direct = fd >= 0;
  if (!direct && (!options.direct || errno == EINVAL)) fd = ::open(path.c_str(), flags);
  if (fd < 0) return errno == EBUSY ? ErrorCode{errc::kDiskInUse} : system_error(errno);
  std::unique_ptr<Disk> disk{new Disk{path, fd, options.role}};
  struct stat after {};
  if (fstat(fd, &after) != 0) return system_error(errno);
  // Replaced between the two looks: the O_EXCL may not have been asked for. Let the caller try again.
  if (after.st_ino != before.st_ino || after.st_rdev != before.st_rdev || after.st_mode != before.st_mode) {
    return ErrorCode{errc::kDiskInUse};
  }
  disk->properties_.block_device = block;
  if (auto claimed = disk->claim(options.writable); !claimed) return claimed.error();
  if (auto found = disk->discover(direct); !found) return found.error();
  return disk;
}

Disk::~Disk() {
  TB_ASSERT(loop_ == nullptr);
  ::close(file_.fd);
}

// The lock belongs to the open file description, which the ring keeps alive while I/O is in flight.
Result<void> Disk::claim(bool writable) const {
  if (properties_.block_device) return {};
  struct flock lock {};
  lock.l_type = static_cast<short>(writable ? F_WRLCK : F_RDLCK);
  lock.l_whence = SEEK_SET;
  if (fcntl(file_.fd, F_OFD_SETLK, &lock) == 0) return {};
  if (errno == EAGAIN || errno == EACCES) return ErrorCode{errc::kDiskInUse};
  return system_error(errno);
}

Result<void> Disk::discover(bool direct) {
  struct stat s {};
  if (fstat(file_.fd, &s) != 0) return system_error(errno);
  properties_.direct = direct;
  if (properties_.block_device) {
    if (auto found = discover_block_device(s.st_rdev); !found) return found;
  } else {
    const DirectAlignment alignment = direct_alignment(file_.fd);
    if (direct && alignment.offset == 0) {
      const int flags = fcntl(file_.fd, F_GETFL);
      if (fcntl(file_.fd, F_SETFL, flags & ~O_DIRECT) != 0) return system_error(errno);
      properties_.direct = false;
    }
    properties_.logical_block = properties_.direct ? std::max(kSector, alignment.offset) : kSector;
    properties_.memory_alignment = properties_.direct ? std::max(1u, alignment.memory) : 1;
    properties_.size = ByteCount{static_cast<std::uint64_t>(s.st_size)};
    properties_.rotational = is_rotational(s.st_dev);
    properties_.discards = true;
    struct statfs fs {};
    properties_.volatile_backing =
        fstatfs(file_.fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
  }
  const std::uint64_t block = properties_.logical_block;
  properties_.size = ByteCount{properties_.size.value() / block * block};
  if (properties_.size.value() == 0) return ErrorCode{errc::kEmptyDisk};
  return {};
}

Result<void> Disk::discover_block_device(std::uint64_t device) {
  std::uint64_t bytes = 0;
  int block = 0;
  if (ioctl(file_.fd, BLKGETSIZE64, &bytes) != 0 || ioctl(file_.fd, BLKSSZGET, &block) != 0) {
    return system_error(errno);
  }
  properties_.size = ByteCount{bytes};
  properties_.logical_block = static_cast<std::uint32_t>(block);
  properties_.memory_alignment = properties_.direct ? properties_.logical_block : 1;
  properties_.rotational = is_rotational(device);
  properties_.discards = device_discards(device);
  return {};
}

void Disk::attach(Loop& loop) {
  TB_ASSERT(loop_ == nullptr);
  loop_ = &loop;
  file_.slot = loop.register_file(file_.fd).slot;
}

void Disk::detach() {
  if (loop_ == nullptr) return;
  loop_->unregister_file(file_);
  loop_ = nullptr;
}

DiskIdentity Disk::identity() const {
  return identify(file_.fd);
}

bool Disk::fits(ByteRange range) const {
  const std::uint64_t block = properties_.logical_block;
  return range.offset.value() % block == 0 && range.length.value() % block == 0 && !range.empty() &&
         range.length <= properties_.size &&
         range.offset.value() <= (properties_.size - range.length).value();
}

void Disk::read(Op& op, std::span<std::byte> into, ByteOffset at) {
  TB_ASSERT(loop_ != nullptr && fits({at, ByteCount{into.size()}}));
  loop_->read(op, file_, into, at);
}

void Disk::write(Op& op, std::span<const std::byte> from, ByteOffset at, Durability durability) {
  TB_ASSERT(loop_ != nullptr && fits({at, ByteCount{from.size()}}));
  loop_->write(op, file_, from, at, durability);
}

void Disk::flush(Op& op) {
  TB_ASSERT(loop_ != nullptr);
  loop_->fdatasync(op, file_);
}

void Disk::write_zeroes(ZeroRequest& request, ByteRange range, bool unmap, Durability durability) {
  TB_ASSERT(loop_ != nullptr && fits(range) && !request.in_flight());
  request.disk_ = this;
  request.rest_ = range;
  request.durability_ = durability;
  request.method_ = unmap && can_punch_ ? ZeroRequest::Method::kPunch
                    : can_zero_range_   ? ZeroRequest::Method::kZeroRange
                                        : ZeroRequest::Method::kWrite;
  request.step();
}

}  // namespace twinblock::ring
