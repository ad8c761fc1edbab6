// A replica's disk or metadata store: a block device, or a regular file. Opened so that nobody else can use
// it (O_EXCL; for files a lock on the very open file description that the ring uses, so that it outlives a
// killed process until its last I/O has ended), unbuffered where the backing allows it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/error.hpp"
#include "base/units.hpp"
#include "transport/ring/loop.hpp"

namespace twinblock::ring {

struct DiskOptions {
  bool writable = true;
  bool direct = true;  // ask for O_DIRECT; buffered where the backing refuses
  FileRole role = FileRole::kOther;
};

struct DiskProperties {
  ByteCount size;                      // a multiple of logical_block
  std::uint32_t logical_block = 512;   // least unit and alignment of offset and length
  std::uint32_t memory_alignment = 1;  // of buffers; 4096 always suffices
  bool block_device = false;
  bool direct = false;
  bool rotational = false;
  bool discards = false;          // the device says that it can give space back (files: punch holes)
  bool volatile_backing = false;  // tmpfs or ramfs: gone after a reboot
};

// What the metadata remembers of its disk. Empty or 0: could not be found out.
struct DiskIdentity {
  bool block_device = false;
  std::uint64_t device = 0;        // st_rdev of a block device; of a file, its file system's device
  std::uint64_t inode = 0;         // files
  std::int64_t birth_time_ns = 0;  // files; wall clock
  std::string wwn;
  std::string serial;
  std::string partition_uuid;

  // One line for metadata and messages, the most durable names first; device numbers, which change from
  // boot to boot, only where nothing better is known.
  [[nodiscard]] std::string text() const;
};

class Disk;

// A write of zeroes in flight; embedded in its owner like an Op.
class ZeroRequest {
 public:
  using Done = void (*)(ZeroRequest* request, int result);  // 0 or a negative errno
  explicit ZeroRequest(Done handler) noexcept : done_{handler} {}
  [[nodiscard]] bool in_flight() const noexcept { return op_.in_flight(); }

 private:
  friend class Disk;
  enum class Method : std::uint8_t { kPunch, kZeroRange, kWrite, kFlush };
  void step();
  void on_step(int result);
  [[nodiscard]] bool method_failed(int result);

  Done done_;
  Disk* disk_ = nullptr;
  ByteRange rest_;
  ByteCount piece_;
  Method method_ = Method::kWrite;
  Durability durability_ = Durability::kCached;
  MethodOp<&ZeroRequest::on_step> op_{this};
};

class Disk {
 public:
  // errc::kDiskInUse: mounted, claimed or locked; the caller reports it and may try again.
  [[nodiscard]] static Result<std::unique_ptr<Disk>> open(const std::string& path,
                                                          const DiskOptions& options);
  // REQUIRES: detached, or never attached.
  ~Disk();
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;

  // Enters the loop's file table. REQUIRES: not attached. detach() REQUIRES: nothing in flight.
  void attach(Loop& loop);
  void detach();

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] const DiskProperties& properties() const noexcept { return properties_; }
  [[nodiscard]] DiskIdentity identity() const;
  [[nodiscard]] int fd() const noexcept { return file_.fd; }

  // All REQUIRE: attached, the range inside the disk and a multiple of logical_block. Results as in Loop:
  // the full length or a negative errno.
  void read(Op& op, std::span<std::byte> into, ByteOffset at);
  // Durability: kStable returns after the data is on stable storage.
  void write(Op& op, std::span<const std::byte> from, ByteOffset at, Durability durability);
  void flush(Op& op);
  // Afterwards the exact range reads zeroes. `unmap`: space may be given back; never at the price of zeroes.
  // Both work without a blocking thread: for block devices the kernel turns fallocate into the same calls as
  // BLKZEROOUT, and for punching refuses what would not read zero.
  void write_zeroes(ZeroRequest& request, ByteRange range, bool unmap, Durability durability);

 private:
  friend class ZeroRequest;
  Disk(std::string path, int fd, FileRole role) noexcept : path_{std::move(path)}, file_{fd, -1, role} {}
  [[nodiscard]] Result<void> claim(bool writable) const;
  [[nodiscard]] Result<void> discover(bool direct);
  [[nodiscard]] Result<void> discover_block_device(std::uint64_t device);
  [[nodiscard]] bool fits(ByteRange range) const;

  std::string path_;
  File file_;
  Loop* loop_ = nullptr;
  DiskProperties properties_;
  bool can_punch_ = true;  // until the backing says no
  bool can_zero_range_ = true;
};

// Creates a file of `size` bytes for a replica or its metadata: allocated *and written*, because unwritten
// extents make every later direct write go through a kernel worker (0.58 of the rate). Blocks; `progress` may
// be null. Durability: file and directory are synced. An existing file is an error (EEXIST); what a failure
// leaves behind is removed.
[[nodiscard]] Result<void> allocate_and_zero(const std::string& path, ByteCount size,
                                             void (*progress)(void* context, ByteCount done), void* context);

[[nodiscard]] DiskIdentity identify(int fd);
// The text of a one-line sysfs attribute, empty if there is none.
[[nodiscard]] std::string read_attribute(const std::string& path);

}  // namespace twinblock::ring
