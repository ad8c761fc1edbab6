#include "tests/sim/runner.hpp"

#include <malloc.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "base/assert.hpp"
#include "replicator/core/mutants.hpp"
#include "tests/sim/world.hpp"

namespace twinblock::sim {
namespace {

constexpr unsigned kSeedSecondsMax = 20;

struct MutantName {
  const char* name;
  const char* text;
};
constexpr MutantName kMutants[] = {{"none", ""},
#define TWINBLOCK_SIM_MUTANT(name, text) {#name, text},
                                   TWINBLOCK_MUTANT_LIST(TWINBLOCK_SIM_MUTANT)
#undef TWINBLOCK_SIM_MUTANT
};

// Mutants that few seeds of the mix show are hunted in the class that is made for them.
struct BestClass {
  core::Mutant mutant;
  ScenarioClass kind;
};
constexpr BestClass kBestClasses[] = {{core::Mutant::zero_piece_not_locked, ScenarioClass::zeroes},
                                      {core::Mutant::session_never_common, ScenarioClass::rollbacks},
                                      {core::Mutant::promote_before_drain, ScenarioClass::async_track}};

int best_class(std::size_t mutant) {
  for (const BestClass& b : kBestClasses) {
    if (static_cast<std::size_t>(b.mutant) == mutant) return static_cast<int>(b.kind);
  }
  return -1;
}

// What a worker tells its parent, in shared memory; valid even after it was killed.
struct Report {
  volatile std::uint64_t seed;  // being run
  volatile bool failed;
  char checker[24];
  char text[1500];
  std::uint64_t passed;
  double cpu_seconds;  // of this and the runs before
  Totals totals;
};

Report* g_report = nullptr;
Trace* g_trace = nullptr;

void store(Report& r, const char* checker, const char* text) {
  std::snprintf(r.checker, sizeof r.checker, "%s", checker);
  std::snprintf(r.text, sizeof r.text, "%s", text);
  r.failed = true;
}

void on_assertion(const char* text) {
  if (g_report != nullptr) store(*g_report, "assert", text);
  if (g_trace != nullptr) {
    g_trace->print();
    std::printf("%s\n", text);
    std::fflush(stdout);
  }
  if (g_report != nullptr) _exit(2);
}

void add(Totals& to, const Totals& t) {
  to.operations += t.operations;
  to.events += t.events;
  to.crashes += t.crashes;
  to.links += t.links;
  to.opens += t.opens;
  to.checks += t.checks;
  to.excused += t.excused;
  to.given_up += t.given_up;
  to.put_back += t.put_back;
}

double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

// Fills the report. twice: the second run must give the same digest.
bool run_one(const Options& o, std::uint64_t seed, bool twice, Report& r) {
  r.seed = seed;
  alarm(kSeedSecondsMax);
  const double begin = cpu_seconds();
  try {
    World world{seed, o.scenario, o.client_ops, nullptr};
    world.run();
    add(r.totals, world.totals());
    if (o.digests) {
      std::printf("digest %llu %016llx\n", static_cast<unsigned long long>(seed),
                  static_cast<unsigned long long>(world.digest()));
    }
    if (twice) {
      World again{seed, o.scenario, o.client_ops, nullptr};
      again.run();
      if (again.digest() != world.digest()) {
        store(r, "determinism", "two runs of one seed differ");
        return false;
      }
    }
  } catch (const Failure& f) {
    store(r, f.checker, f.text.c_str());
    return false;
  }
  r.cpu_seconds += cpu_seconds() - begin;
  ++r.passed;
  return true;
}

Report* shared_reports(std::size_t n) {
  void* p = mmap(nullptr, n * sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) std::abort();
  for (std::size_t i = 0; i < n; ++i) new (static_cast<Report*>(p) + i) Report{};
  return static_cast<Report*>(p);
}

using WallTime = std::chrono::steady_clock::time_point;
double seconds_since(WallTime t) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - t).count();
}

// A worker: seeds first, first + stride, ... up to last; stops at the first failure. Returns its pid.
pid_t start_worker(const Options& o, std::uint64_t first, std::uint64_t stride, Report* r, double seconds) {
  std::fflush(stdout);
  const pid_t pid = fork();
  if (pid != 0) return pid;
  g_report = r;
  core::g_active_mutant = static_cast<core::Mutant>(o.mutant);
  set_assertion_hook(on_assertion);
  std::freopen("/dev/null", "w", stderr);  // the assertion's own line; the report has it
  mallopt(M_TRIM_THRESHOLD, 256 << 20);    // worlds come and go: keep the memory
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  const WallTime begin = std::chrono::steady_clock::now();
  for (std::uint64_t seed = first; seed <= o.seed_last; seed += stride) {
    if (seconds > 0 && seconds_since(begin) > seconds) break;
    if (!run_one(o, seed, o.mutant == 0 && !o.once, *r)) {
      std::fflush(stdout);
      _exit(2);
    }
  }
  std::fflush(stdout);
  _exit(0);
}

void explain_death(Report& r, int status) {
  if (r.failed || !WIFSIGNALED(status)) return;
  const bool hang = WTERMSIG(status) == SIGALRM;
  store(r, hang ? "hang" : "crash", hang ? "the run does not end" : strsignal(WTERMSIG(status)));
}

void print_failure(const Options& o, const Report& r) {
  std::printf("\nseed %llu FAILED, checker %s%s%s\n%s\nreplay: twinblock-sim --seed %llu",
              static_cast<unsigned long long>(r.seed), r.checker, o.mutant != 0 ? ", mutant " : "",
              o.mutant != 0 ? kMutants[o.mutant].name : "", r.text, static_cast<unsigned long long>(r.seed));
  if (o.mutant != 0) std::printf(" --mutant %s", kMutants[o.mutant].name);
  if (o.scenario >= 0)
    std::printf(" --scenario %s", std::string{name(static_cast<ScenarioClass>(o.scenario))}.c_str());
  if (o.client_ops > 0) std::printf(" --ops %u", o.client_ops);
  std::printf("\n");
  std::fflush(stdout);
}

void replay_in_child(const Options& o, std::uint64_t seed) {
  std::fflush(stdout);
  const pid_t pid = fork();
  if (pid == 0) {
    replay(o, seed, false);
    std::fflush(stdout);
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
}

bool fails_without_mutant(const Options& options, std::uint64_t seed) {
  Options o = options;
  o.mutant = 0;
  o.seed_last = seed;
  Report* r = shared_reports(1);
  const pid_t pid = start_worker(o, seed, 1, r, 0);
  int status = 0;
  waitpid(pid, &status, 0);
  explain_death(*r, status);
  const bool failed = r->failed;
  munmap(r, sizeof *r);
  return failed;
}

}  // namespace

int mutant_by_name(const std::string& wanted) {
  for (std::size_t i = 0; i < std::size(kMutants); ++i) {
    if (wanted == kMutants[i].name) return static_cast<int>(i);
  }
  return -1;
}

const char* mutant_name(int index) {
  const auto i = static_cast<std::size_t>(index);
  return i < std::size(kMutants) ? kMutants[i].name : nullptr;
}

int scenario_by_name(const std::string& wanted) {
  for (std::size_t i = 0; i < kScenarioCount; ++i) {
    if (wanted == name(static_cast<ScenarioClass>(i))) return static_cast<int>(i);
  }
  return -1;
}

int replay(const Options& o, std::uint64_t seed, bool print_all) {
  Trace trace{60, print_all};
  g_trace = &trace;
  core::g_active_mutant = static_cast<core::Mutant>(o.mutant);
  set_assertion_hook(on_assertion);
  alarm(4 * kSeedSecondsMax);
  World world{seed, o.scenario, o.client_ops, &trace};
  int result = 0;
  try {
    world.run();
    std::printf("seed %llu passed, class %s, digest %016llx\n%s", static_cast<unsigned long long>(seed),
                std::string{name(world.scenario().kind)}.c_str(),
                static_cast<unsigned long long>(world.digest()), world.state_text().c_str());
  } catch (const Failure& f) {
    if (!print_all) trace.print();
    std::printf("seed %llu, class %s: checker %s\n%s\n%s", static_cast<unsigned long long>(seed),
                std::string{name(world.scenario().kind)}.c_str(), f.checker, f.text.c_str(),
                world.state_text().c_str());
    result = 1;
  }
  g_trace = nullptr;
  return result;
}

namespace {

// In processor time, so that other load on the machine does not count, and for operations that were issued.
void print_speed(const Options& o, std::uint64_t passed, const Totals& totals, double cpu) {
  const double per_second = (o.once ? 1 : 2) / std::max(cpu, 1e-9);
  std::printf(
      "%.1f core-seconds: %.0f runs per core-second; in schedules of 1,000 client operations: %.0f per "
      "core-second\n",
      cpu, per_second * static_cast<double>(passed),
      per_second * static_cast<double>(totals.operations) / 1000);
}

}  // namespace

int run_seeds(const Options& o) {
  constexpr std::uint64_t kFailuresMax = 60;
  constexpr std::uint64_t kTracesMax = 2;
  const WallTime begin = std::chrono::steady_clock::now();
  const double limit = o.minutes * 60;
  Report* reports = shared_reports(o.jobs);
  std::vector<pid_t> workers(o.jobs);
  for (unsigned j = 0; j < o.jobs; ++j) {
    workers[j] = start_worker(o, o.seed_first + j, o.jobs, reports + j, limit);
  }
  std::uint64_t failed = 0;
  for (unsigned running = o.jobs; running > 0;) {
    int status = 0;
    const pid_t pid = wait(&status);
    const auto at = std::find(workers.begin(), workers.end(), pid);
    if (at == workers.end()) continue;
    const auto j = static_cast<std::size_t>(at - workers.begin());
    Report& r = reports[j];
    explain_death(r, status);
    if (!r.failed) {
      --running;
      continue;
    }
    print_failure(o, r);
    if (++failed <= kTracesMax) replay_in_child(o, r.seed);
    r.failed = false;
    const double left = limit == 0 ? 0 : limit - seconds_since(begin);
    if (failed >= kFailuresMax || (limit != 0 && left <= 0)) {
      --running;
      continue;
    }
    workers[j] = start_worker(o, r.seed + o.jobs, o.jobs, &r, left);
  }
  Totals totals;
  std::uint64_t passed = 0;
  double cpu = 0;
  for (unsigned j = 0; j < o.jobs; ++j) {
    passed += reports[j].passed;
    cpu += reports[j].cpu_seconds;
    add(totals, reports[j].totals);
  }
  print_speed(o, passed, totals, cpu);
  const double seconds = seconds_since(begin);
  std::printf(
      "%llu client operations, %llu events, %llu crashes, %llu links, %llu exports opened, %llu full checks\n"
      "%llu runs excused (%.2f %%), %llu sectors given up, %llu nodes put back to a backup\n"
      "%.1f s, %.0f seeds per second and core (each runs %s), %.0f client operations per second and core\n",
      static_cast<unsigned long long>(totals.operations), static_cast<unsigned long long>(totals.events),
      static_cast<unsigned long long>(totals.crashes), static_cast<unsigned long long>(totals.links),
      static_cast<unsigned long long>(totals.opens), static_cast<unsigned long long>(totals.checks),
      static_cast<unsigned long long>(totals.excused),
      100.0 * static_cast<double>(totals.excused) / static_cast<double>(std::max<std::uint64_t>(passed, 1)),
      static_cast<unsigned long long>(totals.given_up), static_cast<unsigned long long>(totals.put_back),
      seconds, static_cast<double>(passed) / seconds / o.jobs, o.once ? "once" : "twice",
      (o.once ? 1 : 2) * static_cast<double>(totals.operations) / seconds / o.jobs);
  std::printf("%llu passed, %llu failed\n", static_cast<unsigned long long>(passed),
              static_cast<unsigned long long>(failed));
  return failed == 0 ? 0 : 1;
}

namespace {

// One mutant from one first seed. The parent restarts it behind seeds that fail without the mutant too.
struct Hunt {
  std::size_t mutant = 0;
  std::uint64_t first = 0;
  pid_t pid = 0;
  Report* report = nullptr;
  std::uint64_t seeds = 0;  // 0: not caught
};

void start_hunt(const Options& options, Hunt& h, std::uint64_t from, double seconds) {
  Options o = options;
  o.mutant = static_cast<int>(h.mutant);
  if (o.scenario < 0) o.scenario = best_class(h.mutant);
  o.seed_last = h.first + options.seeds_per_mutant - 1;
  h.pid = start_worker(o, from, 1, h.report, seconds);
}

// True: the hunt is over.
bool end_hunt(const Options& options, Hunt& h, int status) {
  Report& r = *h.report;
  explain_death(r, status);
  Options alike = options;
  if (alike.scenario < 0) alike.scenario = best_class(h.mutant);
  if (r.failed && fails_without_mutant(alike, r.seed)) {  // says nothing about the mutant: go on
    r.failed = false;
    start_hunt(options, h, r.seed + 1, options.minutes > 0 ? 20 : 0);
    return false;
  }
  if (r.failed) h.seeds = r.seed - h.first + 1;
  return true;
}

// Prints the mutant's line. False: it escaped in a trial.
bool print_hunts(const Options& o, std::span<const Hunt> hunts) {
  std::vector<std::uint64_t> seeds;
  const char* checker = kMutants[hunts[0].mutant].text;
  bool caught = true;
  for (const Hunt& h : hunts) {
    caught = caught && h.seeds > 0;
    seeds.push_back(h.seeds > 0 ? h.seeds : UINT64_MAX);
    if (h.seeds > 0 && caught) checker = h.report->checker;
    if (o.verbose && h.seeds > 0)
      std::printf("    seed %llu: %s\n", static_cast<unsigned long long>(h.report->seed), h.report->text);
  }
  std::sort(seeds.begin(), seeds.end());
  const auto text = [](std::uint64_t n) { return n == UINT64_MAX ? std::string{"-"} : std::to_string(n); };
  std::printf("%-32s %-7s %8s %8s  %s\n", kMutants[hunts[0].mutant].name, caught ? "yes" : "NO",
              text(seeds[seeds.size() / 2]).c_str(), text(seeds.back()).c_str(),
              caught ? checker : kMutants[hunts[0].mutant].text);
  std::fflush(stdout);
  return caught;
}

}  // namespace

int run_mutants(const Options& options) {
  constexpr std::uint64_t kTrialDistance = 1'000'000;
  const std::size_t count = (std::size(kMutants) - 1) * options.trials;
  Report* reports = shared_reports(count);
  std::vector<Hunt> hunts(count);
  for (std::size_t i = 0; i < count; ++i) {
    hunts[i] = {.mutant = 1 + i / options.trials,
                .first = options.seed_first + i % options.trials * kTrialDistance,
                .report = reports + i};
  }
  const WallTime begin = std::chrono::steady_clock::now();
  const double budget = options.minutes * 60;
  std::vector<unsigned> left(std::size(kMutants), options.trials);
  std::size_t next = 0;
  std::uint64_t failed = 0;
  unsigned running = 0;
  std::printf("%-32s %-7s %8s %8s  %s\n", "mutant", "caught", "median", "most", "checker");
  while (next < count || running > 0) {
    if (next < count && running < options.jobs) {
      // Whatever the easy ones leave over is for the hard ones.
      const double share =
          4 * options.jobs * (budget - seconds_since(begin)) / static_cast<double>(count - next);
      start_hunt(options, hunts[next], hunts[next].first, budget == 0 ? 0 : std::max(2.0, share));
      ++next;
      ++running;
      continue;
    }
    int status = 0;
    const pid_t pid = wait(&status);
    const auto at = std::find_if(hunts.begin(), hunts.end(), [&](const Hunt& h) { return h.pid == pid; });
    if (pid <= 0 || at == hunts.end() || !end_hunt(options, *at, status)) continue;
    --running;
    if (--left[at->mutant] > 0) continue;
    const std::span<const Hunt> all{hunts.data() + (at->mutant - 1) * options.trials, options.trials};
    failed += print_hunts(options, all) ? 0 : 1;
  }
  std::printf("%.0f s, %u trials each, at most %llu seeds\n%llu passed, %llu failed\n", seconds_since(begin),
              options.trials, static_cast<unsigned long long>(options.seeds_per_mutant),
              static_cast<unsigned long long>(std::size(kMutants) - 1 - failed),
              static_cast<unsigned long long>(failed));
  return failed == 0 ? 0 : 1;
}

}  // namespace twinblock::sim
