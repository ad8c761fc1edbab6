// Depth-first search through every sequence of choices of a deterministic story: the story is told again
// from its beginning for each sequence (stateless model checking).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace twinblock::sim {

class Chooser {
 public:
  // REQUIRES: options > 0, and the same at this place whenever the choices before it were the same.
  std::uint32_t choose(std::uint32_t options) {
    if (depth_ == path_.size()) path_.push_back({0, options});
    return path_[depth_++].taken;
  }
  // The next sequence; false: all have been.
  bool advance() {
    while (!path_.empty() && path_.back().taken + 1 == path_.back().options) path_.pop_back();
    if (path_.empty()) return false;
    ++path_.back().taken;
    depth_ = 0;
    return true;
  }

 private:
  struct Choice {
    std::uint32_t taken;
    std::uint32_t options;
  };
  std::vector<Choice> path_;
  std::size_t depth_ = 0;
};

}  // namespace twinblock::sim
