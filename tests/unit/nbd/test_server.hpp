// A blocking shell around ServerSession for tests: a unix socket in a directory of its own, one thread per
// connection, a disk in memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/nbd/harness.hpp"

namespace twinblock::nbd::test {

// The memory disk that all exports of a server share, with a dirty bit per 64 KiB.
class MemoryDisk {
 public:
  static constexpr std::uint64_t kRegion = 64u << 10;
  explicit MemoryDisk(std::uint64_t size) : bytes_(size), dirty_((size + kRegion - 1) / kRegion) {}

  [[nodiscard]] std::uint64_t size() const { return bytes_.size(); }
  void read(ByteRange range, std::span<std::byte> out);
  void write(ByteRange range, std::span<const std::byte> data);
  void zero(ByteRange range);
  [[nodiscard]] std::vector<StatusExtent> extents(MetaContext context, ByteRange range);
  [[nodiscard]] std::string contents();

 private:
  void mark(ByteRange range);
  std::mutex mutex_;
  std::vector<std::byte> bytes_;
  std::vector<bool> dirty_;
};

class TestServer {
 public:
  explicit TestServer(const ExportCatalog& catalog, MemoryDisk& disk);
  ~TestServer();
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  [[nodiscard]] std::filesystem::path directory() const { return directory_; }
  [[nodiscard]] std::string socket_path() const { return directory_ / "nbd.sock"; }
  // As libnbd and nbdinfo, and as qemu want it.
  [[nodiscard]] std::string uri(const std::string& name = "data") const {
    return "nbd+unix:///" + name + "?socket=" + socket_path();
  }
  [[nodiscard]] std::string drop_reasons();

 private:
  struct Connection {
    int fd;
    std::thread thread;
  };
  void accept_loop();
  void serve(int fd);

  const ExportCatalog& catalog_;
  MemoryDisk& disk_;
  std::filesystem::path directory_;
  int listener_ = -1;
  std::mutex mutex_;
  bool stopping_ = false;
  std::list<Connection> connections_;
  std::string drop_reasons_;
  std::thread acceptor_;
};

}  // namespace twinblock::nbd::test
