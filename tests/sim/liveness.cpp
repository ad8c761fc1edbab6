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
  for (Node& n : nodes_) {
    if (n.mirror == nullptr) start_node(n);
  }
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
  healing_since_ = now_;
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
    check_answered();
  }
  if (excused_) end_excused();
  phase_ = Phase::done;
}

// P13: without faults, and not frozen, no request waits longer than the timeouts behind it add up to.
void World::check_answered() {
  constexpr std::int64_t kBound = 60 * kSecond;
  if (now_ - healing_since_ < kBound || nodes_[0].disk.in_flight() + nodes_[1].disk.in_flight() > 0) return;
  for (const ClientOp& op : ops_) {
    const Node& n = nodes_[op.node];
    if (!op.used || now_ - std::max(op.started, healing_since_) < kBound || !n.mirror) continue;
    if (n.mirror->snapshot().frozen) continue;
    fail("P13", "request r" + std::to_string(op.request) + " is not answered\n" + state_text());
  }
}

// Nothing can converge, but both can still be stopped, and give everything back.
void World::end_excused() {
  ++totals_.excused;
  const std::array<std::uint32_t, 2> lives{nodes_[0].life, nodes_[1].life};
  const auto stopping = [&](const Node& n) { return n.mirror != nullptr && n.life == lives[index(n)]; };
  for (Node& n : nodes_) {
    if (n.mirror != nullptr) n.commands = 0;
    command(n, Verb::stop);
  }
  const std::int64_t limit = now_ + 60 * kSecond;
  while (stopping(nodes_[0]) || stopping(nodes_[1])) {
    if (now_ > limit) fail("P13", "a mirror without a good copy does not stop within 60 s\n" + state_text());
    run_until(now_ + 250 * kMillisecond);
  }
}

void World::speak_up(Node& n) {
  command(n, Verb::set_policy);
  command(n, Verb::resume);
  command(n, Verb::connect);
  command(n, Verb::release_resync);
}

void World::liveness_turn() {
  if (phase_ != Phase::heal || excused_) return;
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
  // Or it is ahead of an async peer in one generation, on a damaged disk (row 53) or one that fails (row 31):
  // what only that disk has may be flushed, and is given up by the operator alone.
  const auto ahead = [](const Node& bad, const core::MirrorSnapshot& snap) {
    const bool waits = snap.verdict_rule == 53 ? snap.refusal == core::Refusal::no_good_copy
                                               : snap.refusal == core::Refusal::peer_disk_failed;
    return waits && bad.meta.superblock().acked_ahead;
  };
  if ((bad_a && ahead(nodes_[0], a)) || (bad_b && ahead(nodes_[1], b))) {
    excused_ = true;
    return;
  }
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
  keep_winner();
  command(loser, Verb::resolve_discard);
  if (random_.one_in(2)) command(winner, Verb::resolve_keep);
}

// What the winner has now is what both must have in the end: no client writes any more.
void World::keep_winner() {
  if (kept_taken_) return;
  kept_taken_ = true;
  Node& winner = nodes_[static_cast<std::size_t>(split_winner_)];
  winner.disk.cells().for_each([&](std::uint32_t s, DataDisk::Cell& c) { kept_.at(s).tag = c.cached; });
  const auto wild = [&](SectorRun run) {
    for (std::uint32_t s = run.first; s < run.first + run.count; ++s) kept_.at(s).wild = true;
  };
  for (const ClientOp& op : ops_) {
    if (op.used && op.kind != ClientOp::Kind::read) wild(op.run);
  }
  for (std::uint32_t i = 0; i < winner.disk.slot_count(); ++i) {
    const DataDisk::Op& op = winner.disk.op(i);
    if (op.used && op.io.verb != core::DiskVerb::read) wild(op.run);
  }
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
        const bool lost = peer.cache_lost || n.policy.mode == core::Mode::memsync;  // or only received there
        if (lost && !history_.valid(s, peer.disk.cell(s).cached, history_.floor(s))) give_up(s);
      });
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
  const auto same = [&](std::uint32_t s, const DataDisk::Cell& a, const DataDisk::Cell& b) {
    if (a.cached == b.cached && a.durable == b.durable && a.cached == a.durable) return;
    fail("P14", "the replicas differ at the end: A " + history_.describe(s, a.cached) + "; B " +
                    history_.describe(s, b.cached));
  };
  for_each_pair(nodes_[0].disk.cells(), nodes_[1].disk.cells(), same);
  if (kept_taken_) {
    for_each_pair(
        kept_, nodes_[0].disk.cells(), [&](std::uint32_t s, const Kept& k, const DataDisk::Cell& c) {
          if (k.wild || k.tag == c.cached) return;
          fail("P10", "after the split brain was resolved the winner's content is gone: " +
                          history_.describe(s, c.cached) + "; it had: " + history_.describe(s, k.tag));
        });
  }
  if (judging_) check_whole(nodes_[0], "at the end");  // both are equal
  for (Node& n : nodes_) {
    if (buffers_.owned_count(n.index) > 0)
      fail("buffers", std::string{"buffers leaked at node "} + "AB"[n.index]);
    n.mirror->check_invariants();
  }
  check_fork();
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
