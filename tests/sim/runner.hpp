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
  std::uint32_t client_ops = 0;  // of each schedule; 0: as the seed says
  bool digests = false;          // print each seed's
  bool once = false;             // each seed runs once: no digest to compare
  unsigned trials = 3;           // of each mutant, with seeds of its own
  unsigned jobs = 1;
};

int run_seeds(const Options& options);
int run_mutants(const Options& options);
int replay(const Options& options, std::uint64_t seed, bool print_all);

// Named scenarios (script.hpp). Empty name: all of them.
int list_scenarios();
int run_scenarios(const Options& options, const std::string& name, const std::string& sabotage);
// Each scenario fails with each mutant and sabotage that it says it catches.
int prove_scenarios(const Options& options, const std::string& name);
// Which mutants each scenario notices; for those who write one.
int print_matrix(const Options& options, const std::string& name);
[[nodiscard]] bool is_named_scenario(const std::string& name);
[[nodiscard]] const char* mutant_name(int index);  // nullptr: no such

[[nodiscard]] int mutant_by_name(const std::string& name);    // -1: no such
[[nodiscard]] int scenario_by_name(const std::string& name);  // -1: no such

}  // namespace twinblock::sim
