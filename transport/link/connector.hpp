// Dials one address until it succeeds or is told to stop: resolves the name on a pool thread, tries each of
// its addresses with a time limit, then waits for its backoff.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "base/error.hpp"
#include "transport/link/backoff.hpp"
#include "transport/ring/address.hpp"
#include "transport/ring/loop.hpp"

namespace twinblock::link {

struct ConnectorOptions {
  Duration attempt_timeout = Duration::seconds(3);
  BackoffOptions backoff;
  std::uint64_t seed = 1;
};

class Connector;

class ConnectorHandler {
 public:
  virtual ~ConnectorHandler() = default;
  // Owns `fd`, a connected socket in blocking mode. The connector is idle; start() dials again.
  virtual void on_connected(Connector& connector, int fd) = 0;
  // Every address failed; the next round begins after `delay`.
  virtual void on_attempt_failed(Connector&, ErrorCode, Duration /*delay*/) {}
  // After stop(): nothing is in flight. Never from inside stop().
  virtual void on_connector_stopped(Connector&) {}
};

class Connector {
 public:
  Connector(ring::Loop& loop, ConnectorHandler& handler, const ConnectorOptions& options) noexcept
      : loop_{loop}, handler_{handler}, options_{options}, backoff_{options.backoff, options.seed} {}
  // REQUIRES: idle.
  ~Connector();
  Connector(const Connector&) = delete;
  Connector& operator=(const Connector&) = delete;

  // REQUIRES: idle. With `soon` false the first attempt waits for the backoff too: after a session that
  // ended at once.
  void start(const ring::Address& address, bool soon = true);
  // Ends the dialling; on_connector_stopped follows unless it is idle already.
  void stop();
  // The session proved good: the next failure begins with the shortest delay.
  void reset_backoff() noexcept { backoff_.reset(); }
  [[nodiscard]] bool is_idle() const noexcept { return state_ == State::kIdle; }

 private:
  // kIdle -> kResolving -> kConnecting -> kIdle (connected) or kWaiting -> kResolving; any but kIdle ->
  // kStopping -> kIdle.
  enum class State : std::uint8_t { kIdle, kResolving, kConnecting, kWaiting, kStopping };

  void move_to(State next);
  void resolve();
  static int resolve_on_pool(void* context);
  void on_resolved(int result);
  void try_next();
  void on_connect(int result);
  void on_timeout();
  void wait_after(ErrorCode error);
  void close_attempt();
  void on_stopped(int result);

  ring::Loop& loop_;
  ConnectorHandler& handler_;
  ConnectorOptions options_;
  Backoff backoff_;
  State state_ = State::kIdle;
  ring::Address address_;
  std::vector<ring::SocketAddress> candidates_;
  std::size_t next_candidate_ = 0;
  ErrorCode resolve_error_;
  ErrorCode last_error_;
  int fd_ = -1;
  bool timed_out_ = false;
  ring::MethodOp<&Connector::on_resolved> resolve_op_{this};
  ring::MethodOp<&Connector::on_connect> connect_op_{this};
  ring::MethodOp<&Connector::on_stopped> stop_op_{this};
  ring::MethodTimer<Connector, &Connector::on_timeout> timer_{this};
};

}  // namespace twinblock::link
