// Clients: a bounded number of requests in flight, on few hot spots so that they overlap, to whichever node
// serves the export; now and then to one that does not.
#include <algorithm>

#include "tests/sim/world.hpp"

namespace twinblock::sim {

using core::Status;
using Kind = ClientOp::Kind;

namespace {

constexpr std::uint32_t kExtentSectors = static_cast<std::uint32_t>(kExtentSize.value() / kSectorBytes);

ByteRange bytes(SectorRun run) {
  return {ByteOffset{std::uint64_t{run.first} * kSectorBytes},
          ByteCount{std::uint64_t{run.count} * kSectorBytes}};
}

}  // namespace

Node* World::source() {
  for (Node& n : nodes_) {
    if (n.mirror && n.export_open) return &n;
  }
  return nullptr;
}

std::uint32_t World::operations_running() const {
  std::uint32_t n = 0;
  for (const ClientOp& op : ops_) n += op.used ? 1 : 0;
  return n;
}

SectorRun World::pick_run() {
  if (random_.chance(scenario_.large_per_mille)) {
    const auto count = static_cast<std::uint32_t>(1 + random_.below(2048));
    const auto first = static_cast<std::uint32_t>(random_.below(sectors_ - count));
    return {first, std::min(count, kExtentSectors - first % kExtentSectors)};
  }
  const std::uint32_t spot = spots_[random_.below(spots_.size())];
  const auto at = static_cast<std::uint32_t>(random_.below(scenario_.spot_sectors));
  const auto count = static_cast<std::uint32_t>(1 + random_.below(random_.one_in(3) ? 16 : 4));
  const std::uint32_t first = spot + at;
  std::uint32_t end = std::min({first + count, sectors_, spot + scenario_.spot_sectors});
  end = std::min(end, (first / kExtentSectors + 1) * kExtentSectors);
  return {first, end - first};
}

void World::client_turn() {
  if (phase_ != Phase::faults) return;
  if (issued_ >= scenario_.client_ops) {
    phase_ = Phase::heal;
    return;
  }
  push(jitter(scenario_.think_ns), EventType::client, kNone);
  if (random_.one_in(64)) {
    for (ClientOp& op : ops_) {
      if (!op.used || op.cancelled || !random_.one_in(4)) continue;
      op.cancelled = true;
      return step(nodes_[op.node], core::ClientCancel{op.request});
    }
  }
  if (operations_running() >= scenario_.in_flight_max) {
    // Nobody can say when a frozen mirror answers: the fault phase ends all the same.
    if (random_.one_in(50)) ++issued_;
    return;
  }
  if (!judging_ && nodes_[0].mirror && nodes_[1].mirror && nodes_[0].export_open && nodes_[1].export_open) {
    return issue(nodes_[random_.below(2)]);
  }
  Node* n = source();
  if (n == nullptr || random_.one_in(100)) n = &nodes_[random_.below(2)];
  if (n->mirror == nullptr || n->stopped) {
    if (random_.one_in(20)) ++issued_;
    return;
  }
  if (!n->export_open && !random_.one_in(8)) {
    if (random_.one_in(20)) ++issued_;
    return;
  }
  issue(*n);
}

void World::issue(Node& n) {
  const std::uint64_t dice = random_.below(100);
  const std::uint32_t reads = scenario_.read_share;
  const Kind kind = dice < reads                                                  ? Kind::read
                    : dice < reads + scenario_.zero_share                         ? Kind::zero
                    : dice < reads + scenario_.zero_share + scenario_.flush_share ? Kind::flush
                                                                                  : Kind::write;
  const bool modifies = kind == Kind::write || kind == Kind::zero;
  const bool fua = modifies && random_.below(100) < scenario_.fua_share;
  const SectorRun run = kind == Kind::flush ? SectorRun{} : pick_run();
  issue(n, kind, run, fua);
}

core::RequestId World::issue(Node& n, Kind kind, SectorRun run, bool fua) {
  ++issued_;
  ++totals_.operations;
  std::uint32_t slot = 0;
  while (ops_[slot].used) ++slot;
  ClientOp& op = ops_[slot];
  std::vector<Clock> floors = std::move(op.floors);
  floors.clear();
  op = ClientOp{};
  op.used = true;
  op.node = static_cast<std::uint8_t>(n.index);
  op.request = ++request_serial_ << 5 | slot;
  op.started = now_;
  op.floors = std::move(floors);
  op.kind = kind;
  op.fua = fua;
  op.run = run;
  op.begun = history_.tick();
  const core::RequestId request = op.request;
  mix(std::uint64_t{op.run.first} << 32 | op.request);
  switch (op.kind) {
    case Kind::read:
      for (std::uint32_t i = 0; i < op.run.count; ++i) op.floors.push_back(history_.floor(op.run.first + i));
      op.buffer = buffers_.allocate(op.run.count);
      buffers_.give_to_core(op.buffer, n.index);
      step(n, core::ClientRead{op.request, bytes(op.run), op.buffer});
      break;
    case Kind::write: {
      op.version = history_.begin_write(op.run, false);
      op.buffer = buffers_.allocate(op.run.count);
      std::vector<Tag>& tags = buffers_.get(op.buffer).tags;
      for (std::uint32_t i = 0; i < op.run.count; ++i) tags[i] = Tag{op.version} << 32 | (op.run.first + i);
      buffers_.give_to_core(op.buffer, n.index);
      step(n, core::ClientWrite{op.request, bytes(op.run), op.buffer, op.fua});
      break;
    }
    case Kind::zero:
      op.version = history_.begin_write(op.run, true);
      step(n, core::ClientZero{op.request, bytes(op.run), op.fua, random_.one_in(2)});
      break;
    case Kind::flush:
      op.acked_before = acked_.size();
      step(n, core::ClientFlush{op.request});
      break;
  }
  return request;
}

void World::on_reply(Node& n, const core::Reply& reply) {
  mix(reply.request ^ static_cast<std::uint64_t>(reply.status) << 40);
  ClientOp& op = ops_[reply.request & 31];
  if (!op.used || op.request != reply.request || op.node != n.index) {
    fail("contract", "reply to a request that is not outstanding: r" + std::to_string(reply.request));
  }
  if (reply.status == Status::cancelled && !op.cancelled) fail("contract", "cancelled without a cancel");
  if (reply.status == Status::ok && n.outranked)
    fail("P12", "a source answers ok after it was told of a higher term");
  if (reply.status == Status::ok && judging_ && other(n).mirror && other(n).export_open) {
    // An open export without a disk and without a peer in its ack set (gone, or paused) only gives errors:
    // that it gives no ok is judged here, too, when it is `n`.
    const core::MirrorSnapshot beside = other(n).mirror->snapshot();
    const bool dead = beside.replica == core::ReplicaState::failed && !beside.in_ack_set;
    if (!dead) fail("P9", "a node answers ok while the other node's export is open too");
  }
  switch (op.kind) {
    case Kind::read:
      finish_read(n, op, reply);
      break;
    case Kind::write:
    case Kind::zero:
      finish_write(n, op, reply.status);
      break;
    case Kind::flush:
      if (reply.status == Status::ok) finish_flush(n, op);
      break;
  }
  op.used = false;
  if (tap_ != nullptr) tap_->replied(n.index, reply);
}

void World::finish_read(Node& n, ClientOp& op, const core::Reply& reply) {
  if (reply.status == Status::ok && judging_) {
    const std::vector<Tag>& tags = buffers_.get(reply.buffer).tags;
    if (tags.size() != op.run.count) fail("contract", "a read's reply brings a buffer of another size");
    for (std::uint32_t i = 0; i < op.run.count; ++i) {
      const std::uint32_t s = op.run.first + i;
      mix(tags[i]);
      if (!history_.readable(s, tags[i], op.floors[i])) {
        fail("P1/P15", "read r" + std::to_string(op.request) + " at node " + "AB"[n.index] + ": " +
                           history_.describe(s, tags[i]) + ", promised " + std::to_string(op.floors[i]));
      }
      history_.observe(s, tags[i], op.begun);
    }
    lose_only_copy(n, op.run);
  }
  if (reply.buffer != 0) buffers_.take_from_core(reply.buffer, n.index, "Reply");
}

void World::finish_write(Node& n, ClientOp& op, Status status) {
  const bool ok = status == Status::ok;
  if (ok && judging_) check_acknowledged(n, op);
  if (ok) count_split_write(n, op);
  const History::Fate fate = ok                            ? History::Fate::acknowledged
                             : status == Status::cancelled ? History::Fate::never
                                                           : History::Fate::unknown;
  history_.end_write(op.version, op.run, op.kind == Kind::zero, fate);
  if (!ok) return;
  if (op.fua && n.policy.mode != core::Mode::async) history_.make_stable(op.version, op.run);
  acked_.push_back({op.version, op.run});
  lose_only_copy(n, op.run);
  if (op.fua && judging_) check_flushed(n, acked_.size() - 1, acked_.size());
}

void World::finish_flush(Node& n, ClientOp& op) {
  if (op.acked_before <= acked_stable_) return;
  if (judging_) check_flushed(n, acked_stable_, op.acked_before);
  for (std::size_t i = acked_stable_; i < op.acked_before; ++i) {
    const SectorRun run = acked_[i].run;
    for (std::uint32_t s = run.first; s < run.first + run.count; ++s) {
      if (i >= given_up_.get(s)) history_.make_stable(acked_[i].version, {s, 1});
    }
  }
  acked_stable_ = op.acked_before;
}

void World::drop_operations(Node& n) {
  for (ClientOp& op : ops_) {
    if (!op.used || op.node != n.index) continue;
    op.used = false;
    if (op.kind == Kind::read || op.kind == Kind::flush) continue;
    history_.end_write(op.version, op.run, op.kind == Kind::zero, History::Fate::unknown);
  }
}

}  // namespace twinblock::sim
