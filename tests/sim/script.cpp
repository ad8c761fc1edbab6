#include "tests/sim/script.hpp"

#include <algorithm>
#include <cstring>

#include "bitmap/codec.hpp"
#include "bitmap/decode.hpp"
#include "bitmap/layout.hpp"

namespace twinblock::sim {

using core::Status;

namespace {

constexpr std::uint32_t kPlaysMax = 2'000'000;

bool later(const Event& x, const Event& y) {
  return x.time != y.time ? x.time > y.time : x.serial > y.serial;
}

}  // namespace

std::vector<NamedScenario>& named_scenarios() {
  static std::vector<NamedScenario> all;
  return all;
}

Scenario plain_setup() {
  Scenario s;
  s.geometry.size = ByteCount{8 * kExtentSize.value()};
  s.geometry.region_size = 64u << 10;
  s.geometry.hot_extents = 8;
  s.hot_spots = 0;
  s.spot_sectors = 256;
  s.large_per_mille = 0;
  const auto extent = static_cast<std::uint32_t>(kExtentSize.value() / kSectorBytes);
  for (const std::uint32_t e : {0u, 2u, 5u}) s.spots.push_back(e * extent);
  s.policy.peer_timeout = Duration::milliseconds(500);
  s.intent_age_max = Duration::milliseconds(100);
  return s;
}

void Case::play(const Scenario& setup, const std::function<void(Script&)>& story) {
  ++plays_;
  Script s{*this, setup};
  story(s);
  s.finish();
}

void Case::each(const Scenario& setup, const std::function<bool(Script&, std::uint32_t)>& story) {
  const std::string before = at_;
  for (std::uint32_t i = 0;; ++i) {
    if (i == kPlaysMax) fail("script", "the cases do not end");
    at(before + "case " + std::to_string(i));
    ++plays_;
    Script s{*this, setup};
    const bool more = story(s, i);
    s.finish();
    if (!more) break;
  }
  at_ = before;
}

void Case::every_order(Scenario setup, const std::function<void(Script&)>& story) {
  setup.latency_ns = setup.write_ns = setup.flush_ns = 0;
  const std::string before = at_;
  Chooser chooser;
  std::uint32_t order = 0;
  do {
    if (order == kPlaysMax) fail("script", "the orders do not end");
    at(before + "order " + std::to_string(order++));
    ++plays_;
    Script s{*this, setup, &chooser};
    story(s);
    s.finish();
  } while (chooser.advance());
  at_ = before;
}

Script::Script(Case& c, const Scenario& setup, Chooser* chooser)
    : case_{c},
      world_{c.seed(), setup, c.trace_, this},
      a{world_.nodes_[0]},
      b{world_.nodes_[1]},
      chooser_{chooser} {
  if (c.trace_ != nullptr) c.trace_->add(0, kNone, "######## " + c.at());
}

// ------------------------------------------------------------------------------------------------- time

void Script::start() {
  world_.genesis();
  world_.phase_ = World::Phase::faults;
  resynced_bytes = messages = 0;
  seen_.clear();
}

void Script::run(std::int64_t nanoseconds) {
  world_.run_until(world_.now_ + nanoseconds);
}

bool Script::step() {
  if (world_.events_.empty()) return false;
  std::pop_heap(world_.events_.begin(), world_.events_.end(), later);
  const Event e = world_.events_.back();
  world_.events_.pop_back();
  world_.now_ = e.time;
  ++world_.totals_.events;
  world_.handle(e);
  return true;
}

void Script::steps(std::uint32_t count) {
  for (std::uint32_t i = 0; i < count && step(); ++i) {
  }
}

void Script::until(const char* what, const std::function<bool()>& condition, std::int64_t limit) {
  const std::int64_t end = world_.now_ + limit;
  while (!condition()) {
    if (world_.now_ > end || !step()) expect(false, std::string{"it never comes to this: "} + what);
  }
}

void Script::settle() {
  until(
      "both equal, clean and idle without help", [&] { return quiet(); }, 240 * kSecond);
}

void Script::finish() {
  release();
  if (world_.excused_) return;
  world_.heal();
  expect(!world_.excused_ || no_good_copy_left, "no good copy is left");
  world_.final_checks();
  world_.phase_ = World::Phase::faults;
  case_.digest_ = (case_.digest_ ^ world_.digest()) * 0x9e3779b97f4a7c15u;
}

// Everything that is due now may come next; a turn ends, and metadata lands, before anything else happens.
void Script::explore(const std::function<bool()>& end) {
  if (chooser_ == nullptr) fail("script", "explore() outside every_order()");
  std::vector<std::size_t> due;
  std::vector<Event>& events = world_.events_;
  for (std::uint32_t i = 0; !end(); ++i) {
    if (i > 100'000) fail("script", "an exploration does not end");
    due.clear();
    bool turn = false;
    for (std::size_t e = 0; e < events.size(); ++e) {
      if (events[e].time > world_.now_) continue;
      const bool ends_turn = events[e].type == EventType::turn_end || events[e].type == EventType::meta_done;
      if (ends_turn && !turn) due.clear();
      turn = turn || ends_turn;
      if (!turn || ends_turn) due.push_back(e);
    }
    if (due.empty()) {
      if (!step()) return;
      continue;
    }
    std::sort(due.begin(), due.end(), [&](auto x, auto y) { return events[x].serial < events[y].serial; });
    const std::uint32_t taken =
        turn || due.size() == 1 ? 0 : chooser_->choose(static_cast<std::uint32_t>(due.size()));
    const std::size_t at = due[taken];
    const Event e = events[at];
    events.erase(events.begin() + static_cast<std::ptrdiff_t>(at));
    std::make_heap(events.begin(), events.end(), later);
    ++world_.totals_.events;
    world_.handle(e);
  }
}

// ---------------------------------------------------------------------------------------------- clients

core::RequestId Script::write(Node& n, SectorRun run, bool fua) {
  return world_.issue(n, ClientOp::Kind::write, run, fua);
}
core::RequestId Script::zero(Node& n, SectorRun run) {
  return world_.issue(n, ClientOp::Kind::zero, run, false);
}
core::RequestId Script::read(Node& n, SectorRun run) {
  return world_.issue(n, ClientOp::Kind::read, run, false);
}
core::RequestId Script::flush(Node& n) {
  return world_.issue(n, ClientOp::Kind::flush, {}, false);
}

void Script::load(std::uint32_t requests) {
  const std::int64_t end = world_.now_ + 60 * kSecond;
  while (requests > 0 && world_.now_ < end) {
    Node* source = world_.source();
    if (source != nullptr && !source->stopped &&
        world_.operations_running() < world_.scenario_.in_flight_max) {
      world_.issue(*source);
      --requests;
    }
    if (world_.random_.one_in(2)) run(world_.jitter(world_.scenario_.think_ns));
  }
}

std::optional<Status> Script::answer(core::RequestId request) const {
  for (const auto& [id, status] : answers_) {
    if (id == request) return status;
  }
  return std::nullopt;
}

Status Script::wait(core::RequestId request) {
  until("the request is answered", [&] { return answer(request).has_value(); });
  return *answer(request);
}

void Script::must(core::RequestId request) {
  const Status got = wait(request);
  expect(got == Status::ok, "a request is answered with status " + std::to_string(static_cast<int>(got)));
}

void Script::read_all() {
  until("an export is open", [&] { return world_.source() != nullptr; });
  Node& n = *world_.source();
  for (const std::uint32_t spot : world_.spots_) {
    must(read(n, {spot, world_.scenario_.spot_sectors}));
  }
}

void Script::lag() {
  partition();
  until("the link is lost", [&] { return status(a).link == core::LinkState::down; });
  for (const SectorRun run : {SectorRun{0, 64}, {kRegion - 4, 8}, {2 * kExtent + 100, 8}, {5 * kExtent, 16}})
    must(write(a, run));
  must(zero(a, {2 * kExtent, 40}));
  must(write(a, {kExtent + 8, 8}));
}

void Script::drain() {
  until("every request is answered", [&] { return world_.operations_running() == 0; });
}

// ----------------------------------------------------------------------------------------------- faults

void Script::release() {
  on_disk = nullptr;
  on_metadata = nullptr;
  on_message = nullptr;
  for (const Held& h : held_) {
    Node& n = world_.nodes_[static_cast<std::size_t>(h.node)];
    if (n.life != h.life || n.mirror == nullptr) continue;
    world_.push(0, h.metadata ? EventType::meta_done : EventType::disk_done, h.node, h.slot);
  }
  held_.clear();
}

void Script::kill(Node& n) {
  if (n.mirror != nullptr) world_.crash(n, false);
}
void Script::power_cut(Node& n) {
  if (n.mirror != nullptr) world_.crash(n, true);
}
void Script::power_cut_all() {
  const std::size_t first = world_.random_.below(2);
  power_cut(world_.nodes_[first]);
  power_cut(world_.nodes_[1 - first]);
}
void Script::boot(Node& n) {
  if (n.mirror == nullptr) world_.start_node(n);
}
void Script::cut() {
  world_.cut_link();
}
void Script::partition() {
  world_.network_blocked_ = true;
  for (Node& n : world_.nodes_) {
    world_.network_.clear(n.index);
    world_.link_down(n, 0);
  }
}
void Script::isolate_silently() {
  world_.network_blocked_ = true;
  for (Network::Direction& d : world_.network_.directions) d.stalled = true;
}
void Script::mend() {
  world_.network_blocked_ = false;
  for (int from = 0; from < 2; ++from) {
    Network::Direction& d = world_.network_.directions[static_cast<std::size_t>(from)];
    d.stalled = d.large_stall = false;
    world_.schedule_delivery(from);
  }
}

void Script::stall(Node& n) {
  world_.network_.directions[world_.index(n)].stalled = true;
}
void Script::close_at(Node& n) {
  world_.link_down(n, 0);
  world_.link_down(world_.other(n), kMillisecond);
}

void Script::forge(Captured& m, const std::vector<Captured>& seen) {
  for (const Captured& s : seen) {
    const wire::Type type = s.header.type;
    if (s.from != m.from ||
        (type != wire::Type::write && type != wire::Type::zero && type != wire::Type::flush))
      continue;
    m.header.session = s.header.session;
    m.header.handle = s.header.handle + 1;
    m.header.sequence = s.header.sequence + 1;
    m.header.term = s.header.term;
  }
}

void Script::inject(const Captured& m) {
  const std::uint32_t at = world_.network_.allocate();
  Message& message = world_.network_.message(at);
  message.body = m.body;
  if (!m.tags.empty()) {
    message.payload = world_.buffers_.allocate(static_cast<std::uint32_t>(m.tags.size()));
    world_.buffers_.get(message.payload).tags = m.tags;
    world_.buffers_.reference(message.payload);
  }
  wire::encode_header(m.header, message.header);
  Network::Direction& d = world_.network_.directions[static_cast<std::size_t>(m.from)];
  message.due = std::max(d.last_due, world_.now_);
  if (d.empty()) {
    d.queue.clear();
    d.head = 0;
  }
  d.queue.push_back(at);
  world_.schedule_delivery(m.from);
}

void Script::new_replica(Node& n) {
  if (n.mirror != nullptr) world_.crash(n, true);
  n.disk.cells().for_each([&](std::uint32_t s, DataDisk::Cell&) {
    n.disk.fill(s, Tag{world_.history_.garbage_version()} << 32 | s);
  });
  world_.create(n, false);
  n.at_risk.clear();
}

void Script::wait_down(Node& n) {
  until("the node has stopped", [&] { return n.mirror == nullptr; });
}

void Script::tear_metadata(Node& n, std::uint64_t block, std::size_t bytes_landed) {
  n.meta.land_prefix(block, bytes_landed);
}

bool Script::fails_recovery(Node& n) {
  return !bitmap::recover(n.meta.area()).has_value();
}

void Script::edit_superblock(Node& n, const std::function<void(bitmap::Superblock&)>& edit) {
  bitmap::Superblock sb = n.meta.superblock();
  edit(sb);
  n.meta.format(sb);
}

void Script::lie_metadata(Node& n) {
  if (n.meta.lie(world_.random_)) world_.check_marks("after a metadata write that did not land");
}

void Script::fix_checksum(Node& n, std::size_t block) {
  const std::span<std::byte> area{n.meta.area()};
  const bitmap::Block bytes = bitmap::mutable_block_at(area, bitmap::BlockIndex{block});
  bitmap::put(bytes, bitmap::layout::kChecksum, bitmap::block_checksum(bytes));
}

std::vector<std::uint64_t> Script::marks(const Node& n) const {
  const std::uint64_t regions = world_.scenario_.geometry.region_count();
  std::vector<std::uint64_t> words((regions + 63) / 64);
  for (std::uint64_t r = 0; r < regions; ++r) {
    const auto extent =
        static_cast<std::uint32_t>(r * world_.scenario_.geometry.region_size / kExtentSize.value());
    const bool marked = n.meta.needs_full() || n.meta.bit(r) || n.meta.hot(extent);
    words[r / 64] |= std::uint64_t{marked} << (r % 64);
  }
  return words;
}

Script::Backup Script::backup(Node& n) {
  Backup saved{.metadata = n.meta.area(), .content = {}};
  n.disk.cells().for_each([&](std::uint32_t s, DataDisk::Cell& c) {
    if (c.durable != 0) saved.content.emplace_back(s, c.durable);
  });
  return saved;
}

// Nobody can know before they meet: until then no mark is demanded.
void Script::restore(Node& n, const Backup& saved) {
  n.disk.clear();
  for (const auto& [sector, tag] : saved.content) n.disk.fill(sector, tag);
  n.meta.area() = saved.metadata;
  n.meta.recover();
  n.rolled_back = true;
  n.at_risk.clear();
}

void Script::lose_data_since(Node& n, const Backup& saved) {
  n.disk.clear();
  for (const auto& [sector, tag] : saved.content) n.disk.fill(sector, tag);
  n.rolled_back = true;
  n.at_risk.clear();
}

// -------------------------------------------------------------------------------------------- operators

void Script::ask(Node& n, core::Verb verb, CommandOptions options) {
  if (options.force) n.forced = true;
  world_.command(n, verb, options.force, options.confirm_dead, options.full);
}

core::Refusal Script::command(Node& n, core::Verb verb, CommandOptions options) {
  if (options.force) n.forced = true;
  const std::uint32_t life = n.life;
  const std::uint32_t before = world_.command_serial_;
  world_.command(n, verb, options.force, options.confirm_dead, options.full);
  expect(world_.command_serial_ == before + 1, "the command could not be given");
  const core::CommandId id = world_.command_serial_;
  const core::Refusal* refusal = nullptr;
  const auto answered = [&] {
    for (const auto& [command, why] : commands_) {
      if (command == id) refusal = &why;
    }
    return refusal != nullptr || n.life != life;
  };
  until("the command is answered", answered);
  if (options.force && refusal != nullptr && *refusal != core::Refusal::none) n.forced = false;
  return refusal == nullptr ? core::Refusal::none : *refusal;
}

void Script::promote(Node& n, CommandOptions options) {
  if (options.confirm_dead &&
      world_.other(n).mirror == nullptr) {  // it notices by itself that nobody is there
    until("the link is lost", [&] { return status(n).link != core::LinkState::connected; });
  }
  const core::Refusal why = command(n, core::Verb::promote, options);
  expect(why == core::Refusal::none && n.export_open, "promotion refused: " + std::string{name(why)});
}

void Script::set_policy(const core::Policy& policy) {
  for (Node& n : world_.nodes_) {
    n.policy = policy;
    if (n.mirror != nullptr) command(n, core::Verb::set_policy);
  }
}

// --------------------------------------------------------------------------------------------- demanded

void Script::expect(bool condition, const std::string& what) {
  if (!condition) fail("outcome", what + "\n" + world_.state_text());
}

std::uint32_t Script::count(const Node& n, core::EventKind kind) const {
  return static_cast<std::uint32_t>(std::count_if(
      seen_.begin(), seen_.end(), [&](const Seen& s) { return s.node == n.index && s.event.kind == kind; }));
}

std::uint32_t Script::resync_reads(const Node& n) const {
  std::uint32_t reads = 0;
  for (std::uint32_t i = 0; i < n.disk.slot_count(); ++i) {
    const DataDisk::Op& op = n.disk.op(i);
    reads += op.used && op.io.verb == core::DiskVerb::read && op.io.buffer == 0 ? 1 : 0;
  }
  return reads;
}

std::uint64_t Script::last(const Node& n, core::EventKind kind) const {
  std::uint64_t field = 0;
  for (const Seen& s : seen_) {
    if (s.node == n.index && s.event.kind == kind) field = s.event.a;
  }
  return field;
}

// -------------------------------------------------------------------------------------------------- tap

int Script::disk_done(int node, std::uint32_t slot) {
  const Node& n = world_.nodes_[static_cast<std::size_t>(node)];
  const DataDisk::Op& op = n.disk.op(slot);
  const int verdict = on_disk ? on_disk(n, op) : 0;
  if (verdict == kHold) held_.push_back({node, n.life, slot, false});
  const bool writes = op.io.verb == core::DiskVerb::write || op.io.verb == core::DiskVerb::zero;
  if (verdict == 0 && writes) ++disk_writes_[static_cast<std::size_t>(node)];
  return verdict;
}

int Script::meta_done(int node, std::uint32_t slot) {
  const Node& n = world_.nodes_[static_cast<std::size_t>(node)];
  const int verdict = on_metadata ? on_metadata(n, n.meta.op(slot).io) : 0;
  if (verdict == kHold) held_.push_back({node, n.life, slot, true});
  return verdict;
}

bool Script::sent(int node, const core::Send& send) {
  ++messages;
  const bool resync = (send.header.flags & wire::kResync) != 0;
  if (resync && (send.header.type == wire::Type::write || send.header.type == wire::Type::zero))
    resynced_bytes += send.header.length;
  if (record != nullptr) {
    Captured m{.from = node, .header = send.header, .body = {send.body.begin(), send.body.end()}, .tags = {}};
    if (!m.body.empty()) m.header.aux = wire::payload_hash(m.body);
    if (send.payload != 0) m.tags = world_.buffers_.get(send.payload).tags;
    record->push_back(std::move(m));
  }
  return !on_message || on_message(world_.nodes_[static_cast<std::size_t>(node)], send.header);
}

void Script::event(int node, const core::Event& event) {
  seen_.push_back({node, event});
}
void Script::replied(int, const core::Reply& reply) {
  answers_.emplace_back(reply.request, reply.status);
}
void Script::command_done(int, const core::CommandDone& done) {
  commands_.emplace_back(done.id, done.refusal);
}

}  // namespace twinblock::sim
