// Readable names of what happens. Only a run that is being traced renders text; the others record nothing.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "replicator/core/io.hpp"
#include "replicator/core/status.hpp"

namespace twinblock::sim {

class Trace {
 public:
  explicit Trace(std::size_t keep, bool print_all) : keep_{keep}, print_all_{print_all} {}
  void add(std::int64_t now, int node, std::string_view text);
  void print() const;  // the newest lines, oldest first, to stdout

 private:
  std::size_t keep_;
  bool print_all_;
  std::deque<std::string> lines_;
};

[[nodiscard]] std::string describe(const core::Input& in);
[[nodiscard]] std::string describe(const core::Output& out);
[[nodiscard]] std::string describe(const core::MirrorSnapshot& s);
[[nodiscard]] std::string_view name(core::Refusal r);
[[nodiscard]] std::string_view name(core::LinkState s);
[[nodiscard]] std::string_view name(core::ReplicaState s);

}  // namespace twinblock::sim
