#include "tests/sim/stream_log.hpp"

#include <algorithm>

namespace twinblock::sim {

void StreamLog::begin(DataDisk& target) {
  active_ = true;
  stable_ = 0;
  epoch_ = 0;
  entries_.clear();
  tags_.clear();
  base_.clear();
  target.cells().for_each([&](std::uint32_t s, DataDisk::Cell& c) {
    base_.at(s) = {c.cached, c.cached != c.durable};
  });
  target.for_each_unflushed([&](std::uint32_t s) { base_.at(s).wild = true; });
  for (std::uint32_t i = 0; i < target.slot_count(); ++i) {
    const DataDisk::Op& op = target.op(i);
    if (!op.used || op.io.verb == core::DiskVerb::read) continue;
    for (std::uint32_t s = op.run.first; s < op.run.first + op.run.count; ++s) base_.at(s).wild = true;
  }
}

void StreamLog::add_write(std::uint64_t sequence, SectorRun run, const Tag* tags) {
  if (!active_) return;
  entries_.push_back({sequence, run, kZeroes, epoch_});
  if (tags == nullptr) return;
  entries_.back().tags = static_cast<std::uint32_t>(tags_.size());
  tags_.insert(tags_.end(), tags, tags + run.count);
}

void StreamLog::add_flush(std::uint64_t sequence) {
  if (!active_) return;
  entries_.push_back({sequence, {}, kFlush, epoch_});
  ++epoch_;
}

// Per sector, each version that equals the content makes an interval of points admissible; the log is good
// if some point is admissible for all sectors. Points are message counts, or flush points for power cuts.
std::string StreamLog::judge(DataDisk& target, bool power_cut) {
  struct State {
    Tag tag = 0;
    std::uint32_t from = 0;
    std::uint32_t counted_to = 0;  // points below were counted for this sector
    bool touched = false;
    bool wild = false;
  };
  Sparse<State> states{sectors_};
  const auto last = static_cast<std::uint32_t>(entries_.size());
  const std::uint32_t point_max = power_cut ? epoch_ : last;
  std::vector<std::int32_t> change(point_max + 2);
  std::int32_t touched = 0;
  const auto close = [&](std::uint32_t sector, State& st, std::uint32_t to) {  // to: inclusive
    if (st.wild || target.cell(sector).cached != st.tag) return;
    const std::uint32_t from = std::max(st.from, st.counted_to);
    if (from > to) return;
    ++change[from];
    --change[to + 1];
    st.counted_to = to + 1;
  };
  for (std::uint32_t i = 0; i < last; ++i) {
    const Entry& e = entries_[i];
    if (e.tags == kFlush) continue;
    const std::uint32_t here = power_cut ? e.epoch : i + 1;
    const bool must = power_cut && e.sequence <= stable_;
    const std::uint32_t end = power_cut ? here : here - 1;
    for_each_part(e.run.first, e.run.count, [&](std::uint32_t first, std::uint32_t count) {
      State* st = &states.at(first);
      const Base* base = base_.find(first);
      const Tag* tags = e.tags == kZeroes ? nullptr : &tags_[e.tags + (first - e.run.first)];
      for (std::uint32_t k = 0; k < count; ++k, ++st) {
        if (!st->touched) {
          st->touched = true;
          if (base != nullptr) {
            st->tag = base[k].tag;
            st->wild = base[k].wild;
          }
          if (!st->wild) ++touched;
        }
        if (!must) close(first + k, *st, end);
        st->tag = tags == nullptr ? 0 : tags[k];
        st->from = here;
      }
    });
  }
  states.for_each([&](std::uint32_t sector, State& st) {
    if (st.touched) close(sector, st, point_max);
  });
  std::int32_t count = 0;
  std::int32_t best = 0;
  for (std::uint32_t n = 0; n <= point_max; ++n) {
    count += change[n];
    best = std::max(best, count);
    if (count == touched) return {};
  }
  return "no point of the stream (" + std::to_string(last) + " messages, " + std::to_string(epoch_) +
         " flush points, stable " + std::to_string(stable_) + ") explains the target: at best " +
         std::to_string(best) + " of " + std::to_string(touched) + " sectors";
}

std::string StreamLog::judge_prefix(DataDisk& target) {
  return judge(target, false);
}

std::string StreamLog::judge_power_cut(DataDisk& target) {
  return judge(target, true);
}

}  // namespace twinblock::sim
