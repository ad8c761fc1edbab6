#include "tests/sim/history.hpp"

#include <algorithm>
#include <string>

namespace twinblock::sim {
namespace {

std::uint32_t version_of(Tag tag) {
  return static_cast<std::uint32_t>(tag >> 32);
}

}  // namespace

std::uint32_t History::begin_write(SectorRun run, bool zero) {
  versions_.push_back({.begin = tick()});
  for (std::uint32_t s = run.first; zero && s < run.first + run.count; ++s) ++registers_.at(s).zeroes_running;
  return static_cast<std::uint32_t>(versions_.size() - 1);
}

void History::end_write(std::uint32_t version, SectorRun run, bool zero, Fate fate) {
  Version& v = versions_[version];
  v.end = tick();
  v.fate = fate;
  for (std::uint32_t s = run.first; s < run.first + run.count; ++s) {
    Register& r = registers_.at(s);
    if (zero) {
      --r.zeroes_running;
      if (fate != Fate::never) r.zero_last_end = v.end;
    }
    if (fate == Fate::acknowledged) r.floor = std::max(r.floor, v.begin);
  }
}

void History::make_stable(std::uint32_t version, SectorRun run) {
  for (std::uint32_t s = run.first; s < run.first + run.count; ++s) {
    Register& r = registers_.at(s);
    r.stable_floor = std::max(r.stable_floor, versions_[version].begin);
  }
}

bool History::foreign(std::uint32_t sector, Tag tag) const {
  if (tag == 0) return false;
  const std::uint32_t v = version_of(tag);
  return v >= versions_.size() || static_cast<std::uint32_t>(tag) != sector ||
         versions_[v].fate == Fate::never;
}

bool History::valid(std::uint32_t sector, Tag tag, Clock floor) const {
  const Register& r = registers_.get(sector);
  if (r.has_base && r.base == tag && floor <= r.base_floor) return true;
  if (tag == 0) return r.zeroes_running > 0 || r.zero_last_end >= floor;
  if (foreign(sector, tag)) return false;
  return versions_[version_of(tag)].end >= floor;
}

bool History::readable(std::uint32_t sector, Tag tag, Clock floor) const {
  const Register& r = registers_.get(sector);
  return valid(sector, tag, floor) && (tag == 0 || tag != r.killed);
}

void History::observe(std::uint32_t sector, Tag tag, Clock begun) {
  Register& r = registers_.at(sector);
  if (r.observed != 0 && r.observed != tag && r.observed_at < begun) r.killed = r.observed;
  if (tag != 0) r.floor = std::max(r.floor, versions_[version_of(tag)].begin);
  r.observed = tag;
  r.observed_at = tick();
}

void History::fall_back(std::uint32_t sector) {
  Register& r = registers_.at(sector);
  r.floor = r.stable_floor;
  r.observed = r.killed = 0;
}

void History::rebase(std::uint32_t sector, Tag content) {
  Register& r = registers_.at(sector);
  r.floor = r.stable_floor = r.base_floor = clock_;
  r.base = content;
  r.has_base = true;
  r.observed = r.killed = 0;
}

std::uint32_t History::garbage_version() {
  versions_.push_back({.begin = 0, .end = 0, .fate = Fate::never});
  return static_cast<std::uint32_t>(versions_.size() - 1);
}

std::uint32_t History::initial_version() {
  versions_.push_back({.begin = 0, .end = 0, .fate = Fate::acknowledged});
  return static_cast<std::uint32_t>(versions_.size() - 1);
}

std::string History::describe(std::uint32_t sector, Tag tag) const {
  const Register& r = registers_.get(sector);
  std::string text = "sector " + std::to_string(sector) + " shows ";
  if (tag == 0) {
    text += "zeroes (last legal end " + std::to_string(r.zero_last_end) + ")";
  } else if (version_of(tag) >= versions_.size()) {
    text += "garbage";
  } else {
    const Version& v = versions_[version_of(tag)];
    text += "w" + std::to_string(version_of(tag)) + " [" + std::to_string(v.begin) + ", " +
            (v.end == kRunning ? "running" : std::to_string(v.end)) + ")";
    if (v.fate == Fate::never) text += " never legal";
    if (static_cast<std::uint32_t>(tag) != sector) text += " of sector " + std::to_string(tag & 0xffffffff);
  }
  return text + ", floor " + std::to_string(r.floor) + ", stable floor " + std::to_string(r.stable_floor);
}

}  // namespace twinblock::sim
