// Which disk is this, across reboots and renumbered device names? Best effort from statx, sysfs and udev's
// database; a disk without any name is told by the metadata's other checks.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "transport/ring/disk.hpp"

namespace twinblock::ring {
namespace {

std::string trimmed(std::string text) {
  const auto space = [](char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\0'; };
  while (!text.empty() && space(text.back())) text.pop_back();
  std::size_t begin = 0;
  while (begin < text.size() && space(text[begin])) ++begin;
  return text.substr(begin);
}

// The value of KEY in lines "PREFIXKEY=value" (udev: prefix "E:", uevent: none).
std::string value_in(const std::string& path, const std::string& key) {
  std::ifstream in{path};
  for (std::string line; std::getline(in, line);) {
    if (line.size() > key.size() && line.compare(0, key.size(), key) == 0 && line[key.size()] == '=') {
      return trimmed(line.substr(key.size() + 1));
    }
  }
  return {};
}

template <std::size_t N>
std::string first_attribute(const std::array<std::string, N>& paths) {
  for (const std::string& path : paths) {
    if (std::string text = read_attribute(path); !text.empty()) return text;
  }
  return {};
}

void identify_block_device(DiskIdentity& identity) {
  const std::string numbers =
      std::to_string(major(identity.device)) + ":" + std::to_string(minor(identity.device));
  const std::string base = "/sys/dev/block/" + numbers;
  const std::string udev = "/run/udev/data/b" + numbers;
  identity.partition_uuid = value_in(udev, "E:ID_PART_ENTRY_UUID");
  if (identity.partition_uuid.empty()) identity.partition_uuid = value_in(base + "/uevent", "PARTUUID");
  // Of a partition, the names of its disk: together with the partition's own they tell it.
  identity.wwn = first_attribute(
      std::array{base + "/wwid", base + "/device/wwid", base + "/../wwid", base + "/../device/wwid"});
  if (identity.wwn.empty()) identity.wwn = value_in(udev, "E:ID_WWN");
  identity.serial =
      first_attribute(std::array{base + "/serial", base + "/device/serial", base + "/../serial",
                                 base + "/../device/serial", base + "/dm/uuid", base + "/md/uuid"});
  if (identity.serial.empty()) identity.serial = value_in(udev, "E:ID_SERIAL_SHORT");
}

}  // namespace

std::string read_attribute(const std::string& path) {
  std::ifstream in{path};
  std::string line;
  std::getline(in, line);
  return trimmed(line);
}

DiskIdentity identify(int fd) {
  DiskIdentity identity;
  struct statx s {};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &s) != 0) return identity;
  identity.block_device = S_ISBLK(s.stx_mode);
  if (identity.block_device) {
    identity.device = makedev(s.stx_rdev_major, s.stx_rdev_minor);
    identify_block_device(identity);
    return identity;
  }
  identity.device = makedev(s.stx_dev_major, s.stx_dev_minor);
  identity.inode = s.stx_ino;
  if ((s.stx_mask & STATX_BTIME) != 0) {
    identity.birth_time_ns = s.stx_btime.tv_sec * 1'000'000'000 + s.stx_btime.tv_nsec;
  }
  return identity;
}

std::string DiskIdentity::text() const {
  const std::string numbers = std::to_string(major(device)) + ":" + std::to_string(minor(device));
  if (!block_device) {
    return "file:" + numbers + ":" + std::to_string(inode) + ":" + std::to_string(birth_time_ns);
  }
  std::string all = "block";
  if (!wwn.empty()) all += ":wwn=" + wwn;
  if (!serial.empty()) all += ":serial=" + serial;
  if (!partition_uuid.empty()) all += ":partuuid=" + partition_uuid;
  if (all == "block") all += ":device=" + numbers;
  return all;
}

}  // namespace twinblock::ring
