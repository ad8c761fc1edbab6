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
#include "tests/sim/data_disk.hpp"
#include "tests/sim/failure.hpp"
#include "tests/sim/history.hpp"
#include "tests/sim/metadata_disk.hpp"
#include "tests/sim/network.hpp"
#include "tests/sim/printing.hpp"
#include "tests/sim/scenario.hpp"
#include "tests/sim/stream_log.hpp"

namespace twinblock::sim {

inline constexpr std::int64_t kMillisecond = 1'000'000;
inline constexpr std::int64_t kSecond = 1'000'000'000;
inline constexpr int kNone = -1;

enum class EventType : std::uint8_t {
  turn_end,
  tick,
  disk_done,
  meta_done,
  deliver,
  link_up,
  link_down,
  dial,
  client,
  action,
  restart,
  unstall,
  disk_normal,
  peer_is_dead,
  resume,
  reconnect,
  split_step,
  liveness
};
struct Event {
  std::int64_t time = 0;
  std::uint32_t serial = 0;  // order among equal times
  EventType type = EventType::tick;
  std::uint8_t node = 0;
  std::uint32_t life = 0;  // of the node; events of an earlier life are void
  std::uint32_t a = 0;
};

struct ClientOp {
  enum class Kind : std::uint8_t { read, write, zero, flush } kind = Kind::read;
  bool used = false;
  bool fua = false;
  bool cancelled = false;
  bool sent = false;
  bool in_ack_set = false;  // the peer was, when it started
  bool memsync = false;     // then
  core::LinkId link = 0;    // then
  bool delivered = false;   // its message has reached the peer's core
  bool peer_had = false;    // when the peer died, its disk had it
  std::uint8_t node = 0;
  core::RequestId request = 0;
  core::BufferId buffer = 0;
  SectorRun run;
  std::uint32_t version = 0;
  Clock begun = 0;
  std::int64_t started = 0;
  std::size_t acked_before = 0;  // flush: writes acknowledged before it, as a position in acked_
  std::vector<Clock> floors;     // read: what it was promised when it began
};

struct Node {
  Node(int i, const bitmap::Geometry& g, Buffers& buffers, std::uint32_t sectors)
      : index{i},
        disk{sectors, buffers},
        meta{g, NodeIndex{static_cast<std::uint8_t>(1 - i)}},
        stream{sectors} {}
  int index;
  std::unique_ptr<core::Mirror> mirror;
  std::uint32_t life = 0;
  DataDisk disk;
  MetadataDisk meta;
  StreamLog stream;  // what this node was sent as a target
  core::Policy policy;
  bool export_open = false;
  bool link_wanted = false;
  bool turn_open = false;
  bool stopped = false;
  bool outranked = false;         // its core was told of a higher term while its export was open
  bool stays_promotable = false;  // the session's resync overwrites only what nobody was told of
  bool restarting = false;
  bool was_source = false;      // its export was open when it crashed
  bool peer_had_all = false;    // when it crashed as source, the other was in its ack set
  std::uint32_t peer_life = 0;  // of the other when this one crashed
  bool async_residue = false;   // was async and has not been in the ack set since
  std::uint64_t boot = 0;       // changes with each power cut
  bool cache_lost = false;      // by a power cut, and not in the ack set since
  bool disk_lost = false;       // it failed, and has not been in the ack set since
  bool forced = false;          // promote --force was issued and its export has not opened since
  bool granted = false;         // promoted with confirm_dead since the other was in the ack set
  bool saw_split_brain = false;
  bool in_ack_set = false;  // the other is, as of the last turn
  std::int64_t tick_at = INT64_MAX;
  std::uint32_t tick_spins = 0;
  std::uint32_t commands = 0;          // without an answer
  std::vector<std::uint32_t> at_risk;  // sectors that a power cut reverted while the other had them
  std::uint32_t read_errors = 0;       // per mille
  std::uint32_t write_errors = 0;
  std::uint32_t flush_errors = 0;
  std::uint32_t meta_errors = 0;
  std::int64_t slow = 1;
};

struct Totals {
  std::uint64_t operations = 0;
  std::uint64_t events = 0;
  std::uint64_t crashes = 0;
  std::uint64_t links = 0;
  std::uint64_t opens = 0;
  std::uint64_t checks = 0;
  std::uint64_t excused = 0;   // runs that ended without a good copy
  std::uint64_t given_up = 0;  // sectors whose unflushed content a legal loss took
};

class World {
 public:
  World(std::uint64_t seed, int forced_class, Trace* trace);
  void run();  // throws Failure
  [[nodiscard]] std::uint64_t digest() const { return digest_; }
  [[nodiscard]] const Scenario& scenario() const { return scenario_; }
  [[nodiscard]] const Totals& totals() const { return totals_; }
  [[nodiscard]] std::string state_text() const;

 private:
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
  void on_meta_done(Node& n, std::uint32_t slot);
  std::int64_t jitter(std::int64_t mean);
  void mix(std::uint64_t v) {
    digest_ = (digest_ ^ v) * 0x9e3779b97f4a7c15u;
    digest_ ^= digest_ >> 29;
  }
  void mix_input(const Node& n, const core::Input& in);
  void note(const Node& n, std::string_view what);
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
  void check_marks(const char* when);
  void check_disk_write(Node& n, const core::DiskIo& io, SectorRun run);
  void check_intent(Node& n, SectorRun run, const char* what);
  void check_acknowledged(Node& n, const ClientOp& op);
  void check_flushed(Node& n, std::size_t from, std::size_t to);
  void check_resync_done(Node& n);
  void check_open(Node& n);
  void settle_at_risk(Node& n);
  void give_up(std::uint32_t sector);
  void start_over(Node& n);
  void check_whole(Node& n, const char* when);
  void after_power_cut(Node& n, const std::vector<SectorRun>& reverted);

  std::uint64_t seed_;
  Random random_;
  Scenario scenario_;
  Trace* trace_;
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
  std::uint32_t split_writes_[2] = {0, 0};
  int split_stage_ = 0;
  int split_winner_ = kNone;
  struct Kept {
    Tag tag = 0;
    bool wild = false;  // a write was in flight
  };
  Sparse<Kept> kept_;  // the winner's content when the split brain was resolved
  bool kept_taken_ = false;
  std::int64_t healing_since_ = 0;
  bool cut_used_ = false;
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
