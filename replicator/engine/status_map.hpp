// From what the core knows to what people, scripts and clusters read. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "replicator/control/config.hpp"
#include "replicator/control/protocol.hpp"
#include "replicator/core/io.hpp"
#include "replicator/core/status.hpp"

namespace twinblock::engine {

struct RunningFacts {
  Instant now;
  bool starting = false;  // the metadata is being brought up to date; the link comes after it
  bool link_wanted = false;
  bool link_up = false;
  std::string path;
  std::string link_error;         // of the last attempt to connect
  std::string config_difference;  // what the peer's hello has otherwise
  std::uint64_t resync_rate = 0;  // bytes per second, smoothed; 0: not known
  std::uint32_t stuck_disk_operations = 0;
  std::uint32_t stuck_metadata_writes = 0;
};

// The first that applies, in the order of DESIGN's table of states.
[[nodiscard]] control::MirrorState state_word(const core::MirrorSnapshot& snapshot,
                                              const core::Policy& policy, const RunningFacts& facts);

// For a cluster: 100 source, 90 uptodate and connected, 50 promotable alone, 10 last source, 5 complete but
// without a proof, -1 must not be promoted.
[[nodiscard]] std::int32_t promotion_score(const core::MirrorSnapshot& snapshot);

// Name, nbd, size and counters are the caller's.
[[nodiscard]] control::MirrorStatus running_status(const core::MirrorSnapshot& snapshot,
                                                   const core::Policy& policy,
                                                   const control::MirrorConfig& config,
                                                   const RunningFacts& facts);

[[nodiscard]] core::Policy policy_of(const control::MirrorConfig& config);
[[nodiscard]] control::Event event_of(const core::Event& event, const control::MirrorConfig& config);

}  // namespace twinblock::engine
