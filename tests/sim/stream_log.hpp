// The prefix checker (P6): what a target may contain, given the stream that its source sent in this session.
//
// Rules: the target begins with `base` (its content when it said session_ready) and applies the stream. When
// it is promoted after the session, its content is base plus exactly the first n messages, for some n. After
// its own power cut it is base plus all messages up to one of the flush points plus any subset, torn per
// sector, of those between that point and the next; and never less than what it reported stable. Sectors
// with unfinished or volatile writes of an earlier session when the session began are not judged.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/sim/data_disk.hpp"
#include "tests/sim/sparse.hpp"

namespace twinblock::sim {

class StreamLog {
 public:
  explicit StreamLog(std::uint32_t sectors) : base_{sectors}, sectors_{sectors} {}
  void begin(DataDisk& target);
  void end() { active_ = false; }
  [[nodiscard]] bool active() const { return active_; }
  void add_write(std::uint64_t sequence, SectorRun run, const Tag* tags);  // nullptr: zeroes
  void add_flush(std::uint64_t sequence);
  void note_stable(std::uint64_t sequence) { stable_ = sequence > stable_ ? sequence : stable_; }
  // Empty: fine; else what is wrong.
  [[nodiscard]] std::string judge_prefix(DataDisk& target);
  [[nodiscard]] std::string judge_power_cut(DataDisk& target);

 private:
  struct Entry {
    std::uint64_t sequence = 0;
    SectorRun run;
    std::uint32_t tags = 0;   // index into tags_; kZeroes, kFlush
    std::uint32_t epoch = 0;  // flush points before it
  };
  static constexpr std::uint32_t kZeroes = UINT32_MAX;
  static constexpr std::uint32_t kFlush = UINT32_MAX - 1;
  struct Base {
    Tag tag = 0;
    bool wild = false;
  };
  [[nodiscard]] std::string judge(DataDisk& target, bool power_cut);

  bool active_ = false;
  std::uint64_t stable_ = 0;
  std::uint32_t epoch_ = 0;
  std::vector<Entry> entries_;
  std::vector<Tag> tags_;
  Sparse<Base> base_;
  std::uint32_t sectors_;
};

}  // namespace twinblock::sim
