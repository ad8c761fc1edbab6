// What happens to the mirror besides client requests: crashes, the network, disks, operators, a cluster.
//
// The cluster in here fences for real: promote --confirm-dead is issued only for a node whose peer is down
// and, as source, had this node in its ack set when it died, and only if this node has been alive since. A
// plain promote may be issued at any time; the core has to refuse it where it is unsafe.
#include "tests/sim/world.hpp"

namespace twinblock::sim {

using core::Verb;

void World::act() {
  if (phase_ != Phase::faults) return;
  push(jitter(scenario_.action_gap_ns), EventType::action, kNone);
  std::uint64_t sum = 0;
  for (const std::uint32_t w : scenario_.weights) sum += w;
  if (sum == 0) return;
  std::uint64_t at = random_.below(sum);
  for (std::size_t i = 0; i < kActionCount; ++i) {
    if (at < scenario_.weights[i]) return perform(static_cast<Action>(i));
    at -= scenario_.weights[i];
  }
}

void World::command(Node& n, Verb verb, bool force, bool confirm, bool full) {
  if (n.mirror == nullptr || n.commands >= 8) return;
  ++n.commands;
  n.granted = n.granted || confirm;
  core::Command c{
      .id = ++command_serial_, .verb = verb, .force = force, .confirm_dead = confirm, .full = full};
  c.policy = n.policy;
  step(n, c);
}

void World::restart_later(Node& n, std::int64_t delay) {
  if (n.restarting) return;
  n.restarting = true;
  push(delay, EventType::restart, n.index);
}

void World::fail_over(Node& from) {
  Node& to = other(from);
  const bool was_source = from.export_open;
  crash(from, random_.one_in(2));
  restart_later(from, jitter(random_.one_in(2) ? 200 * kMillisecond : 3 * kSecond));
  if (to.mirror != nullptr && was_source)
    push(jitter(random_.one_in(2) ? kMillisecond : 100 * kMillisecond), EventType::peer_is_dead, to.index);
  if (random_.one_in(3)) {  // some of what it had received is applied late
    for (std::uint32_t i = 0; i < to.disk.slot_count(); ++i)
      to.disk.op(i).hung = to.disk.op(i).used && random_.one_in(2);
  }
  if (random_.one_in(3)) {  // the dead node comes back alone
    network_blocked_ = true;
    push(jitter(4 * kSecond), EventType::unstall, to.index);
  }
}

void World::promote_if_safe(Node& n) {
  Node& peer = other(n);
  if (n.export_open || n.rolled_back || peer.mirror != nullptr || !peer.was_source || !peer.peer_had_all ||
      peer.peer_life != n.life) {
    return;
  }
  command(n, Verb::promote, false, true);
}

void World::perform(Action a) {
  if (trace_ != nullptr) trace_->add(now_, kNone, std::string{"*** "} + std::string{name(a)});
  mix(static_cast<std::uint64_t>(a) + 0x200);
  last_fault_ = now_;
  Node& any = nodes_[random_.below(2)];
  switch (a) {
    case Action::crash_kill:
    case Action::crash_power:
      if (any.mirror == nullptr) break;
      crash(any, a == Action::crash_power);
      restart_later(any, jitter(random_.one_in(2) ? 20 * kMillisecond : kSecond));
      break;
    case Action::crash_both:
      for (Node& n : nodes_) {
        if (n.mirror != nullptr) crash(n, random_.one_in(2));
        restart_later(n, jitter(200 * kMillisecond));
      }
      break;
    case Action::failover: {
      Node* n = source();
      if (n != nullptr) fail_over(*n);
      break;
    }
    case Action::link_cut:
    case Action::half_close:
    case Action::stall:
    case Action::large_stall:
      perform_network(a);
      break;
    case Action::lose_message:
    case Action::repeat_message:
    case Action::lose_any:
    case Action::repeat_any:
    case Action::promote_confirm:
    case Action::metadata_lie:
    case Action::backup:
    case Action::restore:
      perform_fault(a);
      break;
    case Action::promote_plain:
    case Action::switchover:
    case Action::demote_promote:
    case Action::pause_resume:
    case Action::disconnect:
    case Action::resync:
    case Action::resync_full:
    case Action::set_policy:
    case Action::stop_start:
    case Action::promote_force:
    case Action::release_resync:
      perform_role(a);
      break;
    case Action::disk_error:
    case Action::flush_error:
    case Action::disk_dead:
    case Action::disk_slow:
    case Action::disk_hang:
    case Action::metadata_error:
    case Action::rot:
      perform_disk(a);
      break;
    case Action::count_:
      break;
  }
}

void World::perform_network(Action a) {
  const auto from = static_cast<int>(random_.below(2));
  Network::Direction& d = network_.directions[static_cast<std::size_t>(from)];
  switch (a) {
    case Action::half_close:
      link_down(nodes_[static_cast<std::size_t>(from)], 0);
      break;
    case Action::stall:
      d.stalled = true;
      push(jitter(random_.one_in(2) ? 50 * kMillisecond : 3 * kSecond), EventType::unstall, from);
      break;
    case Action::large_stall:
      d.large_stall = true;
      push(jitter(3 * kSecond), EventType::unstall, from);
      break;
    default:
      cut_link();
      break;
  }
}

void World::change_policy(Node& n) {
  core::Policy p = n.policy;
  const core::Mode before = p.mode;
  if (scenario_.kind == ScenarioClass::sync_random || scenario_.kind == ScenarioClass::switchovers) {
    p.mode = random_.one_in(3) ? core::Mode::memsync : core::Mode::sync;
    if (random_.one_in(4)) p.mode = core::Mode::async;
  }
  if (scenario_.kind == ScenarioClass::chaos) {
    p.mode = random_.one_in(3) ? core::Mode::memsync : core::Mode::sync;
    if (random_.one_in(2)) p.mode = core::Mode::async;
    p.queue_policy = random_.one_in(2) ? core::QueuePolicy::track : core::QueuePolicy::block;
    p.queue_bytes_max = ByteCount{(64u << 10) << random_.below(6)};
    p.queue_age_max = Duration::milliseconds(static_cast<std::int64_t>(50 + random_.below(2000)));
  }
  p.hold_resync = random_.one_in(8);
  for (Node& node : nodes_) {
    const core::WriteAlone mine = node.policy.write_alone;
    if (before == core::Mode::async) node.async_residue = true;
    if (before == core::Mode::memsync) node.memsync_residue = true;
    node.policy = p;
    node.policy.write_alone = mine;
    if (p.mode == core::Mode::async) node.async_residue = true;
    command(node, Verb::set_policy);
  }
}

void World::perform_role(Action a) {
  Node* src = source();
  Node& any = nodes_[random_.below(2)];
  Node& target = src == nullptr ? any : other(*src);
  switch (a) {
    case Action::promote_plain:
      command(any, Verb::promote);
      break;
    case Action::switchover:
      command(random_.one_in(2) || src == nullptr ? target : *src, Verb::switchover);
      break;
    case Action::demote_promote:
      if (src != nullptr) command(*src, Verb::demote);
      break;
    case Action::pause_resume:
      command(any, Verb::pause);
      push(jitter(300 * kMillisecond), EventType::resume, any.index);
      break;
    case Action::disconnect:
      command(any, Verb::disconnect);
      push(jitter(300 * kMillisecond), EventType::reconnect, any.index);
      break;
    case Action::promote_force:  // over a live session: the source is deposed
      if (src == nullptr || target.mirror == nullptr || target.commands > 0) break;
      if (src->mirror->snapshot().link != core::LinkState::connected) break;
      target.forced = true;
      target.force_command = command_serial_ + 1;
      command(target, Verb::promote, true, random_.one_in(2));
      break;
    case Action::resync:
      command(any, Verb::resync);
      break;
    case Action::resync_full:
      command(any, Verb::resync, false, false, true);
      break;
    case Action::set_policy:
      change_policy(any);
      break;
    case Action::release_resync:
      command(any, Verb::release_resync);
      break;
    case Action::stop_start:
      command(any, Verb::stop);
      break;
    default:
      break;
  }
}

void World::perform_disk(Action a) {
  Node& n = nodes_[static_cast<std::size_t>(scenario_.error_node)];
  const std::int64_t lasts = jitter(300 * kMillisecond);
  switch (a) {
    case Action::disk_error:
      n.read_errors = static_cast<std::uint32_t>(random_.below(300));
      n.write_errors =
          !scenario_.repairs && random_.one_in(2) ? static_cast<std::uint32_t>(random_.below(100)) : 0;
      break;
    case Action::flush_error:
      n.flush_errors = 500;
      break;
    case Action::disk_dead:
      n.read_errors = n.write_errors = n.flush_errors = 1000;
      break;
    case Action::disk_slow:
      n.slow = 100;
      break;
    case Action::disk_hang:
      for (std::uint32_t i = 0; i < n.disk.slot_count(); ++i) {
        DataDisk::Op& op = n.disk.op(i);
        if (!op.used || op.hung) continue;
        op.hung = true;
        break;
      }
      return;
    case Action::metadata_error:
      n.meta_errors = 200;
      break;
    case Action::rot:
      for (Node& down : nodes_) {
        if (down.mirror == nullptr) down.meta.rot(random_);
      }
      return;
    default:
      break;
  }
  push(lasts, EventType::disk_normal, n.index);
}

// Provokes two histories: cut, promote the target with a false --confirm-dead, let both write, reconnect.
void World::split_step(std::uint32_t stage) {
  Node* src = source();
  if (phase_ != Phase::faults && stage < 3) return;
  split_stage_ = static_cast<int>(stage);
  switch (stage) {
    case 1:
      if (src == nullptr) return push(5 * kMillisecond, EventType::split_step, kNone, 1);
      network_blocked_ = true;
      cut_link();
      return push(jitter(20 * kMillisecond), EventType::split_step, kNone, 2);
    case 2:
      begin_fork();
      if (src != nullptr) command(other(*src), Verb::promote, random_.one_in(3), true);
      return push(jitter(30 * kMillisecond), EventType::split_step, kNone, 3);
    case 3:
      network_blocked_ = false;  // both meet while clients go on
      return;
    default:
      return;
  }
}

}  // namespace twinblock::sim
