// `twinblockd --config FILE`: start and stop of everything, in order.
#pragma once

#include <string>

namespace twinblock::engine {

// Serves until SIGTERM or SIGINT; returns the exit code. REQUIRES: the signals are blocked (block_signals).
[[nodiscard]] int run_daemon(const std::string& config_path);

}  // namespace twinblock::engine
