// What a seed is made of: a scenario class (by weight) and its knobs.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/random.hpp"
#include "bitmap/geometry.hpp"
#include "replicator/core/types.hpp"
#include "transport/wire/messages.hpp"

namespace twinblock::sim {

enum class ScenarioClass : std::uint8_t {
  sync_random,
  memsync,
  async_block,
  async_track,
  switchovers,
  disk_errors,
  metadata_faults,
  split_brain,
  crash_loops,
  handshake_cut,
  rot,
  cuts,
  rollbacks,
  chaos,
  zeroes,
  count_
};
inline constexpr std::size_t kScenarioCount = static_cast<std::size_t>(ScenarioClass::count_);
[[nodiscard]] std::string_view name(ScenarioClass c);

// Things that the world does to the mirror; the weight of each is part of a scenario.
enum class Action : std::uint8_t {
  crash_kill,
  crash_power,
  crash_both,
  failover,
  link_cut,
  half_close,
  stall,
  large_stall,
  lose_message,
  repeat_message,
  promote_plain,
  switchover,
  demote_promote,
  pause_resume,
  disconnect,
  resync,
  resync_full,
  set_policy,
  stop_start,
  disk_error,
  flush_error,
  disk_dead,
  disk_slow,
  disk_hang,
  metadata_error,
  rot,
  promote_force,
  promote_confirm,
  release_resync,
  metadata_lie,
  lose_any,
  repeat_any,
  backup,
  restore,
  count_
};
inline constexpr std::size_t kActionCount = static_cast<std::size_t>(Action::count_);
[[nodiscard]] std::string_view name(Action a);

// cuts: what is going on while the messages are counted.
// restart_failover: nothing is cut; the source dies with writes that only it has, returns, serves, and dies.
enum class Flow : std::uint8_t { connect, resync, promote, switchover, restart, restart_failover, count_ };
// cuts: what happens at the message.
enum class Cut : std::uint8_t {
  both,
  receiver,
  kill_sender,
  power_sender,
  kill_receiver,
  power_receiver,
  count_
};

struct Scenario {
  ScenarioClass kind = ScenarioClass::sync_random;
  core::Policy policy;
  bitmap::Geometry geometry;
  std::uint32_t client_ops = 300;
  std::uint32_t in_flight_max = 8;
  std::uint32_t hot_spots = 4;
  std::vector<std::uint32_t> spots;  // besides the random ones: first sectors
  std::uint32_t spot_sectors = 64;
  std::uint32_t large_per_mille = 20;
  std::int64_t think_ns = 200'000;          // mean time between client requests
  std::int64_t action_gap_ns = 30'000'000;  // mean time between actions
  std::int64_t latency_ns = 50'000;
  std::int64_t write_ns = 60'000;
  std::int64_t flush_ns = 400'000;
  std::uint32_t read_share = 35;  // per cent
  std::uint32_t zero_share = 5;
  std::uint32_t flush_share = 6;
  std::uint32_t fua_share = 8;       // of writes
  std::uint32_t cut_at_message = 0;  // handshake_cut: 1-based message of a link that is its last
  bool cut_half = false;
  Flow flow = Flow::connect;
  Cut cut = Cut::both;
  wire::Type cut_type = wire::Type::ping;  // cuts: if not ping, at the first message of this type instead
  bool repairs = false;                    // the only disk fault: reads that fail
  Duration intent_age_max = Duration::seconds(5);
  int error_node = 0;  // disks and metadata fail on this node only
  std::array<std::uint32_t, kActionCount> weights{};
};

[[nodiscard]] Scenario make_scenario(std::uint64_t seed, Random& random, int forced_class);

}  // namespace twinblock::sim
