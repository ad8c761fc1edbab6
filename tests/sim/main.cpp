// twinblock-sim: whole two-node mirrors in virtual time (DESIGN 10.1).
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/sim/runner.hpp"

namespace {

constexpr const char* kUsage =
    "twinblock-sim [--seed N] [--seeds A..B] [--minutes M] [--mutants] [--mutant NAME] [--seeds-per-mutant "
    "N]\n"
    "              [--trials T] [--scenario CLASS] [--jobs J] [--once] [--ops N] [--digests] [--verbose]\n"
    "twinblock-sim --list | --scenario NAME [--seed N] [--mutant M] [--sabotage S] | --scenarios | --prove "
    "[NAME]\n"
    "  --seed N     one seed with its last events; --verbose: all events\n"
    "  --seeds A..B (default 1..1000), in J processes; each seed runs twice and must give the same digest\n"
    "  --once       each seed runs once (half the time)\n"
    "  --ops N      schedules of N client operations (default: 60 to 900, as the seed says)\n"
    "  --digests    prints the digest of each seed: what a change for speed alone must not change\n"
    "  --mutants    every deliberate fault of the core must be caught within --seeds-per-mutant seeds "
    "(8000),\n"
    "               in each of --trials (3) trials that begin at seeds far apart\n"
    "  --minutes M  stop after M minutes; with --seed, --seeds or alone (then any number of seeds)\n"
    "  --list       the named scenarios with their titles; --scenario NAME plays one, --scenarios all\n"
    "  --prove      each scenario must fail with every mutant and sabotage that it says it catches\n"
    "  --matrix     which mutants the named scenarios notice\n"
    "  classes: sync memsync async-block async-track switchovers disk-errors metadata-faults split-brain\n"
    "           crash-loops handshake-cut rot cuts rollbacks chaos zeroes\n";

[[noreturn]] void usage(const char* why) {
  std::fprintf(stderr, "twinblock-sim: %s\n%s", why, kUsage);
  std::exit(2);
}

std::uint64_t number(const char* text) {
  char* end = nullptr;
  const unsigned long long v = std::strtoull(text, &end, 10);
  if (end == text || *end != '\0') usage("not a number");
  return v;
}

void parse_range(const char* text, twinblock::sim::Options& o) {
  const char* dots = std::strstr(text, "..");
  if (dots == nullptr) usage("--seeds takes A..B");
  o.seed_first = number(std::string{text, dots}.c_str());
  o.seed_last = number(dots + 2);
  if (o.seed_first > o.seed_last) usage("--seeds: the range is empty");
}

}  // namespace

int main(int argc, char** argv) {
  twinblock::sim::Options o;
  const long cores = sysconf(_SC_NPROCESSORS_ONLN);
  o.jobs = cores > 0 ? static_cast<unsigned>(cores) : 1;
  bool range_given = false;
  enum class Named { no, list, play, prove, matrix } named = Named::no;
  std::string scenario;
  std::string sabotage;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const auto value = [&]() -> const char* {
      if (i + 1 >= argc) usage((flag + " needs a value").c_str());
      return argv[++i];
    };
    if (flag == "--seed") {
      o.seed_first = o.seed_last = number(value());
      o.single = true;
    } else if (flag == "--seeds") {
      parse_range(value(), o);
      range_given = true;
    } else if (flag == "--minutes") {
      o.minutes = std::atof(value());
    } else if (flag == "--mutants") {
      o.all_mutants = true;
    } else if (flag == "--mutant") {
      o.mutant = twinblock::sim::mutant_by_name(value());
      if (o.mutant < 0) usage("no such mutant");
    } else if (flag == "--seeds-per-mutant") {
      o.seeds_per_mutant = number(value());
    } else if (flag == "--ops") {
      const std::uint64_t n = number(value());
      if (n < 1 || n > 1'000'000) usage("--ops: 1 to 1000000");
      o.client_ops = static_cast<std::uint32_t>(n);
    } else if (flag == "--digests") {
      o.digests = true;
    } else if (flag == "--once") {
      o.once = true;
    } else if (flag == "--trials") {
      o.trials = static_cast<unsigned>(number(value()));
      if (o.trials < 1 || o.trials > 99) usage("--trials: 1 to 99");
    } else if (flag == "--scenario") {
      scenario = value();
      o.scenario = twinblock::sim::scenario_by_name(scenario);
      if (o.scenario < 0 && !twinblock::sim::is_named_scenario(scenario)) usage("no such scenario or class");
      if (o.scenario < 0 && named == Named::no) named = Named::play;
    } else if (flag == "--sabotage") {
      sabotage = value();
    } else if (flag == "--list") {
      named = Named::list;
    } else if (flag == "--scenarios") {
      named = Named::play;
    } else if (flag == "--prove") {
      named = Named::prove;
      if (i + 1 < argc && argv[i + 1][0] != '-') scenario = argv[++i];
    } else if (flag == "--matrix") {
      named = Named::matrix;
    } else if (flag == "--jobs") {
      o.jobs = static_cast<unsigned>(number(value()));
      if (o.jobs < 1 || o.jobs > 256) usage("--jobs: 1 to 256");
    } else if (flag == "--verbose") {
      o.verbose = true;
    } else if (flag == "--help") {
      std::fputs(kUsage, stdout);
      return 0;
    } else {
      usage(("unknown argument " + flag).c_str());
    }
  }
  if (o.minutes > 0 && !range_given && !o.single && !o.all_mutants) o.seed_last = UINT64_MAX / 2;
  switch (named) {
    case Named::no:
      break;
    case Named::list:
      return twinblock::sim::list_scenarios();
    case Named::play:
      return twinblock::sim::run_scenarios(o, scenario, sabotage);
    case Named::prove:
      return twinblock::sim::prove_scenarios(o, scenario);
    case Named::matrix:
      return twinblock::sim::print_matrix(o, scenario);
  }
  if (o.all_mutants) return twinblock::sim::run_mutants(o);
  if (o.single) {
    const int result = twinblock::sim::replay(o, o.seed_first, o.verbose);
    std::printf("%d passed, %d failed\n", result == 0 ? 1 : 0, result == 0 ? 0 : 1);
    return result;
  }
  return twinblock::sim::run_seeds(o);
}
