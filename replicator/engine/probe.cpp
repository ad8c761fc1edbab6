#include "replicator/engine/probe.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string_view>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "transport/ring/error.hpp"

namespace twinblock::engine {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) noexcept : fd_{fd} {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  [[nodiscard]] int get() const noexcept { return fd_; }

 private:
  int fd_;
};

struct Signature {
  std::uint64_t offset;
  std::string_view bytes;
  const char* name;
};

// Where the common ones leave their magic (their own documentation; blkid(8) knows many more).
constexpr std::array kSignatures{
    Signature{1080, {"\x53\xef", 2}, "an ext2/3/4 file system"},
    Signature{0, "XFSB", "an xfs file system"},
    Signature{0x10040, "_BHRfS_M", "a btrfs file system"},
    Signature{4086, "SWAPSPACE2", "swap space"},
    Signature{536, "LVM2 001", "an LVM physical volume"},
    Signature{4096, {"\xfc\x4e\x2b\xa9", 4}, "a member of an md array"},
    Signature{0, {"\xfc\x4e\x2b\xa9", 4}, "a member of an md array"},
    Signature{512, "EFI PART", "a partition table (GPT)"},
    Signature{0, {"LUKS\xba\xbe", 6}, "a LUKS container"},
    Signature{3, "NTFS    ", "an NTFS file system"},
    Signature{54, "FAT1", "a FAT file system"},
    Signature{82, "FAT32", "a FAT file system"},
    Signature{32769, "CD001", "an ISO 9660 file system"},
    Signature{0, "QFI\xfb", "a qcow2 image"},
    Signature{0, "NBDMAGIC", "an NBD image"},
    Signature{510, {"\x55\xaa", 2}, "a partition table or boot sector"},
};
constexpr std::size_t kSignatureArea = 0x11000;

std::string folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path{path}.parent_path().string();
  return folder.empty() ? "." : folder;
}

bool stat_nearest(const std::string& path, struct stat& s) {
  return stat(path.c_str(), &s) == 0 || stat(folder_of(path).c_str(), &s) == 0;
}

// "8:1" in the third column of mountinfo; the fifth is where.
std::optional<std::string> mount_point_of(std::uint64_t device) {
  const std::string numbers = std::to_string(major(device)) + ":" + std::to_string(minor(device));
  std::ifstream in{"/proc/self/mountinfo"};
  for (std::string line; std::getline(in, line);) {
    std::istringstream words{line};
    std::string id, parent, device_numbers, root, where;
    words >> id >> parent >> device_numbers >> root >> where;
    if (device_numbers == numbers) return where;
  }
  return std::nullopt;
}

std::optional<std::string> swap_of(const std::string& path) {
  std::ifstream in{"/proc/swaps"};
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line)) {
    const std::string name = line.substr(0, line.find_first_of(" \t"));
    if (same_storage(name, path)) return "used as swap space";
  }
  return std::nullopt;
}

std::optional<std::string> loop_device_of(const std::string& path) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator{"/sys/block", ignored}) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("loop")) continue;
    std::ifstream in{entry.path() / "loop/backing_file"};
    std::string file;
    if (std::getline(in, file) && same_storage(file, path)) return "in use by /dev/" + name;
  }
  return std::nullopt;
}

std::optional<std::string> holder_of(std::uint64_t device) {
  const std::string base =
      "/sys/dev/block/" + std::to_string(major(device)) + ":" + std::to_string(minor(device));
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator{base + "/holders", ignored}) {
    return "in use by /dev/" + entry.path().filename().string();
  }
  for (const auto& entry : std::filesystem::directory_iterator{base, ignored}) {
    std::ifstream in{entry.path() / "dev"};
    unsigned major_number = 0;
    unsigned minor_number = 0;
    char colon = 0;
    if (!entry.is_directory(ignored) || !(in >> major_number >> colon >> minor_number)) continue;
    if (auto where = mount_point_of(makedev(major_number, minor_number))) {
      return "its partition " + entry.path().filename().string() + " is mounted on " + *where;
    }
  }
  return std::nullopt;
}

ErrorCode read_all(int fd, std::byte* into, std::size_t size, std::uint64_t at) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = pread(fd, into + done, size - done, static_cast<off_t>(at + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error(errno);
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  std::memset(into + done, 0, size - done);
  return {};
}

}  // namespace

std::optional<std::string> user_of(const std::string& path) {
  struct stat s {};
  if (stat(path.c_str(), &s) != 0) return std::nullopt;
  if (auto swap = swap_of(path)) return swap;
  if (!S_ISBLK(s.st_mode)) return loop_device_of(path);
  if (auto where = mount_point_of(s.st_rdev)) return "mounted on " + *where;
  return holder_of(s.st_rdev);
}

Result<std::optional<std::string>> signature_of(const std::string& path) {
  const Descriptor fd{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (fd.get() < 0) return system_error(errno);
  std::vector<std::byte> area(kSignatureArea);
  if (const ErrorCode failed = read_all(fd.get(), area.data(), area.size(), 0); failed) return failed;
  for (const Signature& s : kSignatures) {
    if (std::memcmp(area.data() + s.offset, s.bytes.data(), s.bytes.size()) == 0) {
      return std::optional<std::string>{s.name};
    }
  }
  return std::optional<std::string>{};
}

bool same_storage(const std::string& a, const std::string& b) {
  struct stat sa {};
  struct stat sb {};
  if (stat(a.c_str(), &sa) != 0 || stat(b.c_str(), &sb) != 0) {
    std::error_code ignored;
    return std::filesystem::weakly_canonical(a, ignored) == std::filesystem::weakly_canonical(b, ignored);
  }
  if (S_ISBLK(sa.st_mode) && S_ISBLK(sb.st_mode)) return sa.st_rdev == sb.st_rdev;
  return sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

bool lies_on(const std::string& path, const std::string& disk) {
  struct stat file {};
  struct stat device {};
  if (!stat_nearest(path, file) || stat(disk.c_str(), &device) != 0) return false;
  return S_ISBLK(device.st_mode) && !S_ISBLK(file.st_mode) && file.st_dev == device.st_rdev;
}

bool is_volatile(const std::string& path) {
  struct stat s {};
  if (stat(path.c_str(), &s) == 0 && S_ISBLK(s.st_mode)) return false;
  struct statfs fs {};
  if (statfs(path.c_str(), &fs) != 0 && statfs(folder_of(path).c_str(), &fs) != 0) return false;
  return fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
}

Result<std::optional<ByteCount>> size_of(const std::string& path) {
  // Not to be waited for: the opening of a pipe ends when somebody writes to it, perhaps never.
  const Descriptor fd{open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
  if (fd.get() < 0 && errno == ENOENT) return std::optional<ByteCount>{};
  if (fd.get() < 0) return system_error(errno);
  struct stat s {};
  if (fstat(fd.get(), &s) != 0) return system_error(errno);
  if (!S_ISBLK(s.st_mode) && !S_ISREG(s.st_mode)) return ErrorCode{ring::errc::kNotADisk};
  if (!S_ISBLK(s.st_mode)) return std::optional{ByteCount{static_cast<std::uint64_t>(s.st_size)}};
  std::uint64_t bytes = 0;
  if (ioctl(fd.get(), BLKGETSIZE64, &bytes) != 0) return system_error(errno);
  return std::optional{ByteCount{bytes}};
}

Result<std::uint64_t> sample_hash(const std::string& path, ByteCount size) {
  constexpr std::uint64_t kSamples = 64;
  constexpr std::size_t kSampleSize = 4096;
  const Descriptor fd{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (fd.get() < 0) return system_error(errno);
  const std::uint64_t blocks = size.value() / kSampleSize;
  std::vector<std::byte> samples(kSamples * kSampleSize);
  for (std::uint64_t i = 0; i < kSamples && i < blocks; ++i) {
    const std::uint64_t at = blocks * i / kSamples * kSampleSize;
    if (const ErrorCode failed = read_all(fd.get(), samples.data() + i * kSampleSize, kSampleSize, at);
        failed) {
      return failed;
    }
  }
  const std::uint64_t hash = XXH3_64bits_withSeed(samples.data(), samples.size(), size.value());
  return hash == 0 ? 1 : hash;
}

std::uint64_t hash_text(const std::string& text) {
  const std::uint64_t hash = XXH3_64bits(text.data(), text.size());
  return hash == 0 ? 1 : hash;
}

}  // namespace twinblock::engine
