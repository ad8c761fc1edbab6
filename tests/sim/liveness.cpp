// The beginning and the end of a run: creation and first resync; then heal everything and demand P14.
//
// Rules at the end: faults stop, both nodes run, the operator resumes, connects, promotes what may be
// promoted without force, replaces a failed disk by an empty one while the other copy is good, and resolves a
// split brain where one was provoked. Then within 240 s: one export open, session up, replicas byte-identical
// and durable, no bits, no hot extents, every request and command answered, no buffer owned, both idle.
// Excused is only a mirror of which no good copy is left.
#include <algorithm>

#include "tests/sim/world.hpp"

namespace twinblock::sim {

using bitmap::DiskState;
using core::Verb;

void World::genesis() {
  for (Node& n : nodes_) start_node(n);
  command(nodes_[0], Verb::promote);
  run_until(now_ + 20 * kMillisecond);
  const std::int64_t limit = now_ + 120 * kSecond;
  while (!quiet()) {
    if (now_ > limit) fail("P14", "creation: no first resync within 120 s\n" + state_text());
    if (!nodes_[0].export_open && nodes_[0].commands == 0) command(nodes_[0], Verb::promote);
    run_until(now_ + 100 * kMillisecond);
  }
  last_source_ = 0;
}

void World::heal() {
  phase_ = Phase::heal;
  note(nodes_[0], "=== heal");
  for (Node& n : nodes_) {
    n.read_errors = n.write_errors = n.flush_errors = n.meta_errors = 0;
    n.slow = 1;
    n.policy.hold_resync = false;
    for (std::uint32_t i = 0; i < n.disk.slot_count(); ++i) n.disk.op(i).hung = false;
    Network::Direction& d = network_.directions[index(n)];
    d.stalled = d.large_stall = false;
    schedule_delivery(n.index);
    if (n.mirror == nullptr) restart_later(n, 0);
    speak_up(n);
  }
  network_blocked_ = false;
  push(0, EventType::liveness, kNone);
  const std::int64_t limit = now_ + 240 * kSecond;
  while (!quiet() && !excused_) {
    if (now_ > limit) fail("P14", "no convergence within 240 s after the last fault\n" + state_text());
    run_until(now_ + 250 * kMillisecond);
  }
  phase_ = Phase::done;
}

void World::speak_up(Node& n) {
  command(n, Verb::set_policy);
  command(n, Verb::resume);
  command(n, Verb::connect);
  command(n, Verb::release_resync);
}

void World::liveness_turn() {
  if (phase_ != Phase::heal) return;
  push(500 * kMillisecond, EventType::liveness, kNone);
  ++liveness_turns_;
  for (Node& n : nodes_) {
    if (n.mirror == nullptr) restart_later(n, 0);
  }
  if (nodes_[0].mirror == nullptr || nodes_[1].mirror == nullptr) return;
  for (Node& n : nodes_) {
    if (n.commands == 0 && liveness_turns_ % 8 == 3) speak_up(n);
  }
  const core::MirrorSnapshot a = nodes_[0].mirror->snapshot();
  const core::MirrorSnapshot b = nodes_[1].mirror->snapshot();
  const bool bad_a = a.replica == core::ReplicaState::failed || a.replica == core::ReplicaState::inconsistent;
  const bool bad_b = b.replica == core::ReplicaState::failed || b.replica == core::ReplicaState::inconsistent;
  // The newest history lived on a disk that is gone: only the operator's --force goes on from here.
  const auto newer = [](const Node& bad, const Node& good) {
    const auto history = good.meta.superblock().history();
    const GenerationId id = bad.meta.superblock().current();
    return id.value() != 0 &&
           std::none_of(history.begin(), history.end(), [&](const auto& g) { return g.id == id; });
  };
  if ((bad_a && bad_b) || (bad_a && newer(nodes_[0], nodes_[1])) || (bad_b && newer(nodes_[1], nodes_[0]))) {
    excused_ = true;
    return;
  }
  if (a.link == core::LinkState::split_brain && b.link == core::LinkState::split_brain)
    return resolve_split();
  if (!judging_ && b.refusal == core::Refusal::two_sources && a.refusal == b.refusal) {
    Node* open = source();  // promoted behind the back of one that has written since: the operator steps back
    if (open != nullptr && open->commands == 0) return command(*open, Verb::demote);
  }
  for (Node& n : nodes_) {
    if (n.mirror->superblock().disk_state == DiskState::failed && liveness_turns_ > 2) return replace_disk(n);
  }
  if (nodes_[0].export_open || nodes_[1].export_open || liveness_turns_ < 4) return;
  Node& n = nodes_[static_cast<std::size_t>(liveness_turns_ / 2 % 2)];
  if (n.commands == 0) command(n, Verb::promote);
}

void World::resolve_split() {
  if (judging_) fail("P10", "split brain, although nobody was promoted without a proof\n" + state_text());
  if (split_winner_ == kNone) {
    split_winner_ = static_cast<int>(random_.below(2));
    for (const Node& n : nodes_) {
      if (!n.saw_split_brain) fail("P10", std::string{"no split-brain event at node "} + "AB"[n.index]);
    }
  }
  Node& winner = nodes_[static_cast<std::size_t>(split_winner_)];
  Node& loser = other(winner);
  if (loser.commands > 0 || winner.commands > 0) return;
  if (loser.export_open) return command(loser, Verb::demote);
  command(loser, Verb::resolve_discard);
  if (random_.one_in(2)) command(winner, Verb::resolve_keep);
}

// The operator's answer to a failed disk: an empty one with new metadata. First the service has to move.
void World::replace_disk(Node& n) {
  Node& peer = other(n);
  if (n.export_open) {
    if (n.commands == 0) command(peer, Verb::switchover);
    if (liveness_turns_ % 16 != 15) return;
    fail_over(n);  // it does not go in order: kill it
    network_blocked_ = false;
    return;
  }
  if (peer.mirror == nullptr || (!peer.export_open && liveness_turns_ < 40)) {
    if (peer.mirror != nullptr && peer.commands == 0) command(peer, Verb::promote);
    return;
  }
  n.disk.cells().for_each(
      [&](std::uint32_t s, DataDisk::Cell&) {  // with the last copy of what the other lost
        if (peer.cache_lost && !history_.valid(s, peer.disk.cell(s).cached, history_.floor(s)))
          history_.fall_back(s);
      });
  acked_stable_ = acked_.size();
  crash(n, true);
  note(n, "=== new disk");
  const Tag garbage = Tag{history_.garbage_version()} << 32;
  n.disk.cells().for_each([&](std::uint32_t s, DataDisk::Cell&) { n.disk.fill(s, garbage | s); });
  create(n, false);
  restart_later(n, 0);
}

bool World::quiet() {
  if (operations_running() > 0 && phase_ != Phase::genesis) return false;
  int open = 0;
  for (Node& n : nodes_) {
    if (n.mirror == nullptr || n.commands > 0 || n.disk.in_flight() > 0) return false;
    const core::MirrorSnapshot s = n.mirror->snapshot();
    if (!s.idle || s.link != core::LinkState::connected || s.dirty_bytes > 0 || s.hot_extents > 0)
      return false;
    if (s.replica != core::ReplicaState::uptodate || n.meta.needs_full()) return false;
    open += n.export_open ? 1 : 0;
  }
  return open == 1;
}

void World::final_checks() {
  if (excused_) return;
  check_marks("at the end");
  const auto same = [&](std::uint32_t s) {
    const DataDisk::Cell& a = nodes_[0].disk.cell(s);
    const DataDisk::Cell& b = nodes_[1].disk.cell(s);
    if (a.cached == b.cached && a.durable == b.durable && a.cached == a.durable) return;
    fail("P14", "the replicas differ at the end: A " + history_.describe(s, a.cached) + "; B " +
                    history_.describe(s, b.cached));
  };
  for (Node& n : nodes_) n.disk.cells().for_each([&](std::uint32_t s, DataDisk::Cell&) { same(s); });
  for (Node& n : nodes_) {
    if (judging_) check_whole(n, "at the end");
    if (buffers_.owned_count(n.index) > 0)
      fail("buffers", std::string{"buffers leaked at node "} + "AB"[n.index]);
    n.mirror->check_invariants();
  }
  if (!judging_ && split_writes_[0] > 0 && split_writes_[1] > 0 && split_winner_ == kNone) {
    fail("P10", "both histories took writes, but no split brain was reported");
  }
}

std::string World::state_text() const {
  std::string text;
  for (const Node& n : nodes_) {
    text += std::string{"  node "} + "AB"[n.index] + ": ";
    text += n.mirror == nullptr ? "down" : describe(n.mirror->snapshot());
    text += n.export_open ? " export-open" : "";
    text +=
        " commands=" + std::to_string(n.commands) + " disk-ops=" + std::to_string(n.disk.in_flight()) + "\n";
  }
  text += "  client operations running: " + std::to_string(operations_running()) + ", link " +
          std::to_string(network_.id) + (network_.sides[0].up ? " up" : " down") + "/" +
          (network_.sides[1].up ? "up" : "down") + "\n";
  return text;
}

}  // namespace twinblock::sim
