// One NBD connection over a socket pair, turn by turn, with an export that answers when the test says so.
#include "replicator/engine/nbd_connection.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transport/nbd/wire_bytes.hpp"

namespace {

using twinblock::ByteCount;
using twinblock::ByteRange;
using twinblock::Duration;
using twinblock::engine::BlockExport;
using twinblock::engine::IoCounters;
using twinblock::engine::NbdConnection;
using twinblock::engine::NbdConnectionOwner;
using twinblock::engine::Piece;
using twinblock::engine::PieceClient;
using twinblock::engine::PieceId;
using twinblock::engine::PieceVerb;
using twinblock::engine::ShardContext;
using twinblock::engine::TurnList;
using twinblock::engine::WaitList;
namespace core = twinblock::core;
namespace nbd = twinblock::nbd;
namespace ring = twinblock::ring;

constexpr std::uint64_t kSize = 64u << 20;

// Keeps pieces until answer(); closed, it answers at once like a mirror that is not source.
class FakeExport final : public BlockExport {
 public:
  explicit FakeExport(ring::Arena& arena) : arena_{arena} {}

  nbd::ExportInfo info() const override {
    nbd::ExportInfo info;
    info.name = "data";
    info.size = ByteCount{kSize};
    return info;
  }
  std::optional<PieceId> submit(const Piece& piece, PieceClient& client, std::uint32_t token) override {
    if (piece.verb == PieceVerb::kWrite) arena_.release(piece.buffer);
    const auto mine = piece.verb == PieceVerb::kRead ? piece.buffer : ring::kNoBuffer;
    ++submitted;
    if (closed) {
      client.on_piece_done(token, core::Status::not_source, mine);
    } else {
      held_.push_back({&client, token, mine});
    }
    return ++last_id_;
  }
  void answer(core::Status status) {
    for (const Held& h : std::exchange(held_, {})) h.client->on_piece_done(h.token, status, h.buffer);
  }
  void cancel(PieceId) override {}
  void dirty_extents(ByteRange range, std::size_t, std::vector<nbd::StatusExtent>& out) const override {
    out.push_back({range.length, 0});
  }
  IoCounters& counters() override { return counters_; }

  bool closed = false;
  int submitted = 0;

 private:
  struct Held {
    PieceClient* client;
    std::uint32_t token;
    ring::BufferHandle buffer;
  };
  ring::Arena& arena_;
  std::vector<Held> held_;
  PieceId last_id_ = 0;
  IoCounters counters_;
};

class NbdConnectionTest : public testing::Test, private NbdConnectionOwner, private nbd::ExportCatalog {
 protected:
  void SetUp() override {
    auto loop = ring::Loop::create({});
    ASSERT_TRUE(loop) << loop.error().message();
    loop_ = std::move(*loop);
    ring::ArenaOptions options;
    options.classes[0].count = 8;
    options.classes[3].count = 4;
    options.huge_pages = false;
    auto arena = ring::Arena::create(options);
    ASSERT_TRUE(arena) << arena.error().message();
    arena_ = std::move(*arena);
    arena_->set_on_free([](void* list) { static_cast<WaitList*>(list)->note_freed(); }, &waiters_);
    loop_->set_turn_end(
        [](void* self) {
          auto& test = *static_cast<NbdConnectionTest*>(self);
          test.turn_.run();
          test.waiters_.wake();
        },
        this);
    export_ = std::make_unique<FakeExport>(*arena_);
    int fds[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    client_ = fds[0];
    fcntl(client_, F_SETFL, O_NONBLOCK);
    NbdConnectionOwner& owner = *this;
    const nbd::ExportCatalog& catalog = *this;
    connection_ = std::make_unique<NbdConnection>(ShardContext{*loop_, *arena_, waiters_, turn_}, owner,
                                                  catalog, nbd::Limits{}, fds[1]);
    std::string hello("\0\0\0\x03IHAVEOPT\0\0\0\x01\0\0\0\0", 20);  // EXPORT_NAME ""
    say(hello);
    ASSERT_EQ(hear(18 + 10), 28u);
    turns(5);  // until the connection knows that its bytes have left
  }
  void TearDown() override {
    export_->answer(core::Status::ok);
    connection_->abort();
    run([&] { return connection_->finished(); });
    ASSERT_TRUE(connection_->finished());
    connection_.reset();
    ::close(client_);
    loop_->drain();
  }

  void say(const std::string& bytes) {
    ASSERT_EQ(::send(client_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }
  // Reads until `count` bytes came, or the end.
  std::size_t hear(std::size_t count) {
    std::vector<char> bytes(count);
    std::size_t got = 0;
    run([&] {
      const ssize_t n = ::recv(client_, bytes.data() + got, count - got, 0);
      if (n > 0) got += static_cast<std::size_t>(n);
      return n == 0 || got == count;
    });
    return got;
  }
  bool sees_end() {
    bool ended = false;
    run([&] {
      char byte = 0;
      const ssize_t n = ::recv(client_, &byte, 1, 0);
      ended = n == 0 || (n < 0 && errno != EAGAIN);
      return ended;
    });
    return ended;
  }
  template <class Done>
  void run(Done done) {
    for (int i = 0; i < 2000 && !done(); ++i) {
      loop_->poll();
      usleep(500);  // poll-interval: between two turns
    }
  }
  void turns(int count) {
    for (int i = 0; i < count; ++i) {
      loop_->poll();
      usleep(500);  // poll-interval: between two turns
    }
  }
  static std::string request(nbd::Command command, std::uint64_t offset, std::uint32_t length) {
    std::string bytes(28, '\0');
    twinblock::nbd::ByteWriter w{std::as_writable_bytes(std::span{bytes})};
    w.u32(nbd::kRequestMagic);
    w.u16(0);
    w.u16(static_cast<std::uint16_t>(command));
    w.u64(7);
    w.u64(offset);
    w.u32(length);
    return bytes;
  }

  BlockExport* export_of(const nbd::ExportInfo&) override { return export_.get(); }
  void on_connection_finished(NbdConnection&) override {}
  std::size_t count() const override { return 1; }
  nbd::ExportInfo at(std::size_t) const override { return export_->info(); }
  std::optional<nbd::ExportInfo> find(std::string_view) const override { return export_->info(); }

  std::unique_ptr<ring::Loop> loop_;
  std::unique_ptr<ring::Arena> arena_;
  WaitList waiters_;
  TurnList turn_;
  std::unique_ptr<FakeExport> export_;
  std::unique_ptr<NbdConnection> connection_;
  int client_ = -1;
};

// A demote closes the export, and in the same turn the rest of a write arrives that was half here.
TEST_F(NbdConnectionTest, TheRestOfAWriteThatArrivesWhenTheExportHasClosed) {
  say(request(nbd::Command::kWrite, 0, 128u << 10) + std::string(60u << 10, 'a'));
  turns(20);
  say(std::string(68u << 10, 'b'));  // in the socket, not received
  export_->closed = true;
  connection_->stop();
  EXPECT_TRUE(sees_end());
  EXPECT_EQ(export_->submitted, 0) << "it was not whole when the export closed";
}

// The same for a request that waits for a buffer and gets one in the turn in which the export closes.
TEST_F(NbdConnectionTest, ARequestThatWaitsForABufferWhenTheExportCloses) {
  std::vector<ring::BufferHandle> all;
  for (;;) {
    const auto buffer = arena_->allocate(ByteCount{1u << 20}, ring::BufferUser::kPeer);
    if (buffer == ring::kNoBuffer) break;
    all.push_back(buffer);
  }
  say(request(nbd::Command::kRead, 0, 1u << 20));
  turns(20);
  export_->closed = true;
  connection_->stop();
  for (const auto buffer : all) arena_->release(buffer);
  EXPECT_TRUE(sees_end());
  EXPECT_EQ(export_->submitted, 0);
}

// What runs is still answered, with a write behind it that never becomes whole.
TEST_F(NbdConnectionTest, StoppingAnswersWhatRuns) {
  say(request(nbd::Command::kFlush, 0, 0));
  say(request(nbd::Command::kWrite, 0, 128u << 10) + std::string(60u << 10, 'a'));
  turns(20);
  EXPECT_EQ(export_->submitted, 1);
  connection_->stop();
  turns(20);
  say(std::string(68u << 10, 'b'));
  turns(20);
  export_->answer(core::Status::ok);
  EXPECT_EQ(hear(16), 16u);
  EXPECT_TRUE(sees_end());
}

// A client that stops in the middle of a payload holds a buffer of everybody's.
TEST_F(NbdConnectionTest, APayloadThatDoesNotComeIsNotWaitedForForEver) {
  say(request(nbd::Command::kWrite, 0, 1u << 20) + std::string(60u << 10, 'a'));
  turns(20);
  EXPECT_EQ(arena_->in_use(), 1u);
  const auto now = loop_->now();
  connection_->check_deadlines(now + Duration::seconds(60), Duration::seconds(10), Duration::seconds(120));
  turns(5);
  EXPECT_EQ(arena_->in_use(), 1u) << "slow is not gone";
  connection_->check_deadlines(now + Duration::seconds(130), Duration::seconds(10), Duration::seconds(120));
  EXPECT_TRUE(sees_end());
  turns(5);
  EXPECT_EQ(arena_->in_use(), 0u);
}

// Idle between requests is no stall.
TEST_F(NbdConnectionTest, AnIdleClientStays) {
  const auto now = loop_->now();
  connection_->check_deadlines(now + Duration::seconds(3000), Duration::seconds(10), Duration::seconds(120));
  turns(5);
  EXPECT_TRUE(connection_->serving());
}

}  // namespace
