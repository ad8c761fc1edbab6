// The NBD front end of one export: its listener and its connections. It listens as long as the mirror is up;
// whether the export is open is the handshake's answer, so that a client of a target gets a sentence instead
// of a refused connection.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "replicator/engine/export.hpp"
#include "replicator/engine/nbd_connection.hpp"
#include "replicator/engine/shard_context.hpp"
#include "transport/ring/listener.hpp"

namespace twinblock::engine {

struct NbdServerOptions {
  std::uint32_t connections_max = 64;
  Duration handshake_max = Duration::seconds(10);
  Duration stall_max = Duration::seconds(120);  // no progress of answers, or of a write's data
};

class NbdServer final : private ring::ListenerHandler,
                        private NbdConnectionOwner,
                        private nbd::ExportCatalog,
                        private TurnMember {
 public:
  NbdServer(const ShardContext& shard, BlockExport& block_export, const NbdServerOptions& options);
  // REQUIRES: closed.
  ~NbdServer() override;
  NbdServer(const NbdServer&) = delete;
  NbdServer& operator=(const NbdServer&) = delete;

  Result<void> listen(const ring::Address& address);
  Result<void> adopt(int fd);
  [[nodiscard]] std::string address() const;

  // The export closed: finishes what runs, ends all connections, goes on listening.
  void drop_clients();
  // Stops listening, finishes what runs, ends all connections; then calls `closed`, from a turn's end. The
  // server may be destroyed from there on, though not from inside.
  void close(std::function<void()> closed);
  // Does not wait for clients to take their answers. REQUIRES: close() was called.
  void abort();
  // Connections that hold the export open; who only asks what there is does not count.
  [[nodiscard]] std::size_t client_count() const;

 private:
  void on_accept(ring::Listener& listener, int fd) override;
  void on_listener_closed(ring::Listener& listener) override;
  BlockExport* export_of(const nbd::ExportInfo& info) override;
  void on_connection_finished(NbdConnection& connection) override;
  void on_turn_end() override;
  [[nodiscard]] std::size_t count() const override { return 1; }
  [[nodiscard]] nbd::ExportInfo at(std::size_t) const override { return export_.info(); }
  [[nodiscard]] std::optional<nbd::ExportInfo> find(std::string_view name) const override;
  void on_check();

  ShardContext shard_;
  BlockExport& export_;
  NbdServerOptions options_;
  ring::Listener listener_;
  bool listener_busy_ = false;
  bool closing_ = false;
  std::function<void()> closed_;
  std::vector<std::unique_ptr<NbdConnection>> connections_;
  ring::MethodTimer<NbdServer, &NbdServer::on_check> check_timer_{this};
};

}  // namespace twinblock::engine
