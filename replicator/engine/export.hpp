// The seam between NBD connections and what stores the bytes: a mirror, or a plain file in scratch mode.
// Requests cross it as pieces: inside one extent, at most core::kPieceMax long (zeroes: a whole extent).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/units.hpp"
#include "replicator/core/io.hpp"
#include "transport/nbd/block_status.hpp"
#include "transport/nbd/export.hpp"
#include "transport/ring/arena.hpp"

namespace twinblock::engine {

enum class PieceVerb : std::uint8_t { kRead, kWrite, kZero, kFlush };

struct Piece {
  PieceVerb verb{};
  bool fua = false;
  bool may_unmap = false;
  ByteRange range;            // empty for kFlush
  ring::BufferHandle buffer;  // kRead, kWrite: at least range.length bytes
};

class PieceClient {
 public:
  // Exactly once per submitted piece, perhaps from inside submit(). `buffer`: of a read, the caller's again.
  virtual void on_piece_done(std::uint32_t token, core::Status status, ring::BufferHandle buffer) = 0;

 protected:
  ~PieceClient() = default;
};

struct IoCounters {
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t read_bytes = 0;
  std::uint64_t written_bytes = 0;
  std::uint64_t flushes = 0;
};

using PieceId = core::RequestId;

// Names pieces and remembers who asked. Fixed size: the bound of what is admitted at once.
class PieceTable {
 public:
  struct Owner {
    PieceClient* client = nullptr;
    std::uint32_t token = 0;
    PieceVerb verb{};
  };
  explicit PieceTable(std::uint32_t count);
  // The id, or nothing when all are taken.
  [[nodiscard]] std::optional<PieceId> take(const Owner& owner);
  // REQUIRES: the id is taken.
  Owner finish(PieceId id);
  [[nodiscard]] bool is_taken(PieceId id) const;
  [[nodiscard]] std::uint32_t taken() const noexcept { return taken_; }

 private:
  static constexpr std::uint32_t kIndexBits = 12;
  struct Slot {
    Owner owner;
    std::uint32_t generation = 1;  // so that a late cancel of a finished piece hits nobody
    bool used = false;
  };
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  std::uint32_t taken_ = 0;
};

class BlockExport {
 public:
  virtual ~BlockExport() = default;
  // As the handshake sees it now; `refusal` says why it is closed.
  [[nodiscard]] virtual nbd::ExportInfo info() const = 0;
  // Nothing: no room. The caller waits in the shard's WaitList and tries again. A write's buffer reference
  // passes to the export, a read's comes back with the answer.
  [[nodiscard]] virtual std::optional<PieceId> submit(const Piece& piece, PieceClient& client,
                                                      std::uint32_t token) = 0;
  // The client is gone: what has not started is dropped. It is answered all the same.
  virtual void cancel(PieceId id) = 0;
  // Extents of x-twinblock:dirty from range.offset on, at most `count_max`.
  virtual void dirty_extents(ByteRange range, std::size_t count_max,
                             std::vector<nbd::StatusExtent>& out) const = 0;
  [[nodiscard]] virtual IoCounters& counters() = 0;
  // To whom the buffers of its requests are charged.
  [[nodiscard]] virtual ring::BufferOwner buffer_owner() const { return {}; }
};

}  // namespace twinblock::engine
