// A data disk with a volatile cache, exactly as weak as io.hpp allows.
//
// Rules: a completed write is seen by later reads and is volatile until a flush that was submitted after its
// completion has completed, or it was FUA. A power cut keeps any subset, torn per sector, of what is volatile
// or in flight; what completed earlier never replaces what completed later, writes in flight land in any
// order. A killed process loses nothing that completed; what was in flight lands in part, before anybody
// looks. A failed write leaves a mixture; a failed flush forgets some of what it should have written: that
// stays readable, no later flush writes it, and the next power cut reverts it.
#pragma once

#include <cstdint>
#include <vector>

#include "base/random.hpp"
#include "replicator/core/io.hpp"
#include "tests/sim/history.hpp"

namespace twinblock::sim {

class DataDisk {
 public:
  struct Cell {
    Tag cached = 0;                   // what a read shows
    Tag durable = 0;                  // what is left in the worst case after a power cut
    std::uint32_t durable_order = 0;  // completion number of the write it came from
  };
  struct Op {
    core::DiskIo io{};
    SectorRun run;
    std::uint32_t flush_mark = 0;  // a flush covers writes completed before this number
    bool used = false;
    bool hung = false;
  };

  DataDisk(std::uint32_t sectors, Buffers& buffers) : cells_{sectors}, buffers_{buffers} {}

  // Takes a reference of the buffer until complete().
  std::uint32_t submit(const core::DiskIo& io);
  [[nodiscard]] const Op& op(std::uint32_t slot) const { return ops_[slot]; }
  [[nodiscard]] Op& op(std::uint32_t slot) { return ops_[slot]; }
  [[nodiscard]] std::uint32_t slot_count() const { return static_cast<std::uint32_t>(ops_.size()); }
  [[nodiscard]] std::uint32_t in_flight() const { return in_flight_; }
  // Takes effect. Reads fill `into`. The slot is free afterwards.
  void complete(std::uint32_t slot, bool ok, core::BufferId into, Random& random);

  void kill(Random& random);  // the process: what is in flight lands in part
  // reverted(sector, before) for each sector whose content changed.
  template <class Reverted>
  void power_cut(Random& random, Reverted&& reverted) {
    keep_some(random);
    cells_.for_each([&](std::uint32_t s, Cell& c) {
      if (c.cached == c.durable) return;
      const Tag before = c.cached;
      c.cached = c.durable;
      reverted(s, before);
    });
  }
  // REQUIRES: nothing in flight. Another disk in its place: all zeroes, to be filled.
  void clear() { cells_.clear(); }
  void fill(std::uint32_t sector, Tag tag) { cells_.at(sector) = Cell{tag, tag, 0}; }

  [[nodiscard]] const Cell& cell(std::uint32_t sector) const { return cells_.get(sector); }
  [[nodiscard]] Sparse<Cell>& cells() { return cells_; }
  // visit(sector) for each sector of which a power cut may leave something between durable and cached.
  template <class Visit>
  void for_each_unflushed(Visit&& visit) const {
    for (const Volatile& v : volatile_) {
      for (std::uint32_t s = v.run.first; s < v.run.first + v.run.count; ++s) {
        if (cells_.find(s) != nullptr && cells_.get(s).durable_order <= v.order) visit(s);
      }
    }
  }

 private:
  struct Volatile {
    std::uint32_t order = 0;
    SectorRun run;
    core::BufferId buffer = 0;  // 0: zeroes
  };
  // Of the first sector of the run; nullptr: zeroes.
  [[nodiscard]] const Tag* tags_of(const Volatile& v);
  void land(const Op& op, bool durable);
  void land_mixture(const Op& op, Random& random);
  void flush(std::uint32_t mark);
  void forget(std::uint32_t mark, Random& random);
  void drop_in_flight();
  void keep_some(Random& random);

  Sparse<Cell> cells_;
  Buffers& buffers_;
  std::vector<Op> ops_;
  std::vector<Volatile> volatile_;
  std::uint32_t next_order_ = 1;
  std::uint32_t in_flight_ = 0;
};

}  // namespace twinblock::sim
