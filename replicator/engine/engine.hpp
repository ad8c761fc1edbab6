// The daemon's inside: mirrors from the configuration on a shard, and the control API's backend. All state
// lives on the shard's thread; the control thread posts questions and commands to it, a worker thread for
// each mirror does what blocks and posts back. Nothing is shared, nothing is locked.
//
//   stopped ─up─▶ opening ─┬─▶ running ─down─▶ stopping ─▶ stopped
//      ▲  ▲                └─▶ failed ◀────────── (a listener that cannot listen)
//      └──┴── up ────────────────┘
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "replicator/control/backend.hpp"
#include "replicator/control/config.hpp"
#include "replicator/control/event_ring.hpp"
#include "replicator/engine/done_text.hpp"
#include "replicator/engine/mirror_runner.hpp"
#include "replicator/engine/shard.hpp"
#include "replicator/engine/status_map.hpp"
#include "replicator/engine/worker.hpp"

namespace twinblock::engine {

inline constexpr const char* kDaemonVersion = "0.1.0";

class Engine final : public control::ControlBackend, private TurnMember {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Engine>> create(control::Config config,
                                                              control::EventRing& events);
  ~Engine() override;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Opens every mirror; returns when each one runs, has failed or waits for its disk, or when some disk does
  // not answer for too long.
  void start();
  // Stops every mirror in order. False: not done in time; the process should end without further ado.
  [[nodiscard]] bool stop(Duration limit);

  // ControlBackend: any thread.
  void status(std::string mirror, control::StatusCallback callback) override;
  void execute(control::Command command, control::CommandCallback callback) override;

 private:
  enum class Phase : std::uint8_t { kStopped, kOpening, kRunning, kStopping, kFailed };
  struct Pending {
    core::CommandId id = 0;
    AcceptedCommand command;
    control::CommandCallback callback;
    Instant deadline;
  };
  // Where a mirror listens, as numbers.
  struct Places {
    std::vector<ring::Address> replication;  // empty on the node that dials
    ring::Address nbd;
  };
  struct Opened {
    Backing backing;
    Places places;
  };
  struct Entry {
    control::MirrorConfig config;              // as running; `set` changes it
    std::vector<control::ConfigField> agreed;  // of the file: what the peer must have too
    Phase phase = Phase::kStopped;
    Problem problem;  // why it is not running
    core::Policy policy;
    int nbd_fd = -1;                 // from systemd, for as long as the daemon lives
    std::unique_ptr<Worker> worker;  // opens, creates, seals, answers questions about files
    std::unique_ptr<Backing> backing;
    Places places;  // while it runs
    std::unique_ptr<MirrorRunner> runner;
    Instant address_wait_until = Instant::never();  // taken_address()
    core::CommandId stop_id = 0;
    std::optional<Problem> stop_reason;  // failed, not merely stopped
    std::vector<control::CommandCallback> waiting_up;
    std::vector<control::CommandCallback> waiting_down;
    std::vector<Pending> pending;
    core::Refusal refused = core::Refusal::none;  // of the last handshake, as told to the events
    std::uint64_t resync_done = 0;
    std::uint64_t resync_rate = 0;
  };

  Engine(control::Config config, control::EventRing& events);
  void on_turn_end() override;
  void on_second();
  // Runs later in this turn, outside of everything. Shard thread only.
  void later(std::function<void()> work);
  // From another thread; waits for room.
  void post(const std::function<void()>& work);

  // --- life of a mirror (shard thread)
  void open(Entry& entry, std::chrono::milliseconds delay = std::chrono::milliseconds{0});
  void on_opened(Entry& entry, Outcome<Opened> outcome);
  // On the worker: the disk, and what the names of our own addresses mean, for which a resolver is asked.
  [[nodiscard]] static Outcome<Opened> open_all(const BackingPlan& plan, const control::MirrorConfig& config);
  [[nodiscard]] std::optional<Problem> taken_address(Entry& entry, const Places& places);
  void run(Entry& entry);
  void begin_stop(Entry& entry, std::optional<Problem> reason);
  void on_core_stopped(Entry& entry);
  void on_runner_closed(Entry& entry);
  void on_sealed(Entry& entry);
  void on_event(Entry& entry, const core::Event& event);
  // Whether the event only repeats that a handshake ends as the last one did.
  [[nodiscard]] static bool is_repetition(Entry& entry, const core::Event& event);
  void on_command_done(Entry& entry, core::CommandId id, core::Refusal refusal);
  void check_all_settled();
  void check_all_stopped();

  // --- control (shard thread; engine_commands.cpp)
  void do_execute(const control::Command& command, control::CommandCallback callback);
  void do_create(Entry& entry, const control::Command& command, const control::CommandCallback& callback);
  void do_check(Entry& entry, const control::CommandCallback& callback);
  void do_up(Entry& entry, control::CommandCallback callback);
  void do_down(Entry& entry, const control::Command& command, control::CommandCallback callback);
  void do_set(Entry& entry, const control::Command& command, control::CommandCallback callback);
  void do_explain(Entry& entry, const control::CommandCallback& callback);
  void do_dump(Entry& entry, const control::CommandCallback& callback);
  void do_core(Entry& entry, const control::Command& command, control::CommandCallback callback);
  // Has the worker answer a question about files; says "busy" itself while too many wait.
  void ask_worker(Entry& entry, const control::CommandCallback& callback,
                  std::function<control::CommandResult()> question);
  void send_core(Entry& entry, core::Command command, control::Verb verb, control::CommandCallback callback,
                 Duration limit);
  [[nodiscard]] control::CommandResult refused_result(const Entry& entry, core::Refusal refusal) const;
  [[nodiscard]] control::StatusReply do_status(const std::string& mirror);
  [[nodiscard]] control::MirrorStatus status_of(Entry& entry);
  [[nodiscard]] RunningFacts facts_of(const Entry& entry) const;
  [[nodiscard]] Entry* find(const std::string& mirror);

  [[nodiscard]] static NodeIndex local_index(const control::MirrorConfig& config);
  [[nodiscard]] static BackingPlan backing_plan(const control::MirrorConfig& config);
  [[nodiscard]] RunnerPlan runner_plan(const Entry& entry) const;

  control::Config config_;
  control::EventRing& events_;
  std::unique_ptr<Shard> shard_;
  std::unique_ptr<PeerRouter> router_;
  std::vector<std::unique_ptr<Entry>> entries_;
  std::vector<std::function<void()>> later_;
  core::CommandId last_command_ = 0;
  Instant started_;
  bool stopping_ = false;
  bool ending_ = false;
  std::optional<std::promise<void>> settled_;
  std::optional<std::promise<void>> stopped_;
  ring::MethodTimer<Engine, &Engine::on_second> second_timer_{this};
};

// --- results (engine_commands.cpp)
[[nodiscard]] control::CommandResult result_of(const Problem& problem);
[[nodiscard]] control::CommandResult result_of(core::Refusal refusal, const control::MirrorConfig& config);

}  // namespace twinblock::engine
