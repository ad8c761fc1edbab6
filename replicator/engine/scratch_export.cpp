#include "replicator/engine/scratch_export.hpp"

#include <cerrno>
#include <utility>

#include "base/assert.hpp"

namespace twinblock::engine {
namespace {

constexpr std::uint32_t kPieceCount = 512;

core::DiskVerb disk_verb(PieceVerb verb) {
  switch (verb) {
    case PieceVerb::kRead:
      return core::DiskVerb::read;
    case PieceVerb::kWrite:
      return core::DiskVerb::write;
    case PieceVerb::kZero:
      return core::DiskVerb::zero;
    case PieceVerb::kFlush:
      return core::DiskVerb::flush;
  }
  TB_ASSERT(false);
  return core::DiskVerb::flush;
}

}  // namespace

ScratchExport::ScratchExport(const ShardContext& shard, ring::Disk& disk, std::string name)
    : shard_{shard},
      disk_{disk},
      name_{std::move(name)},
      table_{kPieceCount},
      queue_{shard, disk, *this, {}} {}

nbd::ExportInfo ScratchExport::info() const {
  nbd::ExportInfo info;
  info.name = name_;
  info.description = "scratch file, not replicated";
  info.size = disk_.properties().size;
  info.block_size_min = ByteCount{disk_.properties().logical_block};
  info.features.rotational = disk_.properties().rotational;
  return info;
}

std::optional<PieceId> ScratchExport::submit(const Piece& piece, PieceClient& client, std::uint32_t token) {
  const auto id = table_.take({&client, token, piece.verb});
  if (!id) return std::nullopt;
  queue_.start({disk_verb(piece.verb), piece.fua, piece.may_unmap, *id, piece.range, piece.buffer});
  return id;
}

void ScratchExport::dirty_extents(ByteRange range, std::size_t, std::vector<nbd::StatusExtent>& out) const {
  out.push_back({range.length, 0});
}

void ScratchExport::on_disk_done(core::OpId id, int error, ring::BufferHandle buffer, const core::Digest&) {
  const PieceTable::Owner owner = table_.finish(static_cast<PieceId>(id));
  const core::Status status = error == 0        ? core::Status::ok
                              : error == ENOSPC ? core::Status::no_space
                                                : core::Status::io_error;
  shard_.waiters.note_freed();
  if (owner.verb == PieceVerb::kWrite) {
    shard_.arena.release(buffer);
    buffer = ring::kNoBuffer;
  }
  owner.client->on_piece_done(owner.token, status, buffer);
}

}  // namespace twinblock::engine
