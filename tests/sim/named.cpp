// Plays the named scenarios (script.hpp). Each play of a scenario is a process of its own: an assertion of
// the core, a crash or an endless loop is a failure of that scenario and of no other.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "base/assert.hpp"
#include "replicator/core/mutants.hpp"
#include "tests/sim/runner.hpp"
#include "tests/sim/script.hpp"

namespace twinblock::sim {
namespace {

constexpr unsigned kSecondsMax = 240;
constexpr std::uint64_t kSeedsDefault = 4;

struct Break {
  int mutant = 0;
  std::string sabotage;
};

Trace* g_trace = nullptr;
const Case* g_case = nullptr;

void report(const char* checker, const std::string& text) {
  if (g_trace != nullptr) g_trace->print();
  const std::string at = g_case == nullptr || g_case->at().empty() ? "" : " (" + g_case->at() + ")";
  std::printf("FAILED%s, checker %s\n%s\n", at.c_str(), checker, text.c_str());
  std::fflush(stdout);
}

void on_assertion(const char* text) {
  report("assert", text);
  _exit(2);
}

// False: it failed, and has said why. twice: the second play must give the same digest.
bool play(const NamedScenario& scenario, std::uint64_t seed, const Break& broken, Trace* trace, bool twice) {
  std::uint64_t digest = 0;
  for (int round = 0; round < (twice ? 2 : 1); ++round) {
    Case c{seed, broken.sabotage, trace};
    g_case = &c;
    try {
      scenario.play(c);
    } catch (const Failure& f) {
      std::printf("scenario %s, seed %llu: ", scenario.name, static_cast<unsigned long long>(seed));
      report(f.checker, f.text);
      return false;
    }
    if (c.plays() == 0) {
      report("script", "nothing was played");
      return false;
    }
    if (round == 1 && digest != c.digest()) {
      report("determinism", "two plays of one seed differ");
      return false;
    }
    digest = c.digest();
    if (round == 0 && seed == 1 && broken.mutant == 0 && broken.sabotage.empty())
      std::printf("%s: %llu plays per seed\n", scenario.name, static_cast<unsigned long long>(c.plays()));
  }
  return true;
}

struct Run {
  const NamedScenario* scenario;
  Break broken;
  bool silent = false;
  std::uint64_t seeds = kSeedsDefault;
  pid_t pid = 0;
  bool failed = false;
};

void start(const Options& o, Run& run) {
  std::fflush(stdout);
  run.pid = fork();
  if (run.pid != 0) return;
  if (run.silent) std::freopen("/dev/null", "w", stdout);
  std::freopen("/dev/null", "w", stderr);
  core::g_active_mutant = static_cast<core::Mutant>(run.broken.mutant);
  set_assertion_hook(on_assertion);
  alarm(kSecondsMax);
  Trace trace{60, o.verbose};
  Trace* wanted = o.single ? &trace : nullptr;
  g_trace = o.single && !o.verbose ? wanted : nullptr;
  const bool healthy = run.broken.mutant == 0 && run.broken.sabotage.empty();
  const std::uint64_t last = o.single ? o.seed_first : o.seed_first + run.seeds - 1;
  for (std::uint64_t seed = o.seed_first; seed <= last; ++seed) {
    const bool twice = healthy && seed == o.seed_first && !o.single;
    if (!play(*run.scenario, seed, run.broken, wanted, twice)) {
      std::fflush(stdout);
      _exit(2);
    }
  }
  std::fflush(stdout);
  _exit(0);
}

void run_all(const Options& o, std::vector<Run>& runs) {
  std::size_t next = 0;
  unsigned running = 0;
  while (next < runs.size() || running > 0) {
    if (next < runs.size() && running < o.jobs) {
      start(o, runs[next++]);
      ++running;
      continue;
    }
    int status = 0;
    const pid_t pid = wait(&status);
    const auto at = std::find_if(runs.begin(), runs.end(), [&](const Run& r) { return r.pid == pid; });
    if (at == runs.end()) continue;
    --running;
    at->failed = status != 0;
    if (WIFSIGNALED(status) && !at->silent)
      std::printf("scenario %s ended by signal %s\n", at->scenario->name, strsignal(WTERMSIG(status)));
  }
}

std::vector<const NamedScenario*> chosen(const std::string& name) {
  std::vector<const NamedScenario*> some;
  for (const NamedScenario& s : named_scenarios()) {
    if (name.empty() || name == s.name) some.push_back(&s);
  }
  std::sort(some.begin(), some.end(), [](auto x, auto y) { return std::strcmp(x->name, y->name) < 0; });
  return some;
}

int count_and_say(std::size_t all, std::size_t failed) {
  std::printf("%zu passed, %zu failed\n", all - failed, failed);
  return failed == 0 && all > 0 ? 0 : 1;
}

}  // namespace

bool is_named_scenario(const std::string& name) {
  return !name.empty() && !chosen(name).empty();
}

int list_scenarios() {
  for (const NamedScenario* s : chosen("")) std::printf("%-40s %s\n", s->name, s->title);
  return 0;
}

int run_scenarios(const Options& o, const std::string& name, const std::string& sabotage) {
  std::vector<Run> runs;
  for (const NamedScenario* s : chosen(name)) runs.push_back({.scenario = s, .broken = {o.mutant, sabotage}});
  run_all(o, runs);
  std::size_t failed = 0;
  for (const Run& r : runs) {
    if (!r.failed) continue;
    ++failed;
    std::printf("FAILED %s: %s\n  replay: twinblock-sim --scenario %s --seed N\n", r.scenario->name,
                r.scenario->title, r.scenario->name);
  }
  return count_and_say(runs.size(), failed);
}

int prove_scenarios(const Options& o, const std::string& name) {
  std::vector<Run> runs;
  std::size_t failed = 0;
  for (const NamedScenario* s : chosen(name)) {
    if (s->catches.empty()) {
      std::printf("%s names nothing that it catches\n", s->name);
      ++failed;
    }
    for (const std::string& what : s->catches) {
      const int mutant = mutant_by_name(what);
      const Break broken = mutant > 0 ? Break{mutant, ""} : Break{0, what};
      runs.push_back({.scenario = s, .broken = broken, .silent = true});
    }
  }
  run_all(o, runs);
  for (const Run& r : runs) {
    if (r.failed) continue;
    ++failed;
    const std::string& what = r.broken.sabotage;
    std::printf("%s does not notice %s\n", r.scenario->name,
                what.empty() ? mutant_name(r.broken.mutant) : what.c_str());
  }
  return count_and_say(std::max(runs.size(), failed), failed);
}

int print_matrix(const Options& o, const std::string& name) {
  std::vector<Run> runs;
  for (const NamedScenario* s : chosen(name)) {
    for (int m = 1; mutant_name(m) != nullptr; ++m)
      runs.push_back({.scenario = s, .broken = {m, ""}, .silent = true, .seeds = 1});
  }
  run_all(o, runs);
  const NamedScenario* line = nullptr;
  for (const Run& r : runs) {
    if (r.scenario != line) std::printf("%s%s:", line == nullptr ? "" : "\n", r.scenario->name);
    line = r.scenario;
    if (r.failed) std::printf(" %s", mutant_name(r.broken.mutant));
  }
  std::printf("\n");
  return 0;
}

}  // namespace twinblock::sim
