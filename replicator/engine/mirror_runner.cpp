#include "replicator/engine/mirror_runner.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/assert.hpp"
#include "base/overloaded.hpp"
#include "replicator/control/config.hpp"
#include "replicator/control/log.hpp"

namespace twinblock::engine {
namespace {

constexpr std::size_t kMetaAlignment = 4096;

core::BufferId id_of(ring::BufferHandle handle) {
  return handle.value();
}
ring::BufferHandle handle_of(core::BufferId id) {
  return ring::BufferHandle{id};
}

// The "key=value" lines of a hello.
std::vector<control::ConfigField> fields_of(std::string_view text) {
  std::vector<control::ConfigField> fields;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    fields.push_back({std::string{line.substr(0, equals)}, std::string{line.substr(equals + 1)}});
  }
  return fields;
}

}  // namespace

MirrorRunner::MirrorRunner(const ShardContext& shard, PeerRouter& router, RunnerPlan plan, Backing& backing,
                           RunnerCallbacks callbacks)
    : shard_{shard},
      plan_{std::move(plan)},
      backing_{backing},
      callbacks_{std::move(callbacks)},
      core_{plan_.core, backing.recovered},
      pieces_{plan_.core.client_ops_max},
      disk_{shard, *backing.data, *this, plan_.disk_timeout},
      link_{shard, router, *this, plan_.link},
      server_{shard, *this, NbdServerOptions{}},
      buffer_owner_{shard.arena.add_owner()} {
  backing_.data->attach(shard_.loop);
  backing_.metadata->attach(shard_.loop);
}

MirrorRunner::~MirrorRunner() {
  TB_ASSERT(pieces_.taken() == 0 && disk_.idle() && free_meta_ops_.size() == meta_ops_.size());
  shard_.loop.disarm(timer_);
  shard_.turn.remove(*this);
  shard_.waiters.remove(*this);
  shard_.arena.remove_owner(buffer_owner_);
  backing_.data->detach();
  backing_.metadata->detach();
}

Result<void> MirrorRunner::start() {
  busy_ = true;
  core_.start(shard_.loop.now(), outputs_);
  carry_out();
  busy_ = false;
  shard_.turn.add(*this);
  auto listening = listen();
  server_open_ = listening.has_value();
  return listening;
}

// Whoever adopts a descriptor closes it at the end. systemd's socket must outlive that, for the next `up` of
// the mirror: the number alone would by then name nothing, or somebody else's listener.
Result<void> MirrorRunner::listen() {
  if (plan_.nbd_fd < 0) return server_.listen(plan_.nbd);
  const int fd = fcntl(plan_.nbd_fd, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return system_error(errno);
  auto listening = server_.adopt(fd);
  if (!listening) ::close(fd);
  return listening;
}

void MirrorRunner::command(const core::Command& command) {
  feed(core::ClientsPresent{client_count() > 0});
  feed(command);
}

void MirrorRunner::close(std::function<void()> closed) {
  TB_ASSERT(!closed_);
  closed_ = std::move(closed);
  link_.shut_down();
  server_.close([this] {
    server_closed_ = true;
    shard_.turn.add(*this);
  });
  shard_.turn.add(*this);
}

// Looked at again at the end of turns: whatever ends (a disk operation, a link) makes one.
void MirrorRunner::check_closed() {
  if (!closed_) return;
  const bool quiet = server_closed_ && link_.closed() && disk_.idle() &&
                     free_meta_ops_.size() == meta_ops_.size() && deferred_.empty();
  if (quiet) {
    std::exchange(closed_, nullptr)();
  } else {
    shard_.loop.arm(timer_, shard_.loop.now() + Duration::milliseconds(10));
  }
}

// --- the core ---

void MirrorRunner::feed(const core::Input& input) {
  if (busy_) {
    TB_ASSERT(!std::holds_alternative<core::MessageIn>(input));  // its body would be gone
    deferred_.push_back(input);
    return;
  }
  step(input);
  while (!deferred_.empty()) {
    const core::Input next = deferred_.front();
    deferred_.pop_front();
    step(next);
  }
  shard_.turn.add(*this);
}

void MirrorRunner::step(const core::Input& input) {
  busy_ = true;
  core_.step(shard_.loop.now(), input, outputs_);
  carry_out();
  busy_ = false;
}

void MirrorRunner::carry_out() {
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    std::visit([this](const auto& output) { carry(output); }, outputs_[i]);
  }
  outputs_.clear();
}

void MirrorRunner::on_turn_end() {
  busy_ = true;
  core_.turn_end(shard_.loop.now(), outputs_);
  carry_out();
  busy_ = false;
  if (!deferred_.empty()) {
    const core::Input next = deferred_.front();
    deferred_.pop_front();
    feed(next);  // and the rest; asks for another end of the turn
    return;
  }
  rearm();
  check_closed();
}

void MirrorRunner::rearm() {
  const Instant at = std::min({core_.next_deadline(), disk_.next_expiry(), next_metadata_expiry()});
  if (at == Instant::never()) {
    shard_.loop.disarm(timer_);
  } else {
    shard_.loop.arm(timer_, at);
  }
}

void MirrorRunner::on_timer() {
  disk_.expire(shard_.loop.now());
  expire_metadata(shard_.loop.now());
  feed(core::Tick{});
}

// --- carrying out ---

void MirrorRunner::carry(const core::DiskIo& io) {
  if (io.verb == core::DiskVerb::read && io.buffer == 0) {
    if (waiting_reads_.empty() && start_read(io)) return;
    waiting_reads_.push_back(io);
    shard_.waiters.add(*this);
    return;
  }
  disk_.start({io.verb, io.fua, io.may_unmap, io.op, io.range, handle_of(io.buffer), io.look});
}

bool MirrorRunner::start_read(const core::DiskIo& io) {
  const ring::BufferHandle buffer = shard_.arena.allocate(io.range.length, ring::BufferUser::kResync);
  if (buffer == ring::kNoBuffer) return false;
  disk_.start({io.verb, false, false, io.op, io.range, buffer, io.look});
  return true;  // the reference goes to the core with the completion
}

void MirrorRunner::on_resources() {
  while (!waiting_reads_.empty()) {
    if (!start_read(waiting_reads_.front())) {
      shard_.waiters.add(*this);
      return;
    }
    waiting_reads_.pop_front();
  }
}

void MirrorRunner::on_disk_done(core::OpId id, int error, ring::BufferHandle buffer,
                                const core::Digest& digest) {
  if (error != 0) {
    control::log_error("disk.error", "an operation on the data disk failed",
                       {{"mirror", mirror()}, {"error", std::strerror(error)}});
  }
  feed(core::DiskDone{id, error, id_of(buffer), digest});
}

void MirrorRunner::carry(const core::MetaWrite& write) {
  if (free_meta_ops_.empty()) {
    meta_ops_.push_back(std::make_unique<MetaOp>(*this));
    free_meta_ops_.push_back(meta_ops_.back().get());
  }
  MetaOp& op = *free_meta_ops_.back();
  free_meta_ops_.pop_back();
  op.id = write.op;
  op.given_up = false;
  if (plan_.disk_timeout > Duration{}) op.due = shard_.loop.now() + plan_.disk_timeout;
  op.size = write.bytes.size();
  std::span<const std::byte> bytes = write.bytes;
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % kMetaAlignment != 0) {
    if (op.capacity < bytes.size()) {
      op.copy.reset(static_cast<std::byte*>(std::aligned_alloc(kMetaAlignment, bytes.size())));
      TB_ASSERT(op.copy != nullptr);
      op.capacity = bytes.size();
    }
    std::memcpy(op.copy.get(), bytes.data(), bytes.size());
    bytes = {op.copy.get(), bytes.size()};
  }
  backing_.metadata->write(op.op, bytes, ByteOffset{write.block * bitmap::kBlockSize},
                           ring::Durability::kStable);
}

void MirrorRunner::on_meta_done(MetaOp& op, int result) {
  const core::OpId id = op.id;
  int error = result < 0 ? -result : 0;
  if (error == 0 && static_cast<std::size_t>(result) < op.size) error = EIO;
  op.due = Instant::never();
  free_meta_ops_.push_back(&op);
  if (op.given_up) {  // the core knows it as failed
    --meta_given_up_;
    shard_.turn.add(*this);
    return;
  }
  if (error != 0) return meta_failed(id, error);
  feed(core::MetaDone{id, 0});
}

void MirrorRunner::meta_failed(core::OpId id, int error) {
  control::log_error("metadata.error", "a metadata write failed",
                     {{"mirror", mirror()}, {"error", std::strerror(error)}});
  feed(core::MetaDone{id, error});
}

// Without a limit a metadata device that hangs would hold every write whose intent is not durable, and nobody
// would be told (P13). What was given up may still land: it is what the core wanted there, its bytes stay as
// they are since a core whose metadata failed writes none any more, and the locks are held until it is back.
void MirrorRunner::expire_metadata(Instant now) {
  for (std::size_t i = 0; i < meta_ops_.size(); ++i) {  // feeding the core may add some
    MetaOp& op = *meta_ops_[i];
    if (op.due > now) continue;
    op.due = Instant::never();
    op.given_up = true;
    ++meta_given_up_;
    meta_failed(op.id, ETIMEDOUT);
  }
}

Instant MirrorRunner::next_metadata_expiry() const {
  Instant first = Instant::never();
  for (const auto& op : meta_ops_) first = std::min(first, op->due);
  return first;
}

void MirrorRunner::carry(const core::Send& send) {
  link_.send(send.link, {send.header, send.body, handle_of(send.payload)});
}

void MirrorRunner::carry(const core::CloseLink& close) {
  link_.close_link(close.link);
}

void MirrorRunner::carry(const core::SetLinkWanted& wanted) {
  link_.set_wanted(wanted.wanted);
}

void MirrorRunner::carry(const core::Reply& reply) {
  const PieceTable::Owner owner = pieces_.finish(reply.request);
  shard_.waiters.note_freed();
  const bool read = owner.verb == PieceVerb::kRead;
  owner.client->on_piece_done(owner.token, reply.status, read ? handle_of(reply.buffer) : ring::kNoBuffer);
}

void MirrorRunner::carry(const core::ReleaseBuffer& release) {
  shard_.arena.release(handle_of(release.buffer));
}

void MirrorRunner::carry(const core::ExportState& state) {
  export_open_ = state.open;
  if (!state.open) server_.drop_clients();
}

void MirrorRunner::carry(const core::CommandDone& done) {
  callbacks_.command_done(done.id, done.refusal);
}

void MirrorRunner::carry(const core::Event& event) {
  callbacks_.event(event);
}

// --- the link ---

void MirrorRunner::on_link_up(core::LinkId link) {
  feed(core::LinkUp{link});
}

void MirrorRunner::on_link_down(core::LinkId link) {
  feed(core::LinkDown{link});
}

void MirrorRunner::on_link_message(core::LinkId link, const wire::Header& header,
                                   std::span<const std::byte> body, ring::BufferHandle payload) {
  if (header.type == wire::Type::hello) compare_config(body);
  if (header.type == wire::Type::switchover_request) feed(core::ClientsPresent{client_count() > 0});
  feed(core::MessageIn{link, header, body, id_of(payload)});
}

// The core refuses a peer whose configuration differs; here is in what, for people.
void MirrorRunner::compare_config(std::span<const std::byte> body) {
  const auto hello = wire::decode_hello(body);
  config_difference_.clear();
  if (!hello || hello->config_text == plan_.core.config_text) return;
  for (const std::string& line :
       control::config_differences(fields_of(plan_.core.config_text), fields_of(hello->config_text))) {
    config_difference_ += (config_difference_.empty() ? "" : "; ") + line;
  }
  control::log_error("peer.config_differs", config_difference_, {{"mirror", mirror()}});
}

std::uint64_t MirrorRunner::known_peer_identity() const {
  return core_.superblock().peers[plan_.core.peer.value()].identity;
}

// --- the export ---

nbd::ExportInfo MirrorRunner::info() const {
  const bitmap::Geometry& geometry = core_.superblock().geometry;
  nbd::ExportInfo info;
  info.name = mirror();
  info.description = "mirror " + mirror();
  info.size = geometry.size;
  info.block_size_min = ByteCount{geometry.logical_block_size};
  info.features.rotational = backing_.data->properties().rotational;
  if (!export_open_) {
    info.refusal = "mirror " + mirror() + " is not source on this node; connect to the source (perhaps " +
                   plan_.peer_name + ")";
    const bool hopeless = core_.snapshot().promote_refusal == core::Refusal::no_peer_data;
    if (!hopeless) info.refusal += ", or promote this node: twinblock promote " + mirror();
  }
  return info;
}

std::optional<PieceId> MirrorRunner::submit(const Piece& piece, PieceClient& client, std::uint32_t token) {
  const auto id = pieces_.take({&client, token, piece.verb});
  if (!id) return std::nullopt;
  switch (piece.verb) {
    case PieceVerb::kRead:
      feed(core::ClientRead{*id, piece.range, id_of(piece.buffer)});
      break;
    case PieceVerb::kWrite:
      feed(core::ClientWrite{*id, piece.range, id_of(piece.buffer), piece.fua});
      break;
    case PieceVerb::kZero:
      feed(core::ClientZero{*id, piece.range, piece.fua, piece.may_unmap});
      break;
    case PieceVerb::kFlush:
      feed(core::ClientFlush{*id});
      break;
  }
  return id;
}

void MirrorRunner::cancel(PieceId id) {
  if (pieces_.is_taken(id)) feed(core::ClientCancel{id});
}

void MirrorRunner::dirty_extents(ByteRange range, std::size_t count_max,
                                 std::vector<nbd::StatusExtent>& out) const {
  const bitmap::Geometry& geometry = core_.superblock().geometry;
  const bitmap::DirtyMap& dirty = core_.dirty();
  const std::uint64_t end = range.end().value();
  std::uint64_t at = range.offset.value();
  while (at < end && out.size() < count_max) {
    const auto run = dirty.next_dirty(geometry.region_of(ByteOffset{at}), dirty.region_count());
    const std::uint64_t dirty_from = run ? std::max(at, run->first.value() * geometry.region_size) : end;
    if (dirty_from > at) {
      const std::uint64_t clean_to = std::min(dirty_from, end);
      out.push_back({ByteCount{clean_to - at}, 0});
      at = clean_to;
      continue;
    }
    const std::uint64_t dirty_to = std::min(end, (run->first.value() + run->count) * geometry.region_size);
    out.push_back({ByteCount{dirty_to - at}, nbd::kDirtyBit});
    at = dirty_to;
  }
}

}  // namespace twinblock::engine
