// The control API's verbs. Everything here runs on the shard's thread.
#include <algorithm>
#include <utility>

#include "replicator/control/log.hpp"
#include "replicator/engine/engine.hpp"
#include "replicator/engine/explain.hpp"
#include "replicator/engine/refusal_text.hpp"

namespace twinblock::engine {
namespace {

constexpr Duration kCommandTime = Duration::seconds(60);

control::CommandResult done(std::string message) {
  control::CommandResult result;
  result.message = std::move(message);
  return result;
}

control::CommandResult refused(std::string message, std::string safe, std::string next) {
  control::CommandResult result;
  result.outcome = control::Outcome::kRefused;
  result.message = std::move(message);
  result.what_is_safe = std::move(safe);
  result.next_step = std::move(next);
  return result;
}

std::optional<core::Verb> core_verb(const control::Command& command) {
  switch (command.verb) {
    case control::Verb::kSwitchover:
      return core::Verb::switchover;
    case control::Verb::kPromote:
      return core::Verb::promote;
    case control::Verb::kDemote:
      return core::Verb::demote;
    case control::Verb::kPause:
      return core::Verb::pause;
    case control::Verb::kResume:
      return core::Verb::resume;
    case control::Verb::kConnect:
      return core::Verb::connect;
    case control::Verb::kDisconnect:
      return core::Verb::disconnect;
    case control::Verb::kResync:
      return core::Verb::resync;
    case control::Verb::kResolve:
      if (!command.options.resolution) return std::nullopt;
      return *command.options.resolution == control::Resolution::kKeep ? core::Verb::resolve_keep
                                                                       : core::Verb::resolve_discard;
    case control::Verb::kCreate:
    case control::Verb::kCheck:
    case control::Verb::kUp:
    case control::Verb::kDown:
    case control::Verb::kSet:
    case control::Verb::kExplain:
    case control::Verb::kMetadataDump:
      break;
  }
  return std::nullopt;
}

}  // namespace

control::CommandResult result_of(const Problem& problem) {
  control::CommandResult result;
  result.outcome = problem.refused ? control::Outcome::kRefused : control::Outcome::kFailed;
  result.message = problem.message.empty() ? "stopped" : problem.message;
  result.what_is_safe = problem.what_is_safe;
  result.next_step = problem.next_step;
  return result;
}

control::CommandResult result_of(core::Refusal refusal, const control::MirrorConfig& config) {
  const RefusalText& text = refusal_text(refusal);
  const std::string& peer = config.peer_node().name;
  control::CommandResult result;
  if (refusal != core::Refusal::none) result.outcome = text.outcome;
  result.message = for_mirror(text.message, config.name, peer);
  result.what_is_safe = for_mirror(text.what_is_safe, config.name, peer);
  result.next_step = for_mirror(text.next_step, config.name, peer);
  return result;
}

Engine::Entry* Engine::find(const std::string& mirror) {
  for (const auto& entry : entries_) {
    if (entry->config.name == mirror) return entry.get();
  }
  return nullptr;
}

// --- status ---

void Engine::status(std::string mirror, control::StatusCallback callback) {
  const bool posted = shard_->post([this, mirror, callback] {
    if (!mirror.empty() && find(mirror) == nullptr) {
      callback(control::make_error_code(control::errc::kNoSuchMirror));
    } else {
      callback(do_status(mirror));
    }
  });
  if (!posted) callback(control::make_error_code(control::errc::kStopping));
}

control::StatusReply Engine::do_status(const std::string& mirror) {
  control::StatusReply reply;
  reply.node = config_.node_name;
  reply.daemon_version = kDaemonVersion;
  const Duration up = shard_->loop().now() - started_;
  reply.uptime_s = static_cast<std::uint64_t>(up.nanoseconds() / 1'000'000'000);
  for (const auto& entry : entries_) {
    if (mirror.empty() || entry->config.name == mirror) reply.mirrors.push_back(status_of(*entry));
  }
  return reply;
}

RunningFacts Engine::facts_of(const Entry& entry) const {
  RunningFacts facts;
  facts.now = shard_->loop().now();
  facts.starting = entry.runner->link().undecided();
  facts.link_wanted = entry.runner->link().wanted();
  facts.link_up = entry.runner->link().up();
  facts.path = entry.runner->link().path();
  facts.link_error = entry.runner->link().last_error();
  facts.config_difference = entry.runner->config_difference();
  facts.resync_rate = entry.resync_rate;
  facts.stuck_disk_operations = entry.runner->quarantined();
  facts.stuck_metadata_writes = entry.runner->quarantined_metadata();
  return facts;
}

control::MirrorStatus Engine::status_of(Entry& entry) {
  control::MirrorStatus status;
  if (entry.runner) {
    const core::MirrorSnapshot snapshot = entry.runner->snapshot();
    status = running_status(snapshot, entry.policy, entry.config, facts_of(entry));
    status.nbd = entry.runner->nbd_address();
    status.nbd_clients = static_cast<std::uint32_t>(entry.runner->client_count());
    status.size = entry.runner->superblock().geometry.size.value();
    const IoCounters io = entry.runner->io_counters();
    const core::ResyncCounters& resync = snapshot.resync_counters;
    status.counters = {io.reads,   io.writes,         io.read_bytes,    io.written_bytes,
                       io.flushes, resync.sent_bytes, resync.zero_bytes};
    if (entry.phase == Phase::kStopping) status.reason = "being stopped";
  } else {
    status.state =
        entry.phase == Phase::kFailed ? control::MirrorState::kFailed : control::MirrorState::kStopped;
    status.mode = static_cast<control::Mode>(entry.policy.mode);
    status.nbd = entry.config.local_nbd().text();
    status.write_alone = control::to_string(entry.config.write_alone);
    status.promotion_score = -1;
    status.reason = entry.problem.message;
    if (entry.phase == Phase::kOpening && status.reason.empty()) {
      status.reason = "its disk and its metadata are being opened and have not answered yet";
    }
    if (!entry.problem.next_step.empty()) status.reason += "; next: " + entry.problem.next_step;
    if (status.reason.empty()) status.reason = "not started; next: twinblock up " + entry.config.name;
    control::PeerStatus peer;
    peer.name = entry.config.peer_node().name;
    status.peers.push_back(std::move(peer));
  }
  status.name = entry.config.name;
  if (shard_->loop().faults() != nullptr) {
    status.reason = kFaultsWarning + (status.reason.empty() ? "" : ". " + status.reason);
  }
  return status;
}

// --- commands ---

void Engine::execute(control::Command command, control::CommandCallback callback) {
  const bool posted = shard_->post(
      [this, command, callback] { later([this, command, callback] { do_execute(command, callback); }); });
  if (!posted) {
    control::CommandResult busy;
    busy.outcome = control::Outcome::kFailed;
    busy.message = "the daemon is flooded with requests";
    busy.what_is_safe = "Nothing was changed.";
    busy.next_step = "try again";
    callback(busy);
  }
}

void Engine::do_execute(const control::Command& command, control::CommandCallback callback) {
  Entry* const entry = find(command.mirror);
  if (entry == nullptr) {
    control::CommandResult result;
    result.outcome = control::Outcome::kNoSuchMirror;
    result.message = "there is no mirror " + command.mirror + " in the configuration of this node";
    result.what_is_safe = "Nothing was changed.";
    result.next_step = "twinblock status shows the mirrors";
    callback(result);
    return;
  }
  if (stopping_) {
    callback(result_of(core::Refusal::stopping, entry->config));
    return;
  }
  switch (command.verb) {
    case control::Verb::kCreate:
      return do_create(*entry, command, callback);
    case control::Verb::kCheck:
      return do_check(*entry, callback);
    case control::Verb::kUp:
      return do_up(*entry, std::move(callback));
    case control::Verb::kDown:
      return do_down(*entry, command, std::move(callback));
    case control::Verb::kSet:
      return do_set(*entry, command, std::move(callback));
    case control::Verb::kExplain:
      return do_explain(*entry, callback);
    case control::Verb::kMetadataDump:
      return do_dump(*entry, callback);
    case control::Verb::kResolve:
    case control::Verb::kSwitchover:
    case control::Verb::kPromote:
    case control::Verb::kDemote:
    case control::Verb::kPause:
    case control::Verb::kResume:
    case control::Verb::kConnect:
    case control::Verb::kDisconnect:
    case control::Verb::kResync:
      return do_core(*entry, command, std::move(callback));
  }
}

void Engine::do_create(Entry& entry, const control::Command& command,
                       const control::CommandCallback& callback) {
  // Waiting for a disk that another process holds: the reason says more than "is up".
  if (entry.phase == Phase::kOpening && entry.problem.retry) {
    callback(result_of(entry.problem));
    return;
  }
  if (entry.phase != Phase::kStopped && entry.phase != Phase::kFailed) {
    callback(refused("mirror " + entry.config.name + " is up", "Nothing was changed.",
                     "twinblock down " + entry.config.name + " first"));
    return;
  }
  CreateOptions options;
  options.source = command.options.source;
  options.force = command.options.force;
  if (command.options.size_bytes) options.size = ByteCount{*command.options.size_bytes};
  const BackingPlan plan = backing_plan(entry.config);
  entry.worker->post([this, &entry, plan, options, callback] {
    const auto made = std::make_shared<Outcome<std::string>>(create_backing(plan, options));
    post([&entry, made, callback] {
      if (!*made) {
        callback(result_of(made->error()));
        return;
      }
      if (entry.phase == Phase::kFailed) {
        entry.phase = Phase::kStopped;
        entry.problem = {};
      }
      control::CommandResult result = done(**made);
      result.next_step = "twinblock up " + entry.config.name;
      callback(result);
    });
  });
}

void Engine::do_check(Entry& entry, const control::CommandCallback& callback) {
  const BackingPlan plan = backing_plan(entry.config);
  ask_worker(entry, callback, [plan] {
    const auto checked = check_backing(plan);
    return checked ? done(*checked) : result_of(checked.error());
  });
}

// The read-only port asks such things for anybody: without a bound its questions would gather, and the
// opening and the orderly end of mirrors would wait behind all of them.
void Engine::ask_worker(Entry& entry, const control::CommandCallback& callback,
                        std::function<control::CommandResult()> question) {
  const bool asked =
      entry.worker->try_post([callback, question = std::move(question)] { callback(question()); });
  if (asked) return;
  control::CommandResult busy;
  busy.outcome = control::Outcome::kFailed;
  busy.message = "mirror " + entry.config.name + ": the daemon is busy with questions of this kind";
  busy.what_is_safe = "Nothing was changed.";
  busy.next_step = "try again";
  callback(busy);
}

void Engine::do_up(Entry& entry, control::CommandCallback callback) {
  switch (entry.phase) {
    case Phase::kRunning:
      callback(done("mirror " + entry.config.name + " is up already"));
      return;
    case Phase::kStopping:
      callback(result_of(core::Refusal::stopping, entry.config));
      return;
    case Phase::kOpening:
      if (entry.problem.retry) {
        callback(result_of(entry.problem));
        return;
      }
      entry.waiting_up.push_back(std::move(callback));
      return;
    case Phase::kStopped:
    case Phase::kFailed:
      entry.waiting_up.push_back(std::move(callback));
      open(entry);
      return;
  }
}

void Engine::do_down(Entry& entry, const control::Command& command, control::CommandCallback callback) {
  if (entry.runner && entry.phase == Phase::kRunning && !command.options.force &&
      entry.runner->client_count() > 0) {
    callback(result_of(core::Refusal::clients_connected, entry.config));
    return;
  }
  if (entry.phase == Phase::kStopped || entry.phase == Phase::kFailed) {
    entry.phase = Phase::kStopped;
    entry.problem = {};
    callback(done("mirror " + entry.config.name + " is down"));
    return;
  }
  entry.waiting_down.push_back(std::move(callback));
  begin_stop(entry, std::nullopt);
}

void Engine::do_set(Entry& entry, const control::Command& command, control::CommandCallback callback) {
  control::MirrorConfig changed = entry.config;
  if (const auto problem = control::apply_settings(changed, command.options.settings)) {
    control::CommandResult result;
    result.outcome = control::Outcome::kUsage;
    result.message = problem->text();
    result.what_is_safe = "Nothing was changed.";
    result.next_step = "twinblock set " + entry.config.name + " KEY=VALUE";
    callback(result);
    return;
  }
  core::Policy policy = policy_of(changed);
  policy.queue_bytes_max = std::min(policy.queue_bytes_max, entry.policy.queue_bytes_max);
  entry.config = std::move(changed);
  entry.policy = policy;
  if (entry.phase != Phase::kRunning) {
    callback(done("set; holds from the next start of the mirror until the daemon ends"));
    return;
  }
  core::Command set{};
  set.verb = core::Verb::set_policy;
  set.policy = policy;
  send_core(entry, set, command.verb, std::move(callback), kCommandTime);
}

void Engine::do_explain(Entry& entry, const control::CommandCallback& callback) {
  const NodeIndex peer{static_cast<std::uint8_t>(1 - entry.config.local)};
  if (entry.runner) {
    const core::MirrorSnapshot snapshot = entry.runner->snapshot();
    const control::MirrorStatus status =
        running_status(snapshot, entry.policy, entry.config, facts_of(entry));
    const Instant now = shard_->loop().now();
    control::CommandResult result = done(explain_text(entry.runner->superblock(), entry.config, snapshot,
                                                      status.reason, entry.runner->peer_state(), now));
    result.data = explain_json(entry.runner->superblock(), peer, snapshot, entry.runner->peer_state(), now);
    callback(result);
    return;
  }
  const BackingPlan plan = backing_plan(entry.config);
  const Problem problem = entry.problem;
  ask_worker(entry, callback, [plan, peer, problem, config = entry.config] {
    const auto superblock = read_superblock(plan);
    if (!superblock) return result_of(superblock.error());
    const std::string why = problem.message.empty() ? "the mirror is not running" : problem.message;
    control::CommandResult result = done(explain_text(*superblock, config, std::nullopt, why));
    result.next_step = problem.next_step.empty() ? "twinblock up " + plan.mirror : problem.next_step;
    result.data = explain_json(*superblock, peer, std::nullopt);
    return result;
  });
}

void Engine::do_dump(Entry& entry, const control::CommandCallback& callback) {
  const BackingPlan plan = backing_plan(entry.config);
  ask_worker(entry, callback, [plan] {
    const auto text = dump_metadata(plan);
    if (!text) return result_of(text.error());
    control::CommandResult result =
        done("metadata of mirror " + plan.mirror + " in " + plan.metadata + "\n" + *text);
    result.data = "{\"text\":" + json_quote(*text) + "}";
    return result;
  });
}

void Engine::do_core(Entry& entry, const control::Command& command, control::CommandCallback callback) {
  if (entry.phase != Phase::kRunning) {
    callback(entry.problem.message.empty()
                 ? result_of(Problem{"mirror " + entry.config.name + " is not up", "Nothing was changed.",
                                     "twinblock up " + entry.config.name})
                 : result_of(entry.problem));
    return;
  }
  const auto verb = core_verb(command);
  if (!verb) {
    control::CommandResult result;
    result.outcome = control::Outcome::kUsage;
    result.message = "resolve needs --keep or --discard";
    callback(result);
    return;
  }
  const control::CommandOptions& o = command.options;
  core::Command c{};
  c.verb = *verb;
  c.force = o.force;
  c.full = o.full;
  const std::string& peer = entry.config.peer_node().name;
  const bool known = o.node.empty() || o.node == peer || o.node == entry.config.local_node().name;
  if (!known || (!o.confirm_dead.empty() && o.confirm_dead != peer)) {
    callback(result_of(core::Refusal::wrong_node, entry.config));
    return;
  }
  c.confirm_dead = !o.confirm_dead.empty();
  // `resync` on a mirror that holds its resync back is what it waits for.
  if (c.verb == core::Verb::resync && !c.full && entry.policy.hold_resync)
    c.verb = core::Verb::release_resync;
  // The word that lets a target take over also lets a frozen source go on alone.
  if (c.verb == core::Verb::promote && c.confirm_dead && entry.runner->snapshot().frozen &&
      entry.config.write_alone != control::WriteAlone::kNever) {
    c.verb = core::Verb::confirm_dead;
  }
  const Duration limit = o.timeout_s ? Duration::seconds(*o.timeout_s) : kCommandTime;
  send_core(entry, c, command.verb, std::move(callback), limit);
}

void Engine::send_core(Entry& entry, core::Command command, control::Verb verb,
                       control::CommandCallback callback, Duration limit) {
  command.id = ++last_command_;
  entry.pending.push_back(
      {command.id, {verb, command.full}, std::move(callback), shard_->loop().now() + limit});
  entry.runner->command(command);
}

// Both nodes end a handshake with the same refusal; the disk that it is about may be ours. And the field of
// the configuration that differs is known here only.
control::CommandResult Engine::refused_result(const Entry& entry, core::Refusal refusal) const {
  const core::MirrorSnapshot snapshot = entry.runner->snapshot();
  if (refusal == core::Refusal::peer_disk_failed && snapshot.replica == core::ReplicaState::failed) {
    const bool metadata = snapshot.promote_refusal == core::Refusal::metadata_failed;
    refusal = metadata ? core::Refusal::metadata_failed : core::Refusal::replica_failed;
  }
  control::CommandResult result = result_of(refusal, entry.config);
  const std::string& difference = entry.runner->config_difference();
  if (refusal == core::Refusal::config_differs && !difference.empty()) result.message += ": " + difference;
  return result;
}

}  // namespace twinblock::engine
