// I/O on a data disk in pieces: pooled operations, a time limit, and buffers that stay quarantined until a
// timed-out operation comes back.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "base/units.hpp"
#include "replicator/core/io.hpp"
#include "replicator/engine/shard_context.hpp"
#include "transport/ring/disk.hpp"

namespace twinblock::engine {

struct DiskRequest {
  core::DiskVerb verb{};
  bool fua = false;
  bool may_unmap = false;
  core::OpId id = 0;
  ByteRange range;
  ring::BufferHandle buffer;  // read, write: the queue takes a reference of its own
  core::Look look = core::Look::none;
};

class DiskQueueOwner {
 public:
  // Exactly once per request, never from inside start(). `error`: 0 or an errno. `digest`: as asked for.
  virtual void on_disk_done(core::OpId id, int error, ring::BufferHandle buffer,
                            const core::Digest& digest) = 0;

 protected:
  ~DiskQueueOwner() = default;
};

class DiskQueue {
 public:
  // `timeout` 0: none.
  DiskQueue(const ShardContext& shard, ring::Disk& disk, DiskQueueOwner& owner, Duration timeout);
  // REQUIRES: idle().
  ~DiskQueue();
  DiskQueue(const DiskQueue&) = delete;
  DiskQueue& operator=(const DiskQueue&) = delete;

  void start(const DiskRequest& request);
  // Answers with ETIMEDOUT what has run too long. The operation itself cannot be taken back: its buffer stays
  // referenced until it completes.
  void expire(Instant now);
  // When expire() has something to do at the earliest.
  [[nodiscard]] Instant next_expiry() const;
  [[nodiscard]] std::uint32_t in_flight() const noexcept { return in_flight_; }
  // Operations that were answered with ETIMEDOUT and still run.
  [[nodiscard]] std::uint32_t quarantined() const noexcept { return quarantined_; }
  [[nodiscard]] bool idle() const noexcept { return in_flight_ == 0; }

 private:
  struct Entry {
    explicit Entry(DiskQueue& queue) noexcept : queue_{queue} {}
    void on_op(int result) { queue_.finish(*this, result); }
    static void on_zero(ring::ZeroRequest* request, int result);

    DiskQueue& queue_;
    DiskRequest request;
    std::uint64_t serial = 0;
    bool running = false;
    bool expired = false;
    ring::MethodOp<&Entry::on_op> op{this};
    struct Zero : ring::ZeroRequest {
      explicit Zero(Entry& e) noexcept : ring::ZeroRequest{&Entry::on_zero}, entry{e} {}
      Entry& entry;
    } zero{*this};
  };
  struct Expiry {
    Instant at;
    Entry* entry;
    std::uint64_t serial;  // the entry may serve another request by then
  };

  void finish(Entry& entry, int result);
  [[nodiscard]] core::Digest look_at(const DiskRequest& request);

  ShardContext shard_;
  ring::Disk& disk_;
  DiskQueueOwner& owner_;
  Duration timeout_;
  std::vector<std::unique_ptr<Entry>> entries_;
  std::vector<Entry*> free_;
  std::deque<Expiry> expiries_;  // in order of time: the limit is the same for all
  std::uint64_t serial_ = 0;
  std::uint32_t in_flight_ = 0;
  std::uint32_t quarantined_ = 0;
};

}  // namespace twinblock::engine
