// The register checker: which values may a sector show, given what clients were told (P1, P10, P15, I2)?
//
// Every client write is a *version* with an interval [begin, end) on the event clock: end is its answer, the
// crash of its node, or "still running". Per sector:
//  - `floor`: an instant of the event clock; a version that ended before it has been overwritten by a write
//    that was acknowledged, or shown by a read, and must never be seen again. An acknowledged write raises it
//    to its own begin, and so does a read that shows a version. Writes that overlap in time may take effect
//    in either order, a write without an answer may take effect or not: neither raises it.
//  - `killed`: the version that one read showed and a later, non-overlapping read did not show any more.
//  - `stable_floor`: the floor that a completed flush or FUA guarantees. When a power cut destroys the last
//    copy of a value the floor falls back to it: that is all that was promised.
//  - `base`: after a failover that may lose writes by contract (async, forced) the content found there.
// Zeroes carry no version: a zero is legal while any write of zeroes of the sector is.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/sim/buffers.hpp"
#include "tests/sim/sparse.hpp"

namespace twinblock::sim {

using Clock = std::uint32_t;  // event clock: one tick per beginning and end of an operation
inline constexpr Clock kRunning = UINT32_MAX;

struct SectorRun {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};

class History {
 public:
  explicit History(std::uint32_t sectors) : registers_{sectors} {}

  [[nodiscard]] Clock now() const { return clock_; }
  Clock tick() { return ++clock_; }

  // A new version. zero: shown as zeroes.
  std::uint32_t begin_write(SectorRun run, bool zero);
  enum class Fate { acknowledged, unknown, never };
  void end_write(std::uint32_t version, SectorRun run, bool zero, Fate fate);
  // FUA: what acknowledged() promised holds after a power cut too.
  void make_stable(std::uint32_t version, SectorRun run);
  [[nodiscard]] Clock begin_of(std::uint32_t version) const { return versions_[version].begin; }

  [[nodiscard]] Clock floor(std::uint32_t sector) const { return registers_.get(sector).floor; }
  [[nodiscard]] Clock stable_floor(std::uint32_t sector) const { return registers_.get(sector).stable_floor; }
  // Is `tag` no older than `floor` allows?
  [[nodiscard]] bool valid(std::uint32_t sector, Tag tag, Clock floor) const;
  // May a read that is promised `floor` show it?
  [[nodiscard]] bool readable(std::uint32_t sector, Tag tag, Clock floor) const;
  // Not one of ours, misplaced, or of a write that never started.
  [[nodiscard]] bool foreign(std::uint32_t sector, Tag tag) const;
  // A read that began at `begun` and ended now has shown `tag`.
  void observe(std::uint32_t sector, Tag tag, Clock begun);
  // All copies of the promised value are gone by a legal power cut.
  void fall_back(std::uint32_t sector);
  // A lossy failover: this content and what follows it counts from now on.
  void rebase(std::uint32_t sector, Tag content);

  // A version that stands for content which no client wrote and none may see.
  std::uint32_t garbage_version();
  std::uint32_t initial_version();
  [[nodiscard]] std::string describe(std::uint32_t sector, Tag tag) const;

 private:
  struct Version {
    Clock begin = 0;
    Clock end = kRunning;
    Fate fate = Fate::unknown;
  };
  struct Register {
    Clock floor = 0;
    Clock stable_floor = 0;
    Clock base_floor = 0;
    Clock zero_last_end = 0;
    Clock observed_at = 0;
    std::uint32_t zeroes_running = 0;
    Tag observed = 0;
    Tag killed = 0;
    Tag base = 0;
    bool has_base = false;
  };
  std::vector<Version> versions_{Version{}};
  Sparse<Register> registers_;
  Clock clock_ = 0;
};

}  // namespace twinblock::sim
