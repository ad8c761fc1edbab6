// The control API over HTTP/1.1 on a unix socket, and read-only on an optional TCP port. One thread, the
// control thread, runs everything here; the backend is never waited for. A client can be slow, silent, huge
// or hostile: it costs one of a bounded number of connections for a bounded time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "base/units.hpp"
#include "replicator/control/backend.hpp"
#include "replicator/control/event_ring.hpp"

namespace twinblock::control {

struct HttpServerOptions {
  std::string unix_socket{};  // created with mode 0660; a stale one is replaced
  std::string tcp_address{};  // "HOST:PORT" read-only; empty: none; port 0: any free one
  std::string node{};
  std::string daemon_version{};
  std::size_t connections_max{64};                  // per listener; one more is told 503 and closed
  Duration request_timeout{Duration::seconds(10)};  // from the first wait for a request to its last byte
  Duration write_timeout{Duration::seconds(10)};
};

class HttpServer {
 public:
  // Binds, then starts the control thread. errc::kAddressInUse if another daemon answers on the socket;
  // `*problem` says which address failed. REQUIRES: `backend` and `events` outlive the server.
  [[nodiscard]] static Result<std::unique_ptr<HttpServer>> start(const HttpServerOptions& options,
                                                                 ControlBackend& backend, EventRing& events,
                                                                 std::string* problem = nullptr);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Closes all connections, removes the socket file and joins the thread. Callbacks of commands still running
  // may come later and do nothing. Not to be called from the control thread.
  void stop();

  // Runs `work` on the control thread, in the order of the calls; dropped after stop().
  void post(std::function<void()> work);

  // The bound TCP port; 0 if none.
  [[nodiscard]] std::uint16_t tcp_port() const;

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace twinblock::control
