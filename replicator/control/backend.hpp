// The seam between the control API and the daemon. The HTTP server knows nothing of mirrors, shards or disks;
// the daemon knows nothing of HTTP. Two questions and an event ring are all they share.
#pragma once

#include <functional>
#include <string>

#include "base/error.hpp"
#include "replicator/control/protocol.hpp"

namespace twinblock::control {

using StatusCallback = std::function<void(Result<StatusReply>)>;
using CommandCallback = std::function<void(CommandResult)>;

// Implemented by the daemon.
// Threads: both functions are called on the control thread and must return at once: pass a message to the
// shard and answer from there. A callback may be invoked from any thread, also before the function returns,
// exactly once (later calls are ignored), and also after the HTTP server has stopped (then it does nothing).
// A callback that never comes leaves that one client waiting until its own timeout and nothing else.
// REQUIRES: outlives the HttpServer.
class ControlBackend {
 public:
  virtual ~ControlBackend() = default;

  // Status of one mirror, or of all if `mirror` is empty; errc::kNoSuchMirror if there is none of that name.
  // Answers in milliseconds with the peer dead: it never asks the peer.
  virtual void status(std::string mirror, StatusCallback callback) = 0;

  // Carries out a command; the verb's options are syntactically valid, nothing more. Commands that wait for
  // the peer (switchover, promote) bound themselves by options.timeout_s or a default of their own. Explain
  // and metadata dump arrive here too and put their JSON into CommandResult::data. The backend knows which
  // mirrors exist: Outcome::kNoSuchMirror is its answer. An answer comes after its effect shows in status():
  // `resync --wait` asks right after it and must not find the mirror still in sync.
  virtual void execute(Command command, CommandCallback callback) = 0;
};

}  // namespace twinblock::control
