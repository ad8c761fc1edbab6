#include "replicator/engine/disk_queue.hpp"

#include <cerrno>
#include <cstring>

#include "base/assert.hpp"

namespace twinblock::engine {

DiskQueue::DiskQueue(const ShardContext& shard, ring::Disk& disk, DiskQueueOwner& owner, Duration timeout)
    : shard_{shard}, disk_{disk}, owner_{owner}, timeout_{timeout} {}

DiskQueue::~DiskQueue() {
  TB_ASSERT(idle());
}

void DiskQueue::Entry::on_zero(ring::ZeroRequest* request, int result) {
  // The base has no virtual function; `request` is the Zero of the entry that gave on_zero() to it.
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-static-cast-downcast): no type tag on each I/O
  Entry& entry = static_cast<Zero*>(request)->entry;
  entry.queue_.finish(entry, result);
}

void DiskQueue::start(const DiskRequest& request) {
  if (free_.empty()) {
    entries_.push_back(std::make_unique<Entry>(*this));
    free_.push_back(entries_.back().get());
  }
  Entry& entry = *free_.back();
  free_.pop_back();
  entry.request = request;
  entry.running = true;
  entry.expired = false;
  entry.serial = ++serial_;
  ++in_flight_;
  if (timeout_ > Duration{}) expiries_.push_back({shard_.loop.now() + timeout_, &entry, entry.serial});
  const auto durability = request.fua ? ring::Durability::kStable : ring::Durability::kCached;
  std::span<std::byte> bytes;
  if (request.buffer != ring::kNoBuffer) {
    shard_.arena.add_ref(request.buffer);
    bytes = shard_.arena.bytes(request.buffer).first(request.range.length.value());
  }
  switch (request.verb) {
    case core::DiskVerb::read:
      disk_.read(entry.op, bytes, request.range.offset);
      break;
    case core::DiskVerb::write:
      disk_.write(entry.op, bytes, request.range.offset, durability);
      break;
    case core::DiskVerb::zero:
      disk_.write_zeroes(entry.zero, request.range, request.may_unmap, durability);
      break;
    case core::DiskVerb::flush:
      disk_.flush(entry.op);
      break;
  }
}

void DiskQueue::finish(Entry& entry, int result) {
  TB_ASSERT(entry.running);
  const DiskRequest request = entry.request;
  const bool expired = entry.expired;
  entry.running = false;
  --in_flight_;
  if (expired) --quarantined_;
  free_.push_back(&entry);
  while (!expiries_.empty()) {
    const Expiry& first = expiries_.front();
    if (first.entry->running && first.entry->serial == first.serial && !first.entry->expired) break;
    expiries_.pop_front();
  }
  // Short only at the end of a file that shrank under us.
  const bool short_io = request.verb != core::DiskVerb::flush && request.verb != core::DiskVerb::zero &&
                        result >= 0 && static_cast<std::uint64_t>(result) < request.range.length.value();
  const int error = result < 0 ? -result : short_io ? EIO : 0;
  if (!expired) {
    const bool looked = error == 0 && request.look != core::Look::none;
    owner_.on_disk_done(request.id, error, request.buffer, looked ? look_at(request) : core::Digest{});
  }
  if (request.buffer != ring::kNoBuffer) shard_.arena.release(request.buffer);
}

core::Digest DiskQueue::look_at(const DiskRequest& request) {
  const auto bytes = shard_.arena.bytes(request.buffer).first(request.range.length.value());
  core::Digest digest;
  // Equal to itself one byte further on, and beginning with zero: all zero. memcmp stops at the first other.
  digest.zero =
      bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
  return digest;
}

void DiskQueue::expire(Instant now) {
  while (!expiries_.empty() && expiries_.front().at <= now) {
    const Expiry expiry = expiries_.front();
    expiries_.pop_front();
    Entry& entry = *expiry.entry;
    if (!entry.running || entry.serial != expiry.serial) continue;
    entry.expired = true;
    ++quarantined_;
    owner_.on_disk_done(entry.request.id, ETIMEDOUT, entry.request.buffer, core::Digest{});
  }
}

Instant DiskQueue::next_expiry() const {
  return expiries_.empty() ? Instant::never() : expiries_.front().at;
}

}  // namespace twinblock::engine
