// Runs seeds in worker processes: an assertion of the core, a crash or an endless loop costs one worker and
// is reported with its seed; the parent replays it with a trace.
#pragma once

#include <cstdint>
#include <string>

namespace twinblock::sim {

struct Options {
  std::uint64_t seed_first = 1;
  std::uint64_t seed_last = 1000;
  double minutes = 0;  // 0: no limit
  int scenario = -1;
  int mutant = 0;
  bool all_mutants = false;
  bool verbose = false;
  bool single = false;  // --seed: one seed with its trace
  std::uint64_t seeds_per_mutant = 8000;
  bool once = false;    // each seed runs once: no digest to compare
  unsigned trials = 3;  // of each mutant, with seeds of its own
  unsigned jobs = 1;
};

int run_seeds(const Options& options);
int run_mutants(const Options& options);
int replay(const Options& options, std::uint64_t seed, bool print_all);

[[nodiscard]] int mutant_by_name(const std::string& name);    // -1: no such
[[nodiscard]] int scenario_by_name(const std::string& name);  // -1: no such

}  // namespace twinblock::sim
