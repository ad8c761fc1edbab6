#include "transport/link/connector.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "base/assert.hpp"
#include "transport/ring/error.hpp"

namespace twinblock::link {

using ring::errc;

Connector::~Connector() {
  TB_ASSERT(state_ == State::kIdle);
}

void Connector::move_to(State next) {
  bool legal = false;
  switch (state_) {
    case State::kIdle:
      legal = next == State::kResolving || next == State::kWaiting;
      break;
    case State::kResolving:
      legal = next != State::kIdle && next != State::kResolving;
      break;
    case State::kConnecting:
      legal = next == State::kIdle || next == State::kWaiting || next == State::kStopping;
      break;
    case State::kWaiting:
      legal = next == State::kResolving || next == State::kStopping;
      break;
    case State::kStopping:
      legal = next == State::kIdle;
      break;
  }
  TB_ASSERT(legal);
  state_ = next;
}

void Connector::start(const ring::Address& address, bool soon) {
  address_ = address;
  if (soon) {
    resolve();
  } else {
    move_to(State::kWaiting);
    loop_.arm(timer_, loop_.now() + backoff_.next());
  }
}

// Names are resolved again for every round: the peer may have moved.
void Connector::resolve() {
  move_to(State::kResolving);
  candidates_.clear();
  next_candidate_ = 0;
  loop_.call(resolve_op_, &resolve_on_pool, this);
}

int Connector::resolve_on_pool(void* context) {
  auto& self = *static_cast<Connector*>(context);
  auto resolved = ring::resolve(self.address_);
  self.resolve_error_ = resolved ? ErrorCode{} : resolved.error();
  if (resolved) self.candidates_ = std::move(*resolved);
  return 0;
}

void Connector::on_resolved(int) {
  if (state_ == State::kStopping) {
    on_stopped(0);
    return;
  }
  last_error_ = resolve_error_;
  if (resolve_error_)
    wait_after(resolve_error_);
  else
    try_next();
}

void Connector::try_next() {
  if (next_candidate_ == candidates_.size()) {
    wait_after(last_error_);
    return;
  }
  const ring::SocketAddress& candidate = candidates_[next_candidate_++];
  fd_ = socket(candidate.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd_ < 0) {
    wait_after(system_error(errno));
    return;
  }
  if (state_ != State::kConnecting) move_to(State::kConnecting);
  timed_out_ = false;
  loop_.connect(connect_op_, ring::File{fd_, -1}, candidate.get(), candidate.length);
  loop_.arm(timer_, loop_.now() + options_.attempt_timeout);
}

void Connector::on_connect(int result) {
  loop_.disarm(timer_);
  if (state_ == State::kStopping) {
    close_attempt();
    on_stopped(0);
    return;
  }
  if (result < 0) {
    last_error_ = timed_out_ ? ErrorCode{errc::kTimedOut} : system_error(result);
    close_attempt();
    try_next();
    return;
  }
  const int fd = fd_;
  fd_ = -1;
  move_to(State::kIdle);
  handler_.on_connected(*this, fd);
}

void Connector::on_timeout() {
  if (state_ == State::kWaiting) {
    resolve();
  } else if (state_ == State::kConnecting) {
    timed_out_ = true;
    loop_.cancel(connect_op_);
  }
}

void Connector::wait_after(ErrorCode error) {
  const Duration delay = backoff_.next();
  move_to(State::kWaiting);
  loop_.arm(timer_, loop_.now() + delay);
  handler_.on_attempt_failed(*this, error, delay);
}

void Connector::close_attempt() {
  ::close(fd_);
  fd_ = -1;
}

void Connector::stop() {
  if (state_ == State::kIdle || state_ == State::kStopping) return;
  const State before = state_;
  move_to(State::kStopping);
  loop_.disarm(timer_);
  if (before == State::kConnecting)
    loop_.cancel(connect_op_);
  else if (before == State::kWaiting)
    loop_.defer(stop_op_, 0);
  // Resolving cannot be cut short; its end is waited for.
}

void Connector::on_stopped(int) {
  move_to(State::kIdle);
  handler_.on_connector_stopped(*this);
}

}  // namespace twinblock::link
