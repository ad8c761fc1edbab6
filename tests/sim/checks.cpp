// Checkers that look at both nodes at once. Each judges only what must hold whatever happens next.
//
// I3/P3/P4  A sector whose content may differ between the disks (what is cached or durable here or there, or
//           in flight) carries a durable mark on at least one node: hot extent, bit, "everything is dirty",
//           or a failed disk. Marks that a write in flight may remove do not count.
// P3        A client's write is given to the disk or the stream only while its extent's intent is durable.
// P1/P7     At the answer ok to a write: the local disk has it (unless failed); so has the peer if it was in
//           the ack set when the write started and still is (memsync: its core has been given the message);
//           if the peer lacks it, and is a complete replica, then both copies of the source's superblock
//           say so and name a newer generation. With a failed local disk the peer has it. write_alone =
//           never: a complete peer has it, unless the operator has vouched for its death since it was in the
//           ack set.
// P2        At the answer ok to a flush: every write answered before it began survives the worst power cut at
//           both nodes (only the peer if the local disk failed, only the source if the peer is outside the
//           ack set or async).
// P8        A resync write is submitted only while `inconsistent` is durable (but for P8's exception), and
//           resync_done sent only while the end of it is.
// Row 42    Nobody is called rolled back unless somebody was put back to a backup.
// P9        An export opens only while the other one is closed; a node without a link that opens without
//           force has nothing that was overwritten. An async failover (after P6 was judged) and a forced
//           promotion start a new history (History::rebase).
// P12       A source that was told of a higher term answers nothing ok any more.
#include <algorithm>

#include "tests/sim/world.hpp"

namespace twinblock::sim {

using bitmap::DiskState;
using core::Mode;

namespace {

constexpr std::uint32_t kExtentSectors = static_cast<std::uint32_t>(kExtentSize.value() / kSectorBytes);

}  // namespace

bool World::marked(std::uint32_t sector) {
  const std::uint64_t region = std::uint64_t{sector} * kSectorBytes / scenario_.geometry.region_size;
  for (const Node& n : nodes_) {
    if (n.meta.hot(sector / kExtentSectors) || n.meta.bit(region) || n.meta.needs_full()) return true;
  }
  return false;
}

// The first sector of the run without a mark; its end if there is none.
std::uint32_t World::first_unmarked(SectorRun run) {
  const std::uint32_t per_region = scenario_.geometry.region_size / kSectorBytes;
  const std::uint32_t end = run.first + run.count;
  for (std::uint32_t s = run.first; s < end; s = (s / per_region + 1) * per_region) {
    if (!marked(s)) return s;
  }
  return end;
}

void World::check_marks(const char* when) {
  ++totals_.checks;
  if (nodes_[0].rolled_back || nodes_[1].rolled_back) return;              // nobody can know before they meet
  if (nodes_[0].meta.needs_full() || nodes_[1].meta.needs_full()) return;  // everything is marked
  const auto check = [&](std::uint32_t s, const DataDisk::Cell& a, const DataDisk::Cell& b) {
    if (a.cached == b.cached && a.durable == b.durable && a.cached == a.durable) return;
    if (marked(s)) return;
    fail("I3", std::string{when} + " sector " + std::to_string(s) + " may differ without a durable mark: A " +
                   history_.describe(s, a.cached) + " (durable: " + history_.describe(s, a.durable) +
                   "), B " + history_.describe(s, b.cached) +
                   " (durable: " + history_.describe(s, b.durable) + ")");
  };
  for_each_pair(nodes_[0].disk.cells(), nodes_[1].disk.cells(), check);
}

void World::check_intent(Node& n, SectorRun run, const char* what) {
  if (run.count == 0 || n.meta.hot(run.first / kExtentSectors)) return;
  if (n.meta.superblock().disk_state == DiskState::failed) return;  // all of it counts as dirty
  if (other(n).meta.needs_full()) return;  // the peer has noted that this replica needs everything
  fail("P3", "a write to sectors " + std::to_string(run.first) + "+" + std::to_string(run.count) + " is " +
                 what + " at node " + "AB"[n.index] + " before the intent of its extent is durable");
}

void World::check_disk_write(Node& n, const core::DiskIo& io, SectorRun run) {
  for (ClientOp& op : ops_) {
    if (!op.used || op.node != n.index || op.kind == ClientOp::Kind::read || op.kind == ClientOp::Kind::flush)
      continue;
    const bool mine = op.kind == ClientOp::Kind::write
                          ? op.buffer == io.buffer
                          : io.verb == core::DiskVerb::zero && n.export_open && op.run.first == run.first &&
                                op.run.count == run.count;
    if (!mine) continue;
    op.in_ack_set = n.in_ack_set;
    op.link = network_.id;
    op.memsync = n.policy.mode == Mode::memsync;
    op.async = n.policy.mode == Mode::async;
    return check_intent(n, run, "submitted");
  }
  if (n.export_open || phase_ == Phase::genesis) return;  // a repair writes what the peer has
  if (n.rolled_back || other(n).rolled_back) return;      // its marks went with it
  bool resync = io.buffer != 0 && buffers_.get(io.buffer).resync;
  const auto same = [&](const SectorRun& z) { return z.first == run.first && z.count == run.count; };
  const auto zeroes = std::find_if(n.resync_zeroes.begin(), n.resync_zeroes.end(), same);
  if (io.verb == core::DiskVerb::zero && zeroes != n.resync_zeroes.end()) {
    resync = true;
    n.resync_zeroes.erase(zeroes);
  }
  if (resync && !n.stays_promotable && n.meta.weakest().disk_state == DiskState::consistent) {
    fail("P8", "a resync write is submitted before \"inconsistent\" is durable in both superblock copies");
  }
  const std::uint32_t bare = first_unmarked(run);
  if (bare < run.first + run.count)
    fail("I3", "a target writes sector " + std::to_string(bare) + " while no durable mark covers it");
}

void World::check_acknowledged(Node& n, const ClientOp& op) {
  const core::MirrorSnapshot snap = n.mirror->snapshot();
  Node& peer = other(n);
  const Clock since = history_.begin_of(op.version);
  const bool local_failed =
      snap.replica == core::ReplicaState::failed || snap.replica == core::ReplicaState::diskless;
  if (snap.in_ack_set && !op.async) n.async_residue = false;
  if (snap.in_ack_set && snap.mode == Mode::sync) n.memsync_residue = false;
  bool local_has = true;
  bool peer_has = true;
  for (std::uint32_t s = op.run.first; s < op.run.first + op.run.count; ++s) {
    local_has = local_has && history_.valid(s, n.disk.cell(s).cached, since);
    peer_has = peer_has && history_.valid(s, peer.disk.cell(s).cached, since);
  }
  const std::string which =
      "write w" + std::to_string(op.version) + " (r" + std::to_string(op.request) + ") ";
  if (!local_has && !local_failed) fail("P1", which + "acknowledged before the local disk has it");
  const bool peer_lives = peer.mirror != nullptr && peer.life == link_life_[index(peer)];
  if (local_failed && !peer_has && peer_lives)  // else it had it, said so, and died unnoticed
    fail("P7", which + "acknowledged with a failed local disk before the peer wrote it");
  if (local_failed && !n.metadata_lost && n.meta.weakest().disk_state != DiskState::failed)
    fail("P7", which + "acknowledged before it is durable here that the local disk has failed");
  if (peer_has || op.async || snap.mode == Mode::async || n.async_residue) return;
  if (snap.in_ack_set && (snap.mode == Mode::memsync || op.memsync) && op.delivered) return;
  const bool alive = peer.mirror != nullptr && peer.life == link_life_[index(peer)];
  const bool counted_on = alive && snap.in_ack_set && op.in_ack_set && op.link == network_.id;
  if (snap.in_ack_set && !alive) {  // it may have died since, unnoticed
    if (op.in_ack_set && op.link == network_.id && !op.peer_had && !op.delivered)
      fail("P1", which + "acknowledged, although the peer died before it had it");
    return;
  }
  if (counted_on) fail("P1", which + "acknowledged before the peer in the ack set has it");
  const bitmap::Superblock& theirs = peer.meta.superblock();
  if (theirs.disk_state != DiskState::consistent) return;
  if (n.policy.write_alone == core::WriteAlone::never && !n.granted) {
    fail("P7", which + "acknowledged alone against the policy");
  }
  if (n.meta.weakest().peers[index(peer)].data != bitmap::PeerData::lacks) {
    fail("P7", which + "acknowledged alone before \"the peer lacks it\" is durable");
  }
  if (n.meta.weakest().current() == theirs.current()) {
    fail("P7", which + "acknowledged alone in the generation at which the peer is complete");
  }
}

void World::check_flushed(Node& n, std::size_t from, std::size_t to) {
  const core::MirrorSnapshot snap = n.mirror->snapshot();
  const bool local =
      snap.replica != core::ReplicaState::failed && snap.replica != core::ReplicaState::diskless;
  const bool remote = snap.in_ack_set && snap.peer_replica == core::ReplicaState::uptodate &&
                      snap.mode != Mode::async && !n.async_residue;
  for (std::size_t i = from; i < to; ++i) {
    const Clock since = history_.begin_of(acked_[i].version);
    const SectorRun run = acked_[i].run;
    for (std::uint32_t s = run.first; s < run.first + run.count; ++s) {
      if (i < given_up_.get(s)) continue;
      for (Node* side : {&n, &other(n)}) {
        if (side->rolled_back || (side == &n ? !local : !remote)) continue;
        const Tag worst = side->disk.cell(s).durable;
        if (history_.valid(s, worst, since)) continue;
        fail("P2", std::string{"flush or FUA acknowledged, but a power cut at node "} + "AB"[side->index] +
                       " loses w" + std::to_string(acked_[i].version) + ": " + history_.describe(s, worst));
      }
    }
  }
}

void World::check_verdict(const core::Send& send) {
  const auto body = wire::decode_verdict(send.body);
  if (!body || body->rule < 40 || body->rule > 42) return;
  if (nodes_[0].rolled_back || nodes_[1].rolled_back) return;
  fail("row 42",
       "a replica is called rolled back, although nobody was put back, by row " + std::to_string(body->rule));
}

void World::check_resync_done(Node& n) {
  const bitmap::Superblock& sb = n.meta.weakest();
  if (sb.disk_state == DiskState::consistent && !sb.resync.active) return;
  fail("P8", "resync_done is sent before \"complete\" is durable in both superblock copies");
}

// Every content that the node's disk shows is still legal.
void World::check_whole(Node& n, const char* when) {
  n.disk.cells().for_each([&](std::uint32_t s, DataDisk::Cell& c) {
    if (history_.readable(s, c.cached, history_.floor(s))) return;
    fail("P8/P9", std::string{when} + " node " + "AB"[n.index] + ": " + history_.describe(s, c.cached));
  });
}

void World::check_open(Node& n) {
  Node& peer = other(n);
  // What it was sent as a target ends here, however it was promoted: from now on its content is its own.
  const bool moved = last_source_ != kNone && last_source_ != n.index;
  if (moved && n.stream.active()) {
    const std::string wrong = n.stream.judge_prefix(n.disk);
    const DiskState state = n.mirror->superblock().disk_state;
    if (!wrong.empty() && state == DiskState::consistent) fail("P6", "at the promotion " + wrong);
  }
  n.stream.end();
  // The operator wanted two histories.
  if ((n.forced || !judging_) && peer.mirror && peer.export_open) begin_fork();
  // A source without a disk has said that this node has the only copy: alone it answers nothing ok.
  const auto diskless = [](const Node& node) {
    const core::ReplicaState state = node.mirror->snapshot().replica;
    return state == core::ReplicaState::failed || state == core::ReplicaState::diskless;
  };
  const bool left_alone =
      peer.mirror && diskless(peer) && n.meta.weakest().peers[index(peer)].data == bitmap::PeerData::lacks;
  if (judging_ && peer.mirror && peer.export_open && !left_alone) {
    fail("P9", std::string{"the export opens at node "} + "AB"[n.index] + " while the other one is open");
  }
  if (!judging_) return;
  if (!moved) settle_at_risk(n);
  const core::MirrorSnapshot snap = n.mirror->snapshot();
  if (n.forced) {
    start_over(n);
    n.forced = false;
    return;
  }
  if (moved && !handed_over_ &&
      (snap.mode == Mode::async || n.async_residue || peer.async_residue ||
       peer.policy.mode == Mode::async)) {
    start_over(n);
  }
  const bool complete =
      snap.replica == core::ReplicaState::uptodate || snap.replica == core::ReplicaState::consistent;
  if (snap.link == core::LinkState::down || snap.link == core::LinkState::connecting) {
    if (!complete && snap.replica != core::ReplicaState::failed) {
      fail("P9", "an export opens without force and without a peer on a replica that is " +
                     std::string{name(snap.replica)});
    }
    if (!diskless(n)) check_whole(n, "at the opening of the export");  // clients see none of a failed disk
  }
}

// Two sources by the operator's will: from here on each acknowledges for itself.
void World::begin_fork() {
  judging_ = false;
  if (forked_) return;
  forked_ = true;
  fork_at_ = history_.now();
  split_writes_ = {};
}

// P10: both histories took writes, so nothing may join them before a split brain was reported and resolved.
void World::check_fork() const {
  if (!forked_ || split_writes_[0] == 0 || split_writes_[1] == 0 || split_winner_ != kNone) return;
  fail("P10", "both histories took writes (" + std::to_string(split_writes_[0]) + " at A, " +
                  std::to_string(split_writes_[1]) + " at B), and are joined without a split brain");
}

// The sides of a fork meet in a session: what its leader has counts from now on.
void World::end_fork(Node& leader) {
  check_fork();
  if (!forked_) return;
  forked_ = false;
  if (nodes_[0].export_open && nodes_[1].export_open) return;
  judging_ = true;
  start_over(leader);
}

// An answer ok while there are two sources: in this side's history alone if it began after the fork, or if
// its message did not reach the other side's core.
void World::count_split_write(const Node& n, const ClientOp& op) {
  if (!forked_ || (op.begun <= fork_at_ && op.delivered)) return;
  ++split_writes_[index(n)];
}

// A failover that loses by contract: what this node has counts from now on.
void World::start_over(Node& n) {
  for (Node& side : nodes_) {
    side.disk.cells().for_each(
        [&](std::uint32_t s, DataDisk::Cell&) { history_.rebase(s, n.disk.cell(s).cached); });
  }
  acked_stable_ = acked_.size();
}

// Both had a power cut and the last source is believed again, as source or as leader of a resync: what it
// lost and had not flushed is gone, like with any disk. While the other one lost nothing P1 stands.
void World::settle_at_risk(Node& n) {
  const Node& peer = other(n);
  const bool async = n.policy.mode == Mode::async || n.async_residue || peer.async_residue;
  const bool peer_gone = peer.disk_lost && peer.meta.superblock().disk_state != bitmap::DiskState::consistent;
  if (!peer.cache_lost && !peer_gone && !async) return;  // the other one had it all along
  for (const std::uint32_t s : n.at_risk) {
    if (history_.readable(s, n.disk.cell(s).cached, history_.floor(s))) continue;
    give_up(s);
  }
  n.at_risk.clear();
}

// What was acknowledged there and not flushed may be gone: later flushes do not promise it either.
void World::give_up(std::uint32_t sector) {
  ++totals_.given_up;
  history_.fall_back(sector);
  given_up_.at(sector) = static_cast<std::uint32_t>(acked_.size());
}

// The source's disk had failed and the only copy lost power behind its answer, which arrived nevertheless.
void World::lose_only_copy(Node& n, SectorRun run) {
  const Node& peer = other(n);
  const core::ReplicaState mine = n.mirror->snapshot().replica;
  if (mine != core::ReplicaState::failed && mine != core::ReplicaState::diskless) return;
  if (!peer.cache_lost || (peer.mirror != nullptr && peer.life == link_life_[index(peer)])) return;
  for (std::uint32_t s = run.first; s < run.first + run.count; ++s) {
    if (!history_.readable(s, peer.disk.cell(s).cached, history_.floor(s))) give_up(s);
  }
}

// memsync: the source has lost its cache and the target its process, with what it had received and not
// written. Whichever leads then, that much of the same generation may be gone (two machines were lost).
void World::lose_received(Node& target) {
  Node& source = other(target);
  const bool died = target.mirror == nullptr || target.life != link_life_[index(target)];
  if (!died || (source.policy.mode != Mode::memsync && !source.memsync_residue)) return;
  if (source.meta.superblock().current() != target.meta.superblock().current()) return;
  for_each_pair(source.disk.cells(), target.disk.cells(),
                [&](std::uint32_t s, const DataDisk::Cell&, const DataDisk::Cell& c) {
                  if (!history_.readable(s, c.cached, history_.floor(s))) give_up(s);
                });
}

// A power cut legally destroys what was acknowledged and not flushed, but only where no other copy had it.
void World::after_power_cut(Node& n, const std::vector<SectorRun>& reverted) {
  const Node& peer = other(n);
  // A copy of an older generation does not count: the source went on with one copy, and said so.
  const bool peer_good = peer.meta.superblock().disk_state == DiskState::consistent &&
                         peer.meta.superblock().current() == n.meta.superblock().current();
  for (const SectorRun& run : reverted) {
    const std::uint32_t s = run.first;
    const Clock floor = history_.floor(s);
    if (history_.readable(s, n.disk.cell(s).cached, floor)) continue;
    const bool elsewhere = peer_good && history_.readable(s, peer.disk.cell(s).cached, floor);
    if (elsewhere) n.at_risk.push_back(s);
    if (!elsewhere) give_up(s);
  }
}

}  // namespace twinblock::sim
