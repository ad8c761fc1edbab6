// Named scenarios: one failure each, told in a page of code: arrange, fail, heal, demand the outcome.
//
// A script drives a World by hand: it issues requests, holds or fails single I/Os and messages, crashes nodes
// and gives operators' commands. All checkers of the promises run as in the random runs, and every play ends
// with P14: faults stop, and both replicas become equal. Delays are random, so a scenario is played with
// several seeds; what a case counts through (every cut, every step) is the same in each.
//
// A scenario names what it catches: mutants of the core (replicator/core/mutants.hpp) and sabotages, which
// are deliberate breaks of the environment written in the scenario itself. `--prove` demands that the
// scenario fails with each of them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/chooser.hpp"
#include "tests/sim/world.hpp"

namespace twinblock::sim {

// 8 extents, regions of 64 KiB; random requests go to the first 256 sectors of the extents 0, 2 and 5.
[[nodiscard]] Scenario plain_setup();
inline constexpr std::uint32_t kExtent = static_cast<std::uint32_t>(kExtentSize.value() / kSectorBytes);
inline constexpr std::uint32_t kRegion = 128;  // sectors
// What a partial resync may cost at most: the three extents with requests. All is 8.
inline constexpr std::uint64_t kPartial = 3 * kExtentSize.value();

// What was sent, so that it can be sent again.
struct Captured {
  int from = 0;
  wire::Header header;
  std::vector<std::byte> body;
  std::vector<Tag> tags;  // of the payload
};

struct CommandOptions {
  bool force = false;
  bool confirm_dead = false;
  bool full = false;
};

class Script;

// One scenario with one seed. Counts what its cases run through.
class Case {
 public:
  Case(std::uint64_t seed, std::string sabotage, Trace* trace)
      : seed_{seed}, sabotage_{std::move(sabotage)}, trace_{trace} {}
  [[nodiscard]] std::uint64_t seed() const { return seed_; }
  // Is this deliberate break of the environment switched on?
  [[nodiscard]] bool sabotaged(std::string_view name) const { return sabotage_ == name; }
  // What is being played, for the report of a failure.
  void at(std::string what) { at_ = std::move(what); }
  [[nodiscard]] const std::string& at() const { return at_; }
  // One world, from its creation to P14.
  void play(const Scenario& setup, const std::function<void(Script&)>& story);
  void play(const std::function<void(Script&)>& story) { play(plain_setup(), story); }
  // The story for 0, 1, 2 ... until it returns false: each step, cut or message of something.
  void each(const Scenario& setup, const std::function<bool(Script&, std::uint32_t)>& story);
  void each(const std::function<bool(Script&, std::uint32_t)>& story) { each(plain_setup(), story); }
  // The story in every order of what Script::explore() finds due at the same instant: completions of both
  // data disks, arrivals in both directions, ticks.
  void every_order(Scenario setup, const std::function<void(Script&)>& story);

  [[nodiscard]] std::uint64_t digest() const { return digest_; }
  [[nodiscard]] std::uint64_t plays() const { return plays_; }

 private:
  friend class Script;
  std::uint64_t seed_;
  std::string sabotage_;
  Trace* trace_;
  std::string at_;
  std::uint64_t digest_ = 0;
  std::uint64_t plays_ = 0;
};

class Script final : public Tap {
  Case& case_;
  World world_;

 public:
  Script(Case& c, const Scenario& setup, Chooser* chooser = nullptr);

  Node& a;  // index 0; the source after start()
  Node& b;

  // ---- the course of time
  void start();  // both created, a promoted, b in sync
  void run(std::int64_t nanoseconds);
  bool step();  // one event; false: nothing will ever happen again
  void steps(std::uint32_t count);
  void until(const char* what, const std::function<bool()>& condition, std::int64_t limit = 60 * kSecond);
  void settle();  // until equal, clean and idle, with nobody's help
  void finish();  // faults stop; the operators of liveness.cpp help; P14; the final checks
  [[nodiscard]] bool quiet() { return world_.quiet(); }
  [[nodiscard]] std::int64_t now() const { return world_.now_; }
  void explore(const std::function<bool()>& until);  // Case::every_order

  // ---- clients
  core::RequestId write(Node& n, SectorRun run, bool fua = false);
  core::RequestId zero(Node& n, SectorRun run);
  core::RequestId read(Node& n, SectorRun run);
  core::RequestId flush(Node& n);
  void load(std::uint32_t requests);  // random ones at the source, on the spots; returns while some run
  [[nodiscard]] std::optional<core::Status> answer(core::RequestId request) const;
  core::Status wait(core::RequestId request);
  void must(core::RequestId request);  // waits for the answer, which has to be ok
  void read_all();                     // the spots, at the source, which has to answer
  void lag();    // a partition, and acknowledged writes that b misses: 5 regions in 4 extents
  void drain();  // until every request has its answer

  // ---- faults. The functions see what is about to happen; tap.hpp says what they return.
  std::function<int(const Node&, const DataDisk::Op&)> on_disk;
  std::function<int(const Node&, const core::MetaWrite&)> on_metadata;
  std::function<bool(const Node&, const wire::Header&)> on_message;
  void release();  // forgets the three functions and completes what they held
  void kill(Node& n);
  void power_cut(Node& n);
  void boot(Node& n);
  void cut();               // the connection; both dial again
  void partition();         // and it does not come back
  void isolate_silently();  // nothing passes any more, and nobody is told
  void mend();
  void stall(Node& n);     // what it sends waits; the other end has stopped reading
  void close_at(Node& n);  // its end of the connection closes
  [[nodiscard]] Node& world_other(const Node& n) { return world_.other(n); }
  void power_cut_all();
  std::vector<Captured>* record = nullptr;  // everything sent is kept here
  // Makes a write the one that the target expects next, after what was seen.
  static void forge(Captured& message, const std::vector<Captured>& seen);
  void inject(const Captured& message);                    // into the connection that is up now
  void new_replica(Node& n);                               // an empty disk, created as a target; it is down
  void wait_down(Node& n);                                 // stopped in order
  void judge_two_histories() { world_.judging_ = false; }  // a split brain is provoked on purpose
  // The metadata disk, as a crash leaves it: the first bytes of an in-flight write, in whole sectors.
  void tear_metadata(Node& n, std::uint64_t block, std::size_t bytes_landed);
  [[nodiscard]] bool fails_recovery(Node& n);
  // REQUIRES of these: the node is down.
  void edit_superblock(Node& n, const std::function<void(bitmap::Superblock&)>& edit);  // marks are gone
  void lie_metadata(Node& n);  // the newest write of a superblock or page did not land, or elsewhere
  void fix_checksum(Node& n, std::size_t block);
  [[nodiscard]] std::vector<std::uint64_t> marks(const Node& n) const;  // a bit per region
  struct Backup {
    std::vector<std::byte> metadata;
    std::vector<std::pair<std::uint32_t, Tag>> content;  // what is durable
  };
  [[nodiscard]] Backup backup(Node& n);
  void restore(Node& n, const Backup& saved);
  void lose_data_since(Node& n, const Backup& saved);  // the data goes back, the metadata stays

  // ---- operators
  void ask(Node& n, core::Verb verb, CommandOptions options = {});  // does not wait for the answer
  core::Refusal command(Node& n, core::Verb verb, CommandOptions options = {});
  void promote(Node& n, CommandOptions options = {});  // has to succeed
  void set_policy(const core::Policy& policy);         // on both

  // ---- what is demanded
  void expect(bool condition, const std::string& what);
  [[nodiscard]] core::MirrorSnapshot status(const Node& n) const { return n.mirror->snapshot(); }
  [[nodiscard]] std::uint32_t count(const Node& n, core::EventKind kind) const;
  [[nodiscard]] std::uint64_t last(const Node& n, core::EventKind kind) const;  // its field a
  [[nodiscard]] Tag content(const Node& n, std::uint32_t sector) const { return n.disk.cell(sector).cached; }
  [[nodiscard]] std::uint32_t resync_reads(const Node& n) const;  // in flight at its disk
  [[nodiscard]] std::uint64_t writes_of(const Node& n) const { return disk_writes_[world_.index(n)]; }
  std::uint64_t resynced_bytes = 0;  // sent by resyncs; a story may set it to 0
  std::uint64_t messages = 0;        // sent; likewise
  bool no_good_copy_left = false;    // the story may end with neither replica usable without --force

  int disk_done(int node, std::uint32_t slot) override;
  int meta_done(int node, std::uint32_t slot) override;
  bool sent(int node, const core::Send& send) override;
  void event(int node, const core::Event& event) override;
  void replied(int node, const core::Reply& reply) override;
  void command_done(int node, const core::CommandDone& done) override;

  World& world() { return world_; }

 private:
  struct Held {
    int node;
    std::uint32_t life;
    std::uint32_t slot;
    bool metadata;
  };
  struct Seen {
    int node;
    core::Event event;
  };

  Chooser* chooser_;
  std::vector<Held> held_;
  std::vector<Seen> seen_;
  std::vector<std::pair<core::RequestId, core::Status>> answers_;
  std::vector<std::pair<core::CommandId, core::Refusal>> commands_;
  std::array<std::uint64_t, 2> disk_writes_{};
};

// ---- registry
struct NamedScenario {
  const char* name;
  const char* title;
  void (*play)(Case&);
  std::vector<std::string> catches;  // mutants and sabotages; each must make it fail
};
[[nodiscard]] std::vector<NamedScenario>& named_scenarios();

struct RegisterScenario {
  explicit RegisterScenario(NamedScenario s) { named_scenarios().push_back(std::move(s)); }
};

// One per file; the file is called NAME.cpp.
#define TWINBLOCK_SCENARIO(scenario_name, title, ...)                         \
  static void play_##scenario_name(::twinblock::sim::Case& c);                \
  static const ::twinblock::sim::RegisterScenario registered_##scenario_name{ \
      {#scenario_name, title, play_##scenario_name, {__VA_ARGS__}}};          \
  static void play_##scenario_name([[maybe_unused]] ::twinblock::sim::Case& c)

}  // namespace twinblock::sim
