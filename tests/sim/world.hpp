// Two nodes, their disks, the network between them, clients and operators, in virtual time: one seed, one
// run.
//
// A run: genesis (create both, promote node 0, first resync) → faults (clients and actions until the client
// has issued its operations) → heal (no faults, everything restarted) → quiet, where P14 is demanded.
// The world is the engine: it batches steps into turns, carries outputs out and completes each once.
// Everything random comes from one generator, so a seed replays exactly.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "replicator/core/mirror.hpp"
#include "tests/sim/buffers.hpp"
#include "tests/sim/failure.hpp"
#include "tests/sim/history.hpp"
#include "tests/sim/network.hpp"
#include "tests/sim/node.hpp"
#include "tests/sim/printing.hpp"
#include "tests/sim/scenario.hpp"
#include "tests/sim/sparse.hpp"
#include "tests/sim/tap.hpp"

namespace twinblock::sim {

struct Totals {
  std::uint64_t operations = 0;
  std::uint64_t events = 0;
  std::uint64_t crashes = 0;
  std::uint64_t links = 0;
  std::uint64_t opens = 0;
  std::uint64_t checks = 0;
  std::uint64_t excused = 0;   // runs that ended without a good copy
  std::uint64_t given_up = 0;  // sectors whose unflushed content a legal loss took
  std::uint64_t put_back = 0;  // nodes restored from a backup
};

class World {
 public:
  // forced_class: -1, or a class instead of the seed's own; client_ops: 0, or this many instead of its own.
  World(std::uint64_t seed, int forced_class, std::uint32_t client_ops, Trace* trace);
  // Of a script, which drives it (script.hpp) instead of run().
  World(std::uint64_t seed, const Scenario& scenario, Trace* trace, Tap* tap);
  void run();  // throws Failure
  [[nodiscard]] std::uint64_t digest() const { return digest_; }
  [[nodiscard]] const Scenario& scenario() const { return scenario_; }
  [[nodiscard]] const Totals& totals() const { return totals_; }
  [[nodiscard]] std::string state_text() const;

 private:
  friend class Script;
  struct Plan {
    Random random;
    Scenario scenario;
  };
  static Plan plan(std::uint64_t seed, int forced_class, std::uint32_t client_ops);
  World(std::uint64_t seed, const Plan& plan, Trace* trace, Tap* tap);

  enum class Phase : std::uint8_t { genesis, faults, heal, done };

  // ---- world.cpp: time, nodes, turns
  void push(std::int64_t delay, EventType type, int node, std::uint32_t a = 0);
  void handle(const Event& e);
  void run_until(std::int64_t time);
  void start_node(Node& n);
  void create(Node& n, bool source);
  void step(Node& n, const core::Input& in);
  void end_turn(Node& n);
  void arm_tick(Node& n);
  void on_tick(Node& n);
  void crash(Node& n, bool power);
  void on_disk_done(Node& n, std::uint32_t slot);
  [[nodiscard]] core::Digest look_at(core::BufferId buffer);
  void on_meta_done(Node& n, std::uint32_t slot);
  [[nodiscard]] Instant clock(const Node& n) const { return Instant{now_ + n.clock_offset}; }
  [[nodiscard]] std::int64_t next_deadline(const Node& n) const;  // on the world's clock
  std::int64_t jitter(std::int64_t mean);
  void mix(std::uint64_t v) {
    digest_ = (digest_ ^ v) * 0x9e3779b97f4a7c15u;
    digest_ ^= digest_ >> 29;
  }
  void mix_input(const Node& n, const core::Input& in);
  void note(const Node& n, std::string_view what);
  void check_verdict(const core::Send& send);
  [[nodiscard]] Node& other(const Node& n) { return nodes_[static_cast<std::size_t>(1 - n.index)]; }
  [[nodiscard]] std::size_t index(const Node& n) const { return static_cast<std::size_t>(n.index); }

  // ---- outputs.cpp: carrying outputs out, the network
  void carry_out(Node& n);
  void on_disk_io(Node& n, const core::DiskIo& io);
  void on_meta_write(Node& n, const core::MetaWrite& io);
  void on_send(Node& n, const core::Send& send);
  void on_close(Node& n, core::LinkId link);
  void on_export(Node& n, bool open);
  void on_event(Node& n, const core::Event& e);
  void log_stream(Node& n, const core::Send& send);
  void deliver(int from);
  void schedule_delivery(int from);
  void dial();
  void link_down(Node& n, std::int64_t delay);
  void cut_link();

  // ---- client.cpp
  void client_turn();
  void issue(Node& n);
  core::RequestId issue(Node& n, ClientOp::Kind kind, SectorRun run, bool fua);
  SectorRun pick_run();
  void on_reply(Node& n, const core::Reply& reply);
  void finish_read(Node& n, ClientOp& op, const core::Reply& reply);
  void finish_write(Node& n, ClientOp& op, core::Status status);
  void finish_flush(Node& n, ClientOp& op);
  void drop_operations(Node& n);
  [[nodiscard]] Node* source();
  [[nodiscard]] std::uint32_t operations_running() const;

  // ---- operators.cpp: actions
  void act();
  void perform(Action a);
  void perform_network(Action a);
  void perform_role(Action a);
  void perform_disk(Action a);
  void command(Node& n, core::Verb verb, bool force = false, bool confirm = false, bool full = false);
  void restart_later(Node& n, std::int64_t delay);
  void fail_over(Node& from);
  void promote_if_safe(Node& n);
  void change_policy(Node& n);
  void split_step(std::uint32_t stage);

  // ---- faults.cpp
  void perform_fault(Action a);
  void disturb_message(bool repeat, bool any_type);
  void take_backup(Node& n);
  [[nodiscard]] bool backup_shows(const Node& n);
  void put_back(Node& n);
  void promote_confirmed();
  void begin_flow(std::uint32_t stage);
  void restart_failover(Node& src, std::uint32_t stage);
  void cut_at(Node& sender);
  void check_ceiling(Node& n, std::uint32_t bytes);

  // ---- liveness.cpp
  void genesis();
  void speak_up(Node& n);
  void resolve_split();
  void keep_winner();
  void end_excused();
  void check_answered();
  void heal();
  void liveness_turn();
  void replace_disk(Node& n);
  [[nodiscard]] bool quiet();
  void final_checks();

  // ---- checks.cpp
  [[nodiscard]] bool marked(std::uint32_t sector);
  [[nodiscard]] std::uint32_t first_unmarked(SectorRun run);
  void check_marks(const char* when);
  void check_disk_write(Node& n, const core::DiskIo& io, SectorRun run);
  void check_intent(Node& n, SectorRun run, const char* what);
  void check_acknowledged(Node& n, const ClientOp& op);
  void check_flushed(Node& n, std::size_t from, std::size_t to);
  void check_resync_done(Node& n);
  void check_open(Node& n);
  void settle_at_risk(Node& n);
  void give_up(std::uint32_t sector);
  void lose_received(Node& target);
  void lose_only_copy(Node& n, SectorRun run);
  void begin_fork();
  void check_fork() const;
  void end_fork(Node& leader);
  void count_split_write(const Node& n, const ClientOp& op);
  void start_over(Node& n);
  void check_whole(Node& n, const char* when);
  void after_power_cut(Node& n, const std::vector<SectorRun>& reverted);

  std::uint64_t seed_;
  Random random_;
  Scenario scenario_;
  Trace* trace_;
  Tap* tap_;
  std::uint32_t sectors_;
  Buffers buffers_;
  History history_;
  Network network_;
  std::array<Node, 2> nodes_;
  std::vector<Event> events_;  // heap
  std::uint32_t event_serial_ = 0;
  std::int64_t now_ = 0;
  core::Outputs outputs_;
  std::vector<std::byte> scratch_;
  Phase phase_ = Phase::genesis;
  bool network_blocked_ = false;
  bool judging_ = true;   // off while a split brain is being provoked
  bool excused_ = false;  // no good copy is left anywhere: nothing can converge
  bool dialling_ = false;
  std::array<std::uint32_t, 2> link_life_{};  // lives of both nodes when the link was made
  int last_source_ = kNone;
  bool handed_over_ = false;  // the last source closed its export in order
  bool forked_ = false;       // two sources by the operator's will, and no session since
  Clock fork_at_ = 0;
  std::array<std::uint32_t, 2> split_writes_{};  // acknowledged there alone since the fork
  int split_stage_ = 0;
  int split_winner_ = kNone;
  struct Kept {
    Tag tag = 0;
    bool wild = false;  // a write was in flight
  };
  Sparse<Kept> kept_;  // the winner's content when the split brain was resolved
  bool kept_taken_ = false;
  std::int64_t healing_since_ = 0;
  std::uint64_t sessions_ = 0;  // joined
  bool cut_used_ = false;
  bool cut_armed_ = false;  // messages are counted
  std::int64_t last_fault_ = 0;
  std::array<ClientOp, 32> ops_{};
  std::uint32_t request_serial_ = 0;
  std::uint32_t issued_ = 0;
  std::uint32_t command_serial_ = 0;
  struct Acked {
    std::uint32_t version;
    SectorRun run;
  };
  std::vector<Acked> acked_;        // in order of acknowledgement
  std::size_t acked_stable_ = 0;    // entries below were covered by a flush
  Sparse<std::uint32_t> given_up_;  // entries below are not promised any more at this sector
  std::vector<std::uint32_t> spots_;
  std::uint32_t liveness_turns_ = 0;
  std::uint64_t digest_ = 0x1234;
  Totals totals_;
};

}  // namespace twinblock::sim
