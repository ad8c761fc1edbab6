#include "replicator/engine/nbd_server.hpp"

#include <algorithm>
#include <utility>

#include "replicator/control/log.hpp"

namespace twinblock::engine {
namespace {

constexpr Duration kCheckInterval = Duration::seconds(1);

ring::ListenerOptions listener_options(const NbdServerOptions& options) {
  ring::ListenerOptions result;
  result.connections_max = options.connections_max;
  result.unix_mode = 0660;
  return result;
}

}  // namespace

NbdServer::NbdServer(const ShardContext& shard, BlockExport& block_export, const NbdServerOptions& options)
    : shard_{shard},
      export_{block_export},
      options_{options},
      listener_{shard.loop, *this, listener_options(options)} {}

NbdServer::~NbdServer() {
  TB_ASSERT(!listener_busy_ && connections_.empty());
  shard_.loop.disarm(check_timer_);
  shard_.turn.remove(*this);
}

Result<void> NbdServer::listen(const ring::Address& address) {
  auto listening = listener_.listen(address);
  listener_busy_ = listening.has_value();
  return listening;
}

Result<void> NbdServer::adopt(int fd) {
  auto listening = listener_.adopt(fd);
  listener_busy_ = listening.has_value();
  return listening;
}

std::string NbdServer::address() const {
  return listener_.bound_address().text();
}

void NbdServer::on_accept(ring::Listener&, int fd) {
  NbdConnectionOwner& owner = *this;
  const nbd::ExportCatalog& catalog = *this;
  connections_.push_back(std::make_unique<NbdConnection>(shard_, owner, catalog, nbd::Limits{}, fd));
  if (!check_timer_.armed()) shard_.loop.arm(check_timer_, shard_.loop.now() + kCheckInterval);
}

void NbdServer::on_listener_closed(ring::Listener&) {
  listener_busy_ = false;
  shard_.turn.add(*this);
}

BlockExport* NbdServer::export_of(const nbd::ExportInfo&) {
  return &export_;
}

std::optional<nbd::ExportInfo> NbdServer::find(std::string_view name) const {
  nbd::ExportInfo info = export_.info();
  if (!name.empty() && name != info.name) return std::nullopt;
  return info;
}

void NbdServer::on_connection_finished(NbdConnection&) {
  shard_.turn.add(*this);
}

void NbdServer::on_turn_end() {
  const std::size_t ended =
      std::erase_if(connections_, [](const std::unique_ptr<NbdConnection>& c) { return c->finished(); });
  for (std::size_t i = 0; i < ended; ++i) listener_.connection_ended();
  if (!closing_ || listener_busy_ || !connections_.empty() || !closed_) return;
  std::exchange(closed_, nullptr)();
}

void NbdServer::on_check() {
  for (const auto& connection : connections_) {
    connection->check_deadlines(shard_.loop.now(), options_.handshake_max, options_.stall_max);
  }
  if (!connections_.empty()) shard_.loop.arm(check_timer_, shard_.loop.now() + kCheckInterval);
}

std::size_t NbdServer::client_count() const {
  return static_cast<std::size_t>(
      std::count_if(connections_.begin(), connections_.end(),
                    [](const std::unique_ptr<NbdConnection>& connection) { return connection->serving(); }));
}

void NbdServer::drop_clients() {
  for (const auto& connection : connections_) connection->stop();
}

void NbdServer::close(std::function<void()> closed) {
  TB_ASSERT(!closing_);
  closing_ = true;
  closed_ = std::move(closed);
  if (listener_busy_) listener_.close();
  drop_clients();
  shard_.turn.add(*this);
}

void NbdServer::abort() {
  TB_ASSERT(closing_);
  for (const auto& connection : connections_) connection->abort();
}

}  // namespace twinblock::engine
