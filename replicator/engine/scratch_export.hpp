// One unreplicated file or device behind NBD: for trying clients, and for measuring the front end without a
// mirror. Overlapping requests in flight are not ordered; a client that waits for its answers sees none.
#pragma once

#include <string>

#include "replicator/engine/disk_queue.hpp"
#include "replicator/engine/export.hpp"

namespace twinblock::engine {

class ScratchExport final : public BlockExport, private DiskQueueOwner {
 public:
  ScratchExport(const ShardContext& shard, ring::Disk& disk, std::string name);

  [[nodiscard]] nbd::ExportInfo info() const override;
  [[nodiscard]] std::optional<PieceId> submit(const Piece& piece, PieceClient& client,
                                              std::uint32_t token) override;
  void cancel(PieceId) override {}  // everything admitted has started
  void dirty_extents(ByteRange range, std::size_t, std::vector<nbd::StatusExtent>& out) const override;
  [[nodiscard]] IoCounters& counters() override { return counters_; }
  [[nodiscard]] bool idle() const noexcept { return queue_.idle(); }

 private:
  void on_disk_done(core::OpId id, int error, ring::BufferHandle buffer, const core::Digest& digest) override;

  ShardContext shard_;
  ring::Disk& disk_;
  std::string name_;
  PieceTable table_;
  DiskQueue queue_;
  IoCounters counters_;
};

}  // namespace twinblock::engine
