// `twinblockd --scratch FILE`: one unreplicated file behind NBD, in the foreground, without any
// configuration.
#pragma once

#include <optional>
#include <string>

#include "base/units.hpp"
#include "replicator/engine/problem.hpp"

namespace twinblock::engine {

struct ScratchOptions {
  std::string file;
  std::string nbd;  // unix:PATH or tcp:HOST:PORT; empty: a socket from systemd
  std::string export_name;
  std::optional<ByteCount> size;  // make the file if there is none
};

// Serves until SIGTERM or SIGINT. REQUIRES: these signals are blocked in the calling thread, which has not
// started others. Prints the bound address as a line on stdout.
[[nodiscard]] Outcome<void> run_scratch(const ScratchOptions& options);

}  // namespace twinblock::engine
