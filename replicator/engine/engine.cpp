#include "replicator/engine/engine.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>

#include "replicator/control/log.hpp"
#include "replicator/engine/metadata_file.hpp"
#include "replicator/engine/process.hpp"
#include "replicator/engine/refusal_text.hpp"
#include "transport/ring/error.hpp"

namespace twinblock::engine {
namespace {

constexpr std::chrono::milliseconds kOpenRetry{100};
// A killed daemon's ring is taken down by the kernel after the process has gone, and holds its listening
// sockets that long. Who answers longer than this lives.
constexpr Duration kAddressWait = Duration::seconds(10);
constexpr std::chrono::seconds kSettleTime{10};
constexpr std::chrono::seconds kWorkerEndTime{2};
// What an asynchronous queue may hold has to fit into the arena, beside everything else.
constexpr std::uint64_t kQueueBytesMax = 32u << 20;

ring::Address address_of(const control::TcpAddress& tcp) {
  return {ring::Address::Kind::kTcp, tcp.host, {}, tcp.port};
}

ring::Address address_of(const control::NbdAddress& nbd) {
  if (!nbd.unix_path.empty()) return {ring::Address::Kind::kUnix, {}, nbd.unix_path, 0};
  return address_of(nbd.tcp);
}

core::Policy engine_policy(const control::MirrorConfig& config) {
  core::Policy policy = policy_of(config);
  policy.queue_bytes_max = std::min(policy.queue_bytes_max, ByteCount{kQueueBytesMax});
  return policy;
}

// The address as numbers. Blocks where it is a name: a resolver that does not answer takes ten seconds and
// more, in which a shard's thread would serve no mirror and lose the peers of all.
Result<ring::Address> numeric(const ring::Address& address) {
  in6_addr unused{};
  const std::string bare = address.host.substr(0, address.host.find('%'));
  const bool is_name = address.kind == ring::Address::Kind::kTcp && !address.host.empty() &&
                       inet_pton(AF_INET, bare.c_str(), &unused) != 1 &&
                       inet_pton(AF_INET6, bare.c_str(), &unused) != 1;
  if (!is_name) return address;
  const auto resolved = ring::resolve(address);
  if (!resolved) return resolved.error();
  return ring::to_address(resolved->front());
}

Problem cannot_listen(const std::string& whom, const std::string& where, const ErrorCode& error,
                      const std::string& key, const std::string& mirror) {
  return {"cannot listen for " + whom + " on " + where + ": " + error.message(), "The replica is untouched.",
          "correct " + key + ", then: twinblock up " + mirror};
}

control::LogLevel level_of(control::Severity severity) {
  switch (severity) {
    case control::Severity::kInfo:
      return control::LogLevel::kInfo;
    case control::Severity::kWarning:
      return control::LogLevel::kWarning;
    case control::Severity::kError:
    case control::Severity::kCritical:
      return control::LogLevel::kError;
  }
  return control::LogLevel::kInfo;
}

}  // namespace

Engine::Engine(control::Config config, control::EventRing& events)
    : config_{std::move(config)}, events_{events} {
  auto fds = ring::take_listen_fds();
  for (const control::MirrorConfig& mirror : config_.mirrors) {
    auto entry = std::make_unique<Entry>();
    entry->config = mirror;
    entry->agreed = control::mirror_wide_fields(mirror);
    entry->policy = engine_policy(mirror);
    entry->worker = std::make_unique<Worker>();
    // Sockets from systemd go to the mirrors in the order of the file.
    if (!fds.empty()) {
      entry->nbd_fd = fds.front();
      fds.erase(fds.begin());
    }
    entries_.push_back(std::move(entry));
  }
}

Result<std::unique_ptr<Engine>> Engine::create(control::Config config, control::EventRing& events) {
  std::unique_ptr<Engine> engine{new Engine{std::move(config), events}};
  ShardOptions options;
  options.realtime = engine->config_.realtime;
  auto shard = Shard::create(options);
  if (!shard) return shard.error();
  engine->shard_ = std::move(*shard);
  engine->router_ = std::make_unique<PeerRouter>(engine->shard_->context());
  return engine;
}

Engine::~Engine() {
  for (const auto& entry : entries_) entry->worker.reset();
  TB_ASSERT(ending_ || !settled_);
}

void Engine::post(const std::function<void()>& work) {
  // Full only when a client floods the API: whoever waits here is the worker or that client's own thread.
  while (!shard_->post([this, work] { later(work); })) std::this_thread::yield();
}

void Engine::later(std::function<void()> work) {
  later_.push_back(std::move(work));
  shard_->context().turn.add(*this);
}

void Engine::on_turn_end() {
  std::vector<std::function<void()>> work;
  work.swap(later_);
  for (const auto& w : work) w();
}

void Engine::start() {
  settled_.emplace();
  auto settled = settled_->get_future();
  shard_->start_thread();
  post([this] {
    started_ = shard_->loop().now();
    shard_->context().loop.arm(second_timer_, started_ + Duration::seconds(1));
    if (shard_->loop().faults() != nullptr) {
      control::Event warning;
      warning.kind = "faults.on";
      warning.severity = control::Severity::kCritical;
      warning.text = kFaultsWarning;
      events_.append(std::move(warning));
    }
    for (const auto& entry : entries_) open(*entry);
    check_all_settled();
  });
  // A disk may hang at the first look at it: the other mirrors and the operator do not wait for that.
  if (settled.wait_for(kSettleTime) != std::future_status::ready) {
    control::log_error("daemon.opening", "a disk or its metadata does not answer; going on without");
  }
}

void Engine::check_all_settled() {
  if (!settled_) return;
  for (const auto& entry : entries_) {
    if (entry->phase == Phase::kOpening && !entry->problem.retry) return;
  }
  settled_->set_value();
  settled_.reset();
}

// --- life of a mirror ---

NodeIndex Engine::local_index(const control::MirrorConfig& config) {
  return NodeIndex{static_cast<std::uint8_t>(config.local)};
}

BackingPlan Engine::backing_plan(const control::MirrorConfig& config) {
  BackingPlan plan;
  plan.mirror = config.name;
  plan.disk = config.local_node().disk;
  plan.metadata = config.local_node().metadata;
  plan.node = local_index(config);
  plan.region_size = static_cast<std::uint32_t>(config.region_size.value());
  plan.hot_extents = config.hot_extents;
  plan.logical_block_size = config.logical_block_size;
  return plan;
}

RunnerPlan Engine::runner_plan(const Entry& entry) const {
  const control::MirrorConfig& config = entry.config;
  RunnerPlan plan;
  plan.core.node = local_index(config);
  plan.core.peer = NodeIndex{static_cast<std::uint8_t>(1 - config.local)};
  plan.core.mirror_name = config.name;
  for (const auto& field : entry.agreed) {
    // Where a node is reached may look different from the other one (NAT, a forwarded port); whoever answers
    // there proves by mirror id and node index that it is the right one.
    if (field.field.ends_with(".replication")) continue;
    plan.core.config_text += field.field + "=" + field.value + "\n";
  }
  plan.core.policy = entry.policy;
  plan.core.window_messages = kWindowMessages;
  plan.core.window_bytes = kWindowBytes;
  plan.core.resync_pieces_max = kResyncPieces;
  plan.core.random_seed = random_name();
  plan.core.boot_id = boot_id();
  plan.link.mirror = config.name;
  plan.link.node = plan.core.node;
  plan.link.peer = plan.core.peer;
  for (const auto& address : config.peer_node().replication)
    plan.link.peer_addresses.push_back(address_of(address));
  plan.peer_name = config.peer_node().name;
  plan.nbd = entry.places.nbd;
  plan.nbd_fd = entry.nbd_fd;
  plan.disk_timeout = config.disk_timeout;
  return plan;
}

void Engine::open(Entry& entry, std::chrono::milliseconds delay) {
  entry.phase = Phase::kOpening;
  if (delay.count() == 0) entry.address_wait_until = Instant::never();
  const BackingPlan plan = backing_plan(entry.config);
  entry.worker->post(
      [this, &entry, plan, config = entry.config] {
        auto outcome = std::make_shared<Outcome<Opened>>(open_all(plan, config));
        post([this, &entry, outcome] { on_opened(entry, std::move(*outcome)); });
      },
      delay);
}

Outcome<Engine::Opened> Engine::open_all(const BackingPlan& plan, const control::MirrorConfig& config) {
  auto backing = open_backing(plan);
  if (!backing) return backing.error();
  Opened opened{std::move(*backing), {}};
  const auto nbd = numeric(address_of(config.local_nbd()));
  if (!nbd) return cannot_listen("clients", config.local_nbd().text(), nbd.error(), "nbd", config.name);
  opened.places.nbd = *nbd;
  if (config.local <= 1 - config.local) return opened;
  for (const auto& tcp : config.local_node().replication) {
    const auto address = numeric(address_of(tcp));
    if (!address) return cannot_listen("the peer", tcp.text(), address.error(), "replication", config.name);
    opened.places.replication.push_back(*address);
  }
  return opened;
}

void Engine::on_opened(Entry& entry, Outcome<Opened> outcome) {
  if (entry.phase != Phase::kOpening) return;  // `down` came first; the disk is closed again here
  if (outcome) {
    // And the disk is closed again.
    if (auto taken = taken_address(entry, outcome->places)) outcome = *std::move(taken);
  }
  if (outcome) {
    for (const std::string& note : outcome->backing.notes) {
      control::log_warning("mirror.note", note, {{"mirror", entry.config.name}});
    }
    entry.problem = {};
    entry.backing = std::make_unique<Backing>(std::move(outcome->backing));
    entry.places = std::move(outcome->places);
    run(entry);
  } else if (outcome.error().retry && !stopping_) {
    if (!entry.problem.retry) {
      control::log_warning("mirror.waiting", outcome.error().message, {{"mirror", entry.config.name}});
    }
    entry.problem = outcome.error();
    open(entry, kOpenRetry);
  } else {
    entry.problem = outcome.error();
    entry.phase = Phase::kFailed;
    control::log_error("mirror.failed", entry.problem.message, {{"mirror", entry.config.name}});
    for (const auto& callback : std::exchange(entry.waiting_up, {})) callback(result_of(entry.problem));
  }
  check_all_settled();
}

// An address of this mirror that is still in use, for as long as that may be a daemon's that was killed.
// After that run() says what is wrong.
std::optional<Problem> Engine::taken_address(Entry& entry, const Places& places) {
  const Instant now = shard_->loop().now();
  if (entry.address_wait_until == Instant::never()) entry.address_wait_until = now + kAddressWait;
  if (now >= entry.address_wait_until) return std::nullopt;
  const auto taken = [](const Result<void>& answer) {
    return !answer && answer.error() == ring::errc::kAddressInUse;
  };
  std::string what;
  for (const auto& address : places.replication) {
    if (taken(router_->listen(address))) what = "the peer on " + address.text();
  }
  if (entry.nbd_fd < 0 && taken(ring::address_free(places.nbd)))
    what = "clients on " + entry.config.local_nbd().text();
  if (what.empty()) return std::nullopt;
  return Problem{
      "cannot listen for " + what + ": another process answers there, or a killed one is not gone yet",
      "The replica is untouched.", "wait, or stop that process", false, true};
}

void Engine::run(Entry& entry) {
  RunnerCallbacks callbacks;
  callbacks.event = [this, &entry](const core::Event& event) { on_event(entry, event); };
  callbacks.command_done = [this, &entry](core::CommandId id, core::Refusal refusal) {
    later([this, &entry, id, refusal] { on_command_done(entry, id, refusal); });
  };
  std::optional<Problem> problem;
  for (const auto& address : entry.places.replication) {
    if (auto listening = router_->listen(address); !listening) {
      problem =
          cannot_listen("the peer", address.text(), listening.error(), "replication", entry.config.name);
    }
  }
  entry.runner = std::make_unique<MirrorRunner>(shard_->context(), *router_, runner_plan(entry),
                                                *entry.backing, std::move(callbacks));
  entry.phase = Phase::kRunning;
  entry.resync_done = entry.resync_rate = 0;
  auto started = entry.runner->start();
  if (!started) {
    problem =
        cannot_listen("clients", entry.config.local_nbd().text(), started.error(), "nbd", entry.config.name);
  }
  if (problem) {
    control::log_error("mirror.failed", problem->message, {{"mirror", entry.config.name}});
    begin_stop(entry, problem);
    return;
  }
  control::log_info("mirror.up", "the mirror is up",
                    {{"mirror", entry.config.name}, {"nbd", entry.runner->nbd_address()}});
  print_line("mirror " + entry.config.name + " listens on " + entry.runner->nbd_address());
  for (const auto& callback : std::exchange(entry.waiting_up, {})) {
    control::CommandResult done;
    done.message = "mirror " + entry.config.name + " is up";
    callback(done);
  }
}

void Engine::begin_stop(Entry& entry, std::optional<Problem> reason) {
  if (entry.phase == Phase::kOpening) {
    entry.phase = Phase::kStopped;
    entry.problem = {};
    on_sealed(entry);
    return;
  }
  if (entry.phase != Phase::kRunning) return;
  entry.phase = Phase::kStopping;
  entry.stop_reason = std::move(reason);
  core::Command stop{};
  stop.id = entry.stop_id = ++last_command_;
  stop.verb = core::Verb::stop;
  entry.runner->command(stop);
}

void Engine::on_core_stopped(Entry& entry) {
  entry.runner->close([this, &entry] { later([this, &entry] { on_runner_closed(entry); }); });
  if (stopping_) entry.runner->abort_clients();
}

void Engine::on_runner_closed(Entry& entry) {
  const bool clean = entry.runner->superblock().clean;
  entry.runner.reset();
  for (Pending& pending : std::exchange(entry.pending, {})) {
    pending.callback(result_of(core::Refusal::stopping, entry.config));
  }
  if (!clean) {
    on_sealed(entry);
    return;
  }
  const BackingPlan plan = backing_plan(entry.config);
  entry.worker->post([this, &entry, plan] {
    const ErrorCode failed = seal_clean(plan);
    if (failed) control::log_warning("mirror.seal", failed.message(), {{"mirror", plan.mirror}});
    post([this, &entry] { on_sealed(entry); });
  });
}

void Engine::on_sealed(Entry& entry) {
  entry.backing.reset();
  entry.phase = entry.stop_reason ? Phase::kFailed : Phase::kStopped;
  entry.problem = entry.stop_reason.value_or(Problem{});
  entry.stop_reason.reset();
  control::log_info("mirror.down", "the mirror is down", {{"mirror", entry.config.name}});
  for (const auto& callback : std::exchange(entry.waiting_up, {})) callback(result_of(entry.problem));
  for (const auto& callback : std::exchange(entry.waiting_down, {})) {
    control::CommandResult done;
    done.message = "mirror " + entry.config.name + " is down";
    callback(done);
  }
  check_all_settled();
  check_all_stopped();
}

bool Engine::stop(Duration limit) {
  stopped_.emplace();
  auto stopped = stopped_->get_future();
  post([this] {
    stopping_ = true;
    for (const auto& entry : entries_) {
      // Being stopped already, by a patient `down`: there is no time any more for clients that take no
      // answers.
      if (entry->phase == Phase::kStopping && entry->runner) entry->runner->abort_clients();
      begin_stop(*entry, std::nullopt);
    }
    check_all_stopped();
  });
  const auto wait = std::chrono::nanoseconds{limit.nanoseconds()};
  if (stopped.wait_for(wait) != std::future_status::ready) return false;
  for (const auto& entry : entries_) {
    if (!entry->worker->stop(kWorkerEndTime)) return false;  // its disk hangs
  }
  shard_->request_stop();
  shard_->join();
  router_.reset();
  ending_ = true;
  return true;
}

void Engine::check_all_stopped() {
  if (!stopping_ || !stopped_) return;
  for (const auto& entry : entries_) {
    if (entry->phase == Phase::kRunning || entry->phase == Phase::kStopping) return;
  }
  router_->shut_down();
  if (!router_->closed()) {
    // on_second() looks again, sooner than usual.
    shard_->context().loop.arm(second_timer_, shard_->loop().now() + Duration::milliseconds(10));
    return;
  }
  shard_->context().loop.disarm(second_timer_);
  stopped_->set_value();
  stopped_.reset();
}

// --- while it runs ---

// Two nodes that do not fit together try again every second or two. Told each time, it would push everything
// else out of the bounded list of events.
bool Engine::is_repetition(Entry& entry, const core::Event& event) {
  using K = core::EventKind;
  switch (event.kind) {
    case K::handshake_refused:
    case K::split_brain: {
      const core::Refusal before = entry.refused;
      entry.refused = event.kind == K::split_brain ? core::Refusal::split_brain : event.reason;
      return entry.refused == before;
    }
    case K::link_up:
    case K::link_down:
      return entry.refused != core::Refusal::none;
    case K::session_started:
    case K::stopped:
      entry.refused = core::Refusal::none;
      return false;
    default:
      return false;
  }
}

void Engine::on_event(Entry& entry, const core::Event& event) {
  if (is_repetition(entry, event)) return;
  control::Event text = event_of(event, entry.config);
  std::string details;
  for (const auto& [name, value] : text.fields) details += " " + name + "=" + value;
  control::log_line(level_of(text.severity), text.kind, text.text + details, {{"mirror", entry.config.name}});
  events_.append(std::move(text));
}

void Engine::on_command_done(Entry& entry, core::CommandId id, core::Refusal refusal) {
  if (id == entry.stop_id) {
    on_core_stopped(entry);
    return;
  }
  const auto found =
      std::find_if(entry.pending.begin(), entry.pending.end(), [id](const Pending& p) { return p.id == id; });
  if (found == entry.pending.end()) return;  // its client was told that it takes too long
  const Pending pending = std::move(*found);
  entry.pending.erase(found);
  if (refusal != core::Refusal::none) return pending.callback(refused_result(entry, refusal));
  pending.callback(done_result(pending.command, entry.runner->snapshot(), entry.config, facts_of(entry)));
}

void Engine::on_second() {
  if (stopping_) {
    check_all_stopped();
    return;
  }
  const Instant now = shard_->loop().now();
  for (const auto& entry : entries_) {
    if (entry->phase != Phase::kRunning) continue;
    const std::uint64_t done = entry->runner->snapshot().resync_done_bytes;
    const std::uint64_t step = done > entry->resync_done ? done - entry->resync_done : 0;
    entry->resync_rate = entry->resync_rate == 0 ? step : (entry->resync_rate * 3 + step) / 4;
    if (done == 0) entry->resync_rate = 0;
    entry->resync_done = done;
    for (std::size_t i = 0; i < entry->pending.size();) {
      if (now < entry->pending[i].deadline) {
        ++i;
        continue;
      }
      const Pending late = std::move(entry->pending[i]);
      entry->pending.erase(entry->pending.begin() + static_cast<std::ptrdiff_t>(i));
      late.callback(result_of(core::Refusal::timeout, entry->config));
    }
  }
  shard_->context().loop.arm(second_timer_, now + Duration::seconds(1));
}

}  // namespace twinblock::engine
