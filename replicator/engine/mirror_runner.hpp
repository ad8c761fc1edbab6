// Runs one core::Mirror: carries out what it asks for and feeds back what came of it. All decisions are the
// core's; here are only buffers, operations and their order.
//
//   client piece ─▶ step ─▶ outputs ─▶ disk queue, metadata writes, peer link, answers
//                     ▲                        │
//                     └──── completions ◀──────┘        turn_end() once per turn of the loop
//
// The core is never entered twice: an input that arises while outputs are carried out waits until that is
// done, because outputs point into the core's memory.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "replicator/core/mirror.hpp"
#include "replicator/engine/backing.hpp"
#include "replicator/engine/disk_queue.hpp"
#include "replicator/engine/export.hpp"
#include "replicator/engine/nbd_server.hpp"
#include "replicator/engine/peer_link.hpp"
#include "replicator/engine/shard_context.hpp"

namespace twinblock::engine {

struct RunnerPlan {
  core::Config core;
  PeerLinkPlan link;
  std::string peer_name;
  ring::Address nbd;
  int nbd_fd = -1;  // a listening socket from systemd instead; stays the caller's
  Duration disk_timeout;
};

// Called on the shard's thread; must not call back into the runner.
struct RunnerCallbacks {
  std::function<void(const core::Event&)> event;
  std::function<void(core::CommandId, core::Refusal)> command_done;
};

class MirrorRunner final : public BlockExport,
                           private DiskQueueOwner,
                           private PeerLinkOwner,
                           private TurnMember,
                           private Waiter {
 public:
  // `backing` must outlive the runner.
  MirrorRunner(const ShardContext& shard, PeerRouter& router, RunnerPlan plan, Backing& backing,
               RunnerCallbacks callbacks);
  ~MirrorRunner() override;
  MirrorRunner(const MirrorRunner&) = delete;
  MirrorRunner& operator=(const MirrorRunner&) = delete;

  // Starts the core, then listens for clients. An error leaves nothing running but the core.
  Result<void> start();
  void command(const core::Command& command);
  // Ends listeners, clients and the link, waits for the disks; then calls `closed` from a turn's end. The
  // core should have been stopped before (Verb::stop): what it holds otherwise is as after a crash.
  void close(std::function<void()> closed);
  // Does not wait for clients that take no answers. Nothing before close() or once they are gone.
  void abort_clients() {
    if (closed_ && !server_closed_) server_.abort();
  }

  [[nodiscard]] core::MirrorSnapshot snapshot() const { return core_.snapshot(); }
  [[nodiscard]] const bitmap::Superblock& superblock() const { return core_.superblock(); }
  [[nodiscard]] const wire::StateBody* peer_state() const { return core_.peer_state(); }
  [[nodiscard]] const PeerLink& link() const noexcept { return link_; }
  [[nodiscard]] std::string nbd_address() const { return server_.address(); }
  [[nodiscard]] std::size_t client_count() const { return server_.client_count(); }
  [[nodiscard]] const std::string& mirror() const noexcept { return plan_.core.mirror_name; }
  // Disk operations, and metadata writes, that timed out and have not come back.
  [[nodiscard]] std::uint32_t quarantined() const noexcept { return disk_.quarantined(); }
  [[nodiscard]] std::uint32_t quarantined_metadata() const noexcept { return meta_given_up_; }
  // In what the peer's configuration differs; empty if not.
  [[nodiscard]] const std::string& config_difference() const noexcept { return config_difference_; }
  [[nodiscard]] IoCounters io_counters() const noexcept { return counters_; }

  // BlockExport
  [[nodiscard]] nbd::ExportInfo info() const override;
  [[nodiscard]] std::optional<PieceId> submit(const Piece& piece, PieceClient& client,
                                              std::uint32_t token) override;
  void cancel(PieceId id) override;
  void dirty_extents(ByteRange range, std::size_t count_max,
                     std::vector<nbd::StatusExtent>& out) const override;
  [[nodiscard]] IoCounters& counters() override { return counters_; }
  [[nodiscard]] ring::BufferOwner buffer_owner() const override { return buffer_owner_; }

 private:
  // One metadata write; owns an aligned copy when the core's bytes are not aligned for direct I/O.
  struct MetaOp {
    explicit MetaOp(MirrorRunner& runner) noexcept : runner_{runner} {}
    void on_op(int result) { runner_.on_meta_done(*this, result); }
    MirrorRunner& runner_;
    core::OpId id = 0;
    Instant due = Instant::never();  // when it is given up; never() also once it was
    bool given_up = false;
    std::size_t size = 0;
    std::size_t capacity = 0;
    std::unique_ptr<std::byte, void (*)(void*)> copy{nullptr, &std::free};
    ring::MethodOp<&MetaOp::on_op> op{this};
  };

  void on_disk_done(core::OpId id, int error, ring::BufferHandle buffer, const core::Digest& digest) override;
  void on_link_up(core::LinkId link) override;
  void on_link_down(core::LinkId link) override;
  void on_link_message(core::LinkId link, const wire::Header& header, std::span<const std::byte> body,
                       ring::BufferHandle payload) override;
  [[nodiscard]] std::uint64_t known_peer_identity() const override;
  void on_turn_end() override;
  void on_resources() override;
  void on_timer();
  void on_meta_done(MetaOp& op, int result);
  void meta_failed(core::OpId id, int error);
  void expire_metadata(Instant now);
  [[nodiscard]] Instant next_metadata_expiry() const;

  Result<void> listen();
  void feed(const core::Input& input);
  void step(const core::Input& input);
  void carry_out();
  void carry(const core::DiskIo& io);
  void carry(const core::MetaWrite& write);
  void carry(const core::Send& send);
  void carry(const core::CloseLink& close);
  void carry(const core::SetLinkWanted& wanted);
  void carry(const core::Reply& reply);
  void carry(const core::ReleaseBuffer& release);
  void carry(const core::ExportState& state);
  void carry(const core::CommandDone& done);
  void carry(const core::Event& event);
  void compare_config(std::span<const std::byte> body);
  bool start_read(const core::DiskIo& io);
  void rearm();
  void check_closed();

  ShardContext shard_;
  RunnerPlan plan_;
  Backing& backing_;
  RunnerCallbacks callbacks_;
  core::Mirror core_;
  PieceTable pieces_;
  DiskQueue disk_;
  PeerLink link_;
  NbdServer server_;
  IoCounters counters_;
  ring::BufferOwner buffer_owner_;
  std::string config_difference_;

  core::Outputs outputs_;
  std::deque<core::Input> deferred_;
  bool busy_ = false;  // the core, or what it asked for, is running
  bool export_open_ = false;
  bool server_open_ = false;
  bool server_closed_ = false;
  std::function<void()> closed_;  // set: closing
  std::vector<std::unique_ptr<MetaOp>> meta_ops_;
  std::vector<MetaOp*> free_meta_ops_;
  std::uint32_t meta_given_up_ = 0;
  std::deque<core::DiskIo> waiting_reads_;  // without a buffer
  ring::MethodTimer<MirrorRunner, &MirrorRunner::on_timer> timer_{this};
};

}  // namespace twinblock::engine
