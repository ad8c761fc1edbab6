#include "tests/sim/world.hpp"

#include <algorithm>

#include "base/assert.hpp"
#include "base/overloaded.hpp"

namespace twinblock::sim {
namespace {

bool later(const Event& a, const Event& b) {
  return a.time != b.time ? a.time > b.time : a.serial > b.serial;
}

constexpr std::uint64_t kMirrorId = 0x7777;
constexpr int kErrnoIo = 5;

}  // namespace

World::Plan World::plan(std::uint64_t seed, int forced_class, std::uint32_t client_ops) {
  Random random{seed * 0x9e3779b97f4a7c15u + 1};
  Scenario scenario = make_scenario(seed, random, forced_class);
  if (client_ops > 0) scenario.client_ops = client_ops;
  return {random, scenario};
}

World::World(std::uint64_t seed, int forced_class, std::uint32_t client_ops, Trace* trace)
    : World{seed, plan(seed, forced_class, client_ops), trace, nullptr} {}

World::World(std::uint64_t seed, const Scenario& scenario, Trace* trace, Tap* tap)
    : World{seed, Plan{Random{seed * 0x9e3779b97f4a7c15u + 1}, scenario}, trace, tap} {}

World::World(std::uint64_t seed, const Plan& plan, Trace* trace, Tap* tap)
    : seed_{seed},
      random_{plan.random},
      scenario_{plan.scenario},
      trace_{trace},
      tap_{tap},
      sectors_{static_cast<std::uint32_t>(scenario_.geometry.size.value() / kSectorBytes)},
      history_{sectors_},
      network_{buffers_},
      nodes_{Node{0, scenario_.geometry, buffers_, sectors_},
             Node{1, scenario_.geometry, buffers_, sectors_}},
      kept_{sectors_},
      given_up_{sectors_} {
  const std::uint32_t spots = scenario_.hot_spots;
  spots_ = scenario_.spots;
  for (std::uint32_t i = 0; i < spots; ++i) {
    spots_.push_back(static_cast<std::uint32_t>(random_.below(sectors_ - scenario_.spot_sectors) / 8 * 8));
  }
  const Tag initial = Tag{history_.initial_version()} << 32;
  const Tag garbage = Tag{history_.garbage_version()} << 32;
  for (const std::uint32_t spot : spots_) {
    const bool zero = random_.one_in(4);  // in the source
    for (std::uint32_t s = spot; s < spot + scenario_.spot_sectors; ++s) {
      nodes_[0].disk.fill(s, zero ? 0 : initial | s);
      nodes_[1].disk.fill(s, garbage | s);
    }
  }
  for (Node& n : nodes_) {
    n.policy = scenario_.policy;
    n.boot = random_.name();
    create(n, n.index == 0);
  }
}

void World::run() {
  genesis();
  phase_ = Phase::faults;
  push(0, EventType::client, kNone);
  push(jitter(scenario_.action_gap_ns), EventType::action, kNone);
  if (scenario_.kind == ScenarioClass::split_brain)
    push(jitter(10 * kMillisecond), EventType::split_step, kNone, 1);
  if (scenario_.kind == ScenarioClass::cuts) push(jitter(10 * kMillisecond), EventType::flow, kNone);
  const std::int64_t limit = now_ + 600 * kSecond;
  while (phase_ == Phase::faults && now_ < limit) run_until(now_ + 50 * kMillisecond);
  heal();
  final_checks();
}

std::int64_t World::jitter(std::int64_t mean) {
  const auto m = static_cast<std::uint64_t>(mean);
  const std::uint64_t base = m / 4 + random_.below(m + m / 2 + 1);
  return static_cast<std::int64_t>(random_.one_in(32) ? base * 8 : base);
}

void World::push(std::int64_t delay, EventType type, int node, std::uint32_t a) {
  const auto n = static_cast<std::uint8_t>(node < 0 ? 0 : node);
  events_.push_back(
      {now_ + std::max<std::int64_t>(delay, 0), ++event_serial_, type, n, node < 0 ? 0 : nodes_[n].life, a});
  std::push_heap(events_.begin(), events_.end(), later);
}

void World::run_until(std::int64_t time) {
  while (!events_.empty() && events_.front().time <= time && phase_ != Phase::done) {
    std::pop_heap(events_.begin(), events_.end(), later);
    const Event e = events_.back();
    events_.pop_back();
    now_ = e.time;
    ++totals_.events;
    handle(e);
  }
  now_ = std::max(now_, time);
}

void World::handle(const Event& e) {
  Node& n = nodes_[e.node];
  const bool current = e.life == n.life && n.mirror != nullptr;
  switch (e.type) {
    case EventType::turn_end:
      if (current) end_turn(n);
      break;
    case EventType::tick:
      if (current) on_tick(n);
      break;
    case EventType::disk_done:
      if (current) on_disk_done(n, e.a);
      break;
    case EventType::meta_done:
      if (current) on_meta_done(n, e.a);
      break;
    case EventType::deliver:
      deliver(e.node);
      break;
    case EventType::link_up:
      if (!current || e.a != network_.id || !network_.sides[e.node].coming) break;
      network_.sides[e.node].coming = false;
      network_.sides[e.node].up = true;
      step(n, core::LinkUp{e.a});
      break;
    case EventType::link_down:
      if (e.a != network_.id || !network_.sides[e.node].up) break;
      network_.sides[e.node] = {};
      if (current) step(n, core::LinkDown{e.a});
      break;
    case EventType::dial:
      dialling_ = false;
      dial();
      break;
    case EventType::client:
      client_turn();
      break;
    case EventType::action:
      act();
      break;
    case EventType::restart:
      n.restarting = false;
      if (n.mirror == nullptr) start_node(n);
      break;
    case EventType::unstall:
      network_blocked_ = network_blocked_ && split_stage_ != 0;
      network_.directions[e.node].stalled = network_.directions[e.node].large_stall = false;
      if (!network_.directions[e.node].empty()) schedule_delivery(e.node);
      break;
    case EventType::disk_normal:
      n.slow = 1;
      n.read_errors = n.write_errors = n.flush_errors = n.meta_errors = 0;
      break;
    case EventType::peer_is_dead:
      if (current && e.a != 0) command(n, core::Verb::promote);  // after an orderly demotion
      if (current && e.a == 0) promote_if_safe(n);
      break;
    case EventType::resume:
      if (current) command(n, core::Verb::resume);
      break;
    case EventType::reconnect:
      if (current) command(n, core::Verb::connect);
      break;
    case EventType::split_step:
      split_step(e.a);
      break;
    case EventType::flow:
      begin_flow(e.a);
      break;
    case EventType::kill:
      if (!current) break;
      if (n.export_open && other(n).mirror && random_.one_in(2))
        push(jitter(2 * kMillisecond), EventType::peer_is_dead, 1 - n.index);
      crash(n, e.a != 0);
      restart_later(n, jitter(random_.one_in(2) ? 20 * kMillisecond : kSecond));
      break;
    case EventType::liveness:
      liveness_turn();
      break;
  }
}

// ---------------------------------------------------------------------------------------------- nodes

void World::create(Node& n, bool source) {
  bitmap::Superblock sb;
  sb.area_id = random_.name();
  sb.group_id = source ? kMirrorId : 0;
  sb.mirror_id = source ? kMirrorId : 0;
  sb.node = NodeIndex{static_cast<std::uint8_t>(n.index)};
  sb.identity = random_.name();
  sb.incarnation = random_.name();
  sb.geometry = scenario_.geometry;
  sb.disk_state = source ? bitmap::DiskState::consistent : bitmap::DiskState::inconsistent;
  sb.sequence_limit = SequenceNumber{1};
  if (source) {
    sb.push_generation(GenerationId{random_.name()}, SequenceNumber{1}, bitmap::GenerationCause::created);
  }
  n.meta.format(sb);
}

void World::start_node(Node& n) {
  note(n, "=== starts");
  core::Config config;
  config.node = NodeIndex{static_cast<std::uint8_t>(n.index)};
  config.peer = NodeIndex{static_cast<std::uint8_t>(1 - n.index)};
  config.mirror_name = "sim";
  config.config_text = n.config_text;
  config.policy = n.policy;
  config.client_ops_max = 64;
  config.boot_id = n.boot;
  config.intent_age_max = scenario_.intent_age_max;
  config.random_seed = random_.next();
  n.restarting = n.stopped = n.forced = false;
  n.resync_credit = std::max<std::int64_t>(n.resync_credit, 0);
  n.mirror = std::make_unique<core::Mirror>(config, n.meta.recover());
  outputs_.clear();
  n.mirror->start(clock(n), outputs_);
  carry_out(n);
  end_turn(n);
  if (n.lone_crashes > 0) {
    --n.lone_crashes;
    push(jitter(20 * kMillisecond), EventType::kill, n.index, random_.one_in(2) ? 1 : 0);
  }
}

void World::note(const Node& n, std::string_view what) {
  if (trace_ != nullptr) trace_->add(now_, n.index, what);
}

void World::mix_input(const Node& n, const core::Input& in) {
  mix(static_cast<std::uint64_t>(now_) << 8 | in.index() << 1 | static_cast<std::uint64_t>(n.index));
  std::visit(overloaded{[&](const core::DiskDone& i) { mix(i.op ^ static_cast<std::uint64_t>(i.error)); },
                        [&](const core::MetaDone& i) { mix(i.op ^ static_cast<std::uint64_t>(i.error)); },
                        [&](const core::MessageIn& i) {
                          mix(static_cast<std::uint64_t>(i.header.type) ^ i.header.sequence << 8);
                          mix(i.header.offset ^ i.header.aux);
                        },
                        [](const auto&) {}},
             in);
}

void World::step(Node& n, const core::Input& in) {
  if (trace_ != nullptr) trace_->add(now_, n.index, describe(in));
  mix_input(n, in);
  outputs_.clear();
  n.mirror->step(clock(n), in, outputs_);
  carry_out(n);
  if (n.turn_open) return;
  n.turn_open = true;
  const std::int64_t late = random_.one_in(4) ? static_cast<std::int64_t>(random_.below(20'000)) : 0;
  push(scenario_.latency_ns == 0 ? 0 : late, EventType::turn_end, n.index);
}

void World::end_turn(Node& n) {
  n.turn_open = false;
  outputs_.clear();
  n.mirror->turn_end(clock(n), outputs_);
  carry_out(n);
  if (n.stopped) {
    note(n, "=== stopped");
    if (operations_running() > 0) {
      for (const ClientOp& op : ops_) {
        if (op.used && op.node == n.index)
          fail("P13", "a stopped mirror has left a client without an answer");
      }
    }
    if (buffers_.owned_count(n.index) > 0)
      fail("buffers", std::string{"a stopped mirror keeps buffers: node "} + "AB"[n.index]);
    crash(n, false);
    restart_later(n, jitter(200 * kMillisecond));
    return;
  }
  if (n.export_open) {
    const core::MirrorSnapshot snap = n.mirror->snapshot();
    n.in_ack_set = snap.in_ack_set;
    const Node& peer = other(n);
    const bool alive = peer.mirror != nullptr && link_life_[index(peer)] == peer.life;
    if (n.in_ack_set && alive && snap.link == core::LinkState::connected) {
      n.cache_lost = other(n).cache_lost = n.disk_lost = other(n).disk_lost = false;
      n.granted = other(n).granted = false;
    }
  }
  arm_tick(n);
  if (totals_.events % 256 == 0) check_marks("at a random moment");
}

std::int64_t World::next_deadline(const Node& n) const {
  const Instant due = n.mirror->next_deadline();
  return due == Instant::never() ? INT64_MAX : due.nanoseconds() - n.clock_offset;
}

void World::arm_tick(Node& n) {
  const std::int64_t due = next_deadline(n);
  if (due == INT64_MAX) return;
  const std::int64_t at = std::max(due, now_);
  if (at >= n.tick_at && n.tick_at >= now_) return;
  n.tick_at = at;
  push(at - now_, EventType::tick, n.index);
}

void World::on_tick(Node& n) {
  if (now_ < n.tick_at) return;
  n.tick_spins = n.tick_at == now_ ? n.tick_spins + 1 : 0;
  n.tick_at = INT64_MAX;
  const std::int64_t due = next_deadline(n);
  if (due == INT64_MAX) return;
  if (due > now_) {
    arm_tick(n);
    return;
  }
  step(n, core::Tick{});
  if (n.mirror == nullptr) return;
  n.tick_spins = next_deadline(n) <= now_ ? n.tick_spins + 1 : 0;
  if (n.tick_spins > 1000) fail("deadline", "next_deadline() stays in the past: the engine would spin");
}

void World::crash(Node& n, bool power) {
  note(n, power ? "=== power cut" : "=== killed");
  ++totals_.crashes;
  last_fault_ = now_;
  n.was_source = n.export_open;
  const core::MirrorSnapshot snap = n.mirror->snapshot();
  n.peer_life = other(n).life;
  n.peer_had_all =
      network_.sides[index(n)].up && link_life_[index(other(n))] == n.peer_life &&
      (snap.in_ack_set || (snap.mode == core::Mode::async && snap.link == core::LinkState::connected));
  if (n.export_open) {
    last_source_ = n.index;
    handed_over_ = false;
  }
  for (ClientOp& op : ops_) {
    if (!op.used || op.node == n.index || op.run.count == 0) continue;
    op.peer_had = true;
    for (std::uint32_t s = op.run.first; s < op.run.first + op.run.count; ++s)
      op.peer_had = op.peer_had && history_.valid(s, n.disk.cell(s).cached, op.begun);
  }
  // A daemon that is killed between a failed flush and its note of it: its successor finds in the cache what
  // the disk has dropped, and nothing can tell (docs/survival.md, "What cannot be seen"). The machine goes
  // with it.
  const bool noted = n.meta.weakest().disk_state == bitmap::DiskState::failed;
  power = power || (snap.replica == core::ReplicaState::failed && !noted);
  if (n.meta.weakest_sequence() <= n.session_led_at + 1) n.session_led = 0;  // what it learned may be lost
  n.meta.crash(random_);
  if (!power) n.disk.kill(random_);
  drop_operations(n);
  n.mirror.reset();
  ++n.life;
  n.metadata_lost = n.outranked = n.export_open = n.link_wanted = n.turn_open = false;
  n.tick_at = INT64_MAX;
  n.tick_spins = n.commands = 0;
  network_.sides[index(n)] = {};
  if (random_.one_in(2)) network_.clear(n.index);  // what it had sent may still arrive
  // A dead host sends nothing: the other side notices by its own timeouts. A dead process resets.
  Node& peer = other(n);
  if (network_.sides[index(peer)].coming) network_.sides[index(peer)] = {};
  if (network_.sides[index(peer)].up && (!power || random_.one_in(2))) link_down(peer, jitter(kMillisecond));
  if (power) {
    n.boot = random_.name();
    n.cache_lost = true;
    const bool judged = n.stream.active() && n.meta.superblock().disk_state == bitmap::DiskState::consistent;
    std::vector<SectorRun> reverted;
    n.disk.power_cut(random_, [&](std::uint32_t s, Tag) { reverted.push_back({s, 1}); });
    after_power_cut(n, reverted);
    if (judged) {
      const std::string wrong = n.stream.judge_power_cut(n.disk);
      if (!wrong.empty()) fail("P6", "after the target's power cut " + wrong);
    }
  }
  const Node& source_then = nodes_[static_cast<std::size_t>(std::max(last_source_, 0))];
  if (source_then.cache_lost && source_then.mirror == nullptr)
    lose_received(nodes_[1u - static_cast<std::size_t>(source_then.index)]);
  n.stream.end();
  buffers_.drop_core(n.index);
  check_marks("after a crash");
}

// ---------------------------------------------------------------------------------------------- disks

void World::on_disk_done(Node& n, std::uint32_t slot) {
  const DataDisk::Op& op = n.disk.op(slot);
  if (n.disk.op(slot).hung) {  // stays away for long, and completes late
    n.disk.op(slot).hung = false;
    return push(jitter(5 * kSecond), EventType::disk_done, n.index, slot);
  }
  const core::DiskIo io = op.io;
  const SectorRun run = op.run;
  const int bent = tap_ == nullptr ? 0 : tap_->disk_done(n.index, slot);
  if (bent == Tap::kHold) return;
  std::uint32_t chance = 0;
  switch (io.verb) {
    case core::DiskVerb::read:
      chance = n.read_errors;
      break;
    case core::DiskVerb::write:
    case core::DiskVerb::zero:
      chance = n.write_errors;
      break;
    case core::DiskVerb::flush:
      chance = n.flush_errors;
      break;
  }
  const bool ok = bent == 0 && (chance == 0 || !random_.chance(chance));
  const int error = ok ? 0 : bent != 0 ? bent : kErrnoIo;
  core::BufferId into = io.buffer;
  if (io.verb == core::DiskVerb::read && into == 0) {
    into = buffers_.allocate(run.count);
    buffers_.give_to_core(into, n.index);
  }
  n.disk.complete(slot, ok, into, random_);
  if (io.verb == core::DiskVerb::read && !ok && io.buffer == 0 && random_.one_in(2)) {
    buffers_.take_from_core(into, n.index, "failed read");
    into = 0;
  }
  const core::Digest digest = ok && io.look != core::Look::none ? look_at(into) : core::Digest{};
  step(n, core::DiskDone{io.op, error, io.verb == core::DiskVerb::read ? into : 0, digest});
}

// What the engine would say about the bytes.
core::Digest World::look_at(core::BufferId buffer) {
  const std::vector<Tag>& tags = buffers_.get(buffer).tags;
  core::Digest digest;
  digest.zero = std::all_of(tags.begin(), tags.end(), [](Tag tag) { return tag == 0; });
  return digest;
}

void World::on_meta_done(Node& n, std::uint32_t slot) {
  const core::OpId op = n.meta.op(slot).io.op;
  const int bent = tap_ == nullptr ? 0 : tap_->meta_done(n.index, slot);
  if (bent == Tap::kHold) return;
  const bool ok = bent == 0 && (n.meta_errors == 0 || !random_.chance(n.meta_errors));
  n.meta.complete(slot, ok, random_);
  step(n, core::MetaDone{op, ok ? 0 : bent != 0 ? bent : kErrnoIo});
}

}  // namespace twinblock::sim
