#include "tests/unit/nbd/test_server.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "base/assert.hpp"

namespace twinblock::nbd::test {
namespace {

bool send_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return true;
}

// One connection: does what the session asks for, one request at a time.
class Shell {
 public:
  Shell(int fd, const ExportCatalog& catalog, MemoryDisk& disk) : fd_{fd}, disk_{disk}, session_{catalog} {}

  // The reason for a drop; empty after a goodbye or the end of the stream.
  std::string run() {
    for (;;) {
      const Event event = session_.next();
      if (const auto* e = std::get_if<Drop>(&event)) return make_error_code(e->reason).message();
      if (std::holds_alternative<Disconnect>(event) || !handle(event)) return {};
    }
  }

 private:
  bool handle(const Event& event) {
    if (std::holds_alternative<SendOutput>(event)) {
      const auto output = session_.output();
      session_.output_sent(output.size());
      return send_all(fd_, output);
    }
    if (std::holds_alternative<NeedBytes>(event)) return receive_stash();
    if (const auto* e = std::get_if<Admitted>(&event)) return answer(e->request);
    if (const auto* e = std::get_if<Refused>(&event)) return reply(e->request, e->status, e->text);
    return true;
  }

  bool receive_stash() {
    const std::span<std::byte> space = session_.receive_space();
    const ssize_t n = ::recv(fd_, space.data(), space.size(), 0);
    if (n <= 0) return false;
    session_.received(static_cast<std::size_t>(n));
    return true;
  }

  bool reply(const Request& request, Status status, std::string_view text = {}) {
    std::array<std::byte, kReplySizeMax> out{};
    const std::size_t n = encode_reply(request, status, text, out);
    session_.request_done();
    return send_all(fd_, std::span{out}.first(n));
  }

  bool answer(const Request& request) {
    switch (request.command) {
      case Command::kRead:
        return answer_read(request);
      case Command::kWrite:
        return answer_write(request);
      case Command::kTrim:
      case Command::kWriteZeroes:
        disk_.zero(request.range());
        break;
      case Command::kBlockStatus:
        return answer_status(request);
      case Command::kFlush:
      case Command::kCache:
      case Command::kDisconnect:
        break;
    }
    return reply(request, Status::kOk);
  }

  bool answer_read(const Request& request) {
    buffer_.resize(request.length.value());
    disk_.read(request.range(), buffer_);
    return reply(request, Status::kOk) && send_all(fd_, buffer_);
  }

  bool answer_write(const Request& request) {
    buffer_.resize(request.length.value());
    std::size_t at = session_.take_payload(buffer_);
    while (session_.payload_remaining() > ByteCount{0}) {
      const ssize_t n = ::recv(fd_, buffer_.data() + at, buffer_.size() - at, 0);
      if (n <= 0) return false;
      session_.payload_received(static_cast<std::size_t>(n));
      at += static_cast<std::size_t>(n);
    }
    disk_.write(request.range(), buffer_);
    return reply(request, Status::kOk);
  }

  bool answer_status(const Request& request) {
    std::vector<MetaContext> contexts;
    for (const MetaContext c : {MetaContext::kAllocation, MetaContext::kDirty}) {
      if (session_.contexts().contains(c)) contexts.push_back(c);
    }
    std::vector<std::byte> out(block_status_size(1024));
    bool sent = true;
    for (const MetaContext c : contexts) {
      const std::vector<StatusExtent> extents = disk_.extents(c, request.range());
      const std::size_t n = encode_block_status(request, {c, extents, c == contexts.back()}, out);
      sent = sent && send_all(fd_, std::span{out}.first(n));
    }
    session_.request_done();
    return sent;
  }

  int fd_;
  MemoryDisk& disk_;
  ServerSession session_;
  std::vector<std::byte> buffer_;
};

}  // namespace

void MemoryDisk::read(ByteRange range, std::span<std::byte> out) {
  const std::lock_guard lock{mutex_};
  std::memcpy(out.data(), bytes_.data() + range.offset.value(), out.size());
}

void MemoryDisk::mark(ByteRange range) {
  for (auto i = range.offset.value() / kRegion; i * kRegion < range.end().value(); ++i) dirty_[i] = true;
}

void MemoryDisk::write(ByteRange range, std::span<const std::byte> data) {
  const std::lock_guard lock{mutex_};
  std::memcpy(bytes_.data() + range.offset.value(), data.data(), data.size());
  mark(range);
}

void MemoryDisk::zero(ByteRange range) {
  const std::lock_guard lock{mutex_};
  std::memset(bytes_.data() + range.offset.value(), 0, range.length.value());
  mark(range);
}

std::vector<StatusExtent> MemoryDisk::extents(MetaContext context, ByteRange range) {
  const std::lock_guard lock{mutex_};
  std::vector<StatusExtent> extents;
  for (std::uint64_t at = range.offset.value(); at < range.end().value();) {
    const std::uint64_t end = (at / kRegion + 1) * kRegion;
    const bool dirty = dirty_[at / kRegion];
    const std::uint64_t hole = dirty ? 0 : kAllocationHole | kAllocationZero;
    const std::uint64_t bit = dirty ? kDirtyBit : 0;
    extents.push_back({ByteCount{end - at}, context == MetaContext::kAllocation ? hole : bit});
    at = end;
  }
  return extents;
}

std::string MemoryDisk::contents() {
  const std::lock_guard lock{mutex_};
  return to_string(bytes_);
}

TestServer::TestServer(const ExportCatalog& catalog, MemoryDisk& disk) : catalog_{catalog}, disk_{disk} {
  std::string path = std::filesystem::temp_directory_path() / "twinblock-nbd-XXXXXX";
  TB_ASSERT(::mkdtemp(path.data()) != nullptr);
  directory_ = path;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string socket = socket_path();
  TB_ASSERT(socket.size() < sizeof address.sun_path);
  std::memcpy(address.sun_path, socket.c_str(), socket.size());
  listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  TB_ASSERT(listener_ >= 0);
  TB_ASSERT(::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  TB_ASSERT(::listen(listener_, 16) == 0);
  acceptor_ = std::thread{[this] { accept_loop(); }};
}

TestServer::~TestServer() {
  {
    const std::lock_guard lock{mutex_};
    stopping_ = true;
    for (const Connection& connection : connections_) ::shutdown(connection.fd, SHUT_RDWR);
  }
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  for (Connection& connection : connections_) {
    connection.thread.join();
    ::close(connection.fd);
  }
  ::close(listener_);
  std::filesystem::remove_all(directory_);
}

void TestServer::accept_loop() {
  for (;;) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    const std::lock_guard lock{mutex_};
    if (stopping_) {
      ::close(fd);
      return;
    }
    connections_.push_back({fd, std::thread{[this, fd] { serve(fd); }}});
  }
}

void TestServer::serve(int fd) {
  Shell shell{fd, catalog_, disk_};
  const std::string reason = shell.run();
  // The descriptor stays open until the end, so that its number cannot be taken by another connection.
  ::shutdown(fd, SHUT_RDWR);
  if (reason.empty()) return;
  const std::lock_guard lock{mutex_};
  drop_reasons_ += reason + "\n";
}

std::string TestServer::drop_reasons() {
  const std::lock_guard lock{mutex_};
  return drop_reasons_;
}

}  // namespace twinblock::nbd::test
