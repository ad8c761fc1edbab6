#include "tests/sim/scenario.hpp"

#include <iterator>

namespace twinblock::sim {
namespace {

constexpr std::array<std::string_view, kScenarioCount> kScenarioNames{"sync",
                                                                      "memsync",
                                                                      "async-block",
                                                                      "async-track",
                                                                      "switchovers",
                                                                      "disk-errors",
                                                                      "metadata-faults",
                                                                      "split-brain",
                                                                      "crash-loops",
                                                                      "handshake-cut",
                                                                      "rot",
                                                                      "cuts",
                                                                      "rollbacks",
                                                                      "chaos",
                                                                      "zeroes"};
constexpr std::array<std::string_view, kActionCount> kActionNames{
    "crash-kill",     "crash-power",  "crash-both",    "failover",        "link-cut",       "half-close",
    "stall",          "large-stall",  "lose-message",  "repeat-message",  "promote-plain",  "switchover",
    "demote-promote", "pause-resume", "disconnect",    "resync",          "resync-full",    "set-policy",
    "stop-start",     "disk-error",   "flush-error",   "disk-dead",       "disk-slow",      "disk-hang",
    "metadata-error", "rot",          "promote-force", "promote-confirm", "release-resync", "metadata-lie",
    "lose-any",       "repeat-any",   "backup",        "restore"};
// Of 100 seeds. Chaos and zeroes take their share from sync: the other seeds keep their schedules.
constexpr std::array<std::uint32_t, kScenarioCount> kScenarioWeights{21, 7, 7, 6, 10, 12, 5,
                                                                     4,  8, 3, 4, 11, 2,  0};
constexpr std::uint64_t kChaosOneIn = 7;  // of sync; the same for zeroes

std::uint32_t& weight(Scenario& s, Action a) {
  return s.weights[static_cast<std::size_t>(a)];
}

void add_crashes(Scenario& s, std::uint32_t w) {
  for (const Action a : {Action::crash_kill, Action::crash_power, Action::failover}) weight(s, a) += w;
  weight(s, Action::crash_both) += w / 2 + 1;
  weight(s, Action::promote_confirm) += w / 4 + 1;
}

void add_network(Scenario& s, std::uint32_t w) {
  for (const Action a : {Action::link_cut, Action::half_close, Action::stall}) weight(s, a) += w;
  weight(s, Action::large_stall) += w / 2 + 1;
  weight(s, Action::lose_message) += w / 4 + 1;
  weight(s, Action::repeat_message) += w / 4 + 1;
}

void add_roles(Scenario& s, std::uint32_t w) {
  for (const Action a : {Action::switchover, Action::demote_promote, Action::promote_plain})
    weight(s, a) += w;
  for (const Action a : {Action::pause_resume, Action::disconnect, Action::resync, Action::stop_start}) {
    weight(s, a) += w / 2 + 1;
  }
  weight(s, Action::resync_full) += w / 4 + 1;
  weight(s, Action::release_resync) += 1;
  weight(s, Action::set_policy) += w / 4 + 1;
}

void add_slowness(Scenario& s) {
  weight(s, Action::disk_slow) += 1;
  weight(s, Action::disk_hang) += 1;
}

void set_weights(Scenario& s) {
  switch (s.kind) {
    case ScenarioClass::sync_random:
    case ScenarioClass::memsync:
    case ScenarioClass::async_block:
    case ScenarioClass::async_track:
      add_crashes(s, 4);
      add_network(s, 4);
      add_roles(s, 2);
      add_slowness(s);
      break;
    case ScenarioClass::switchovers:
      add_roles(s, 8);
      weight(s, Action::promote_force) += 3;
      add_crashes(s, 1);
      add_network(s, 1);
      break;
    case ScenarioClass::disk_errors:
      if (s.repairs) {
        add_network(s, 1);
        weight(s, Action::disk_error) += 12;
        weight(s, Action::disk_slow) += 1;
        break;
      }
      add_network(s, 2);
      add_crashes(s, 1);
      weight(s, Action::disk_error) += 12;
      weight(s, Action::flush_error) += 8;
      weight(s, Action::disk_dead) += 2;
      add_slowness(s);
      break;
    case ScenarioClass::metadata_faults:
      add_network(s, 2);
      add_crashes(s, 2);
      weight(s, Action::metadata_error) += 6;
      weight(s, Action::metadata_lie) += 6;
      break;
    case ScenarioClass::split_brain:
      add_network(s, 1);
      break;
    case ScenarioClass::crash_loops:
      add_crashes(s, 10);
      add_network(s, 2);
      s.action_gap_ns /= 4;
      break;
    case ScenarioClass::handshake_cut:
      add_crashes(s, 2);
      weight(s, Action::lose_any) += 2;
      weight(s, Action::repeat_any) += 2;
      add_network(s, 1);
      break;
    case ScenarioClass::rot:
      add_crashes(s, 6);
      add_network(s, 2);
      weight(s, Action::rot) += 6;
      break;
    case ScenarioClass::cuts:
      break;
    case ScenarioClass::rollbacks:
      add_crashes(s, 2);
      add_network(s, 2);
      weight(s, Action::switchover) += 3;
      weight(s, Action::demote_promote) += 1;
      weight(s, Action::promote_plain) += 2;
      weight(s, Action::backup) += 6;
      weight(s, Action::restore) += 18;
      break;
    case ScenarioClass::zeroes:
      weight(s, Action::resync_full) += 8;
      weight(s, Action::link_cut) += 4;
      weight(s, Action::half_close) += 1;
      break;
    case ScenarioClass::chaos:  // set_chaos()
    case ScenarioClass::count_:
      break;
  }
}

// What the other classes do one kind at a time, mixed: each schedule takes some kinds. Disks and metadata do
// not fail in the same one: a node that can neither use its disk nor say so is two failures.
void set_chaos(Scenario& s, Random& random) {
  core::Policy& p = s.policy;
  const std::uint64_t mode = random.below(3);
  if (mode == 1) p.mode = core::Mode::memsync;
  if (mode == 2) {
    p.mode = core::Mode::async;
    p.queue_bytes_max = ByteCount{(64u << 10) << random.below(6)};
    p.queue_age_max = Duration::milliseconds(static_cast<std::int64_t>(50 + random.below(2000)));
    if (random.one_in(2)) p.queue_policy = core::QueuePolicy::track;
  }
  if (random.one_in(8)) p.write_alone = core::WriteAlone::never;
  if (random.one_in(3)) s.intent_age_max = Duration::milliseconds(2);
  if (!random.one_in(4)) add_crashes(s, 2);
  if (!random.one_in(4)) add_network(s, 3);
  if (!random.one_in(4)) add_roles(s, 3);
  if (random.one_in(2)) weight(s, Action::set_policy) += 6;
  if (random.one_in(3)) weight(s, Action::resync_full) += 4;
  if (random.one_in(2)) add_slowness(s);
  if (random.one_in(3)) weight(s, Action::disk_hang) += 6;
  if (random.one_in(2)) {
    weight(s, Action::disk_error) += 4;
    weight(s, Action::flush_error) += 2;
    weight(s, Action::disk_dead) += 1;
  } else if (random.one_in(2)) {
    weight(s, Action::metadata_error) += 2;
  }
  weight(s, Action::link_cut) += 1;
}

// Resyncs of zeroes under writes, to a slow disk.
void set_zeroes(Scenario& s, Random& random) {
  s.zero_share = 70;
  s.read_share = 10;
  s.hot_spots = static_cast<std::uint32_t>(1 + random.below(2));
  s.spot_sectors = static_cast<std::uint32_t>(32u << random.below(4));
  s.in_flight_max = static_cast<std::uint32_t>(4 + random.below(20));
  s.think_ns = static_cast<std::int64_t>(20'000u << random.below(3));
  s.action_gap_ns = static_cast<std::int64_t>(2'500'000u << random.below(3));
  s.latency_ns = static_cast<std::int64_t>(10'000u << random.below(3));
  s.write_ns = static_cast<std::int64_t>(80'000u << random.below(4));
  s.client_ops += 300;
}

ScenarioClass pick_class(Random& random) {
  std::uint64_t at = random.below(100);
  for (std::size_t i = 0; i < kScenarioCount; ++i) {
    if (at < kScenarioWeights[i]) return static_cast<ScenarioClass>(i);
    at -= kScenarioWeights[i];
  }
  return ScenarioClass::sync_random;
}

}  // namespace

std::string_view name(ScenarioClass c) {
  return kScenarioNames[static_cast<std::size_t>(c)];
}
std::string_view name(Action a) {
  return kActionNames[static_cast<std::size_t>(a)];
}

Scenario make_scenario(std::uint64_t seed, Random& random, int forced_class) {
  Scenario s;
  ScenarioClass picked = pick_class(random);
  if (picked == ScenarioClass::sync_random && seed % kChaosOneIn == 0) picked = ScenarioClass::chaos;
  if (picked == ScenarioClass::sync_random && seed % kChaosOneIn == 1) picked = ScenarioClass::zeroes;
  s.kind = forced_class >= 0 ? static_cast<ScenarioClass>(forced_class) : picked;
  s.geometry.size = ByteCount{(1 + random.below(3)) * 4 * kExtentSize.value() + random.below(3) * (1u << 20)};
  s.geometry.region_size = 4096u << (2 * random.below(3));
  s.geometry.hot_extents = static_cast<std::uint32_t>(8 + random.below(9));
  s.client_ops = static_cast<std::uint32_t>(60 + random.below(440));
  s.in_flight_max = static_cast<std::uint32_t>(1 + random.below(random.one_in(3) ? 32 : 8));
  s.hot_spots = static_cast<std::uint32_t>(2 + random.below(random.one_in(3) ? 14 : 5));
  s.spot_sectors = static_cast<std::uint32_t>(8u << random.below(6));
  s.large_per_mille = static_cast<std::uint32_t>(random.below(40));
  s.think_ns = static_cast<std::int64_t>(20'000u << random.below(6));
  s.action_gap_ns = static_cast<std::int64_t>(5'000'000u << random.below(6));
  s.latency_ns = static_cast<std::int64_t>(10'000u << random.below(8));
  s.write_ns = static_cast<std::int64_t>(10'000u << random.below(6));
  s.flush_ns = static_cast<std::int64_t>(100'000u << random.below(5));
  s.flush_share = static_cast<std::uint32_t>(1 + random.below(10));
  s.error_node = static_cast<int>(random.below(2));
  if (random.one_in(6)) s.zero_share = 30;

  core::Policy& p = s.policy;
  p.peer_timeout = Duration::milliseconds(static_cast<std::int64_t>(200 + random.below(800)));
  if (s.kind == ScenarioClass::memsync) p.mode = core::Mode::memsync;
  if (s.kind == ScenarioClass::async_block || s.kind == ScenarioClass::async_track) {
    p.mode = core::Mode::async;
    p.queue_bytes_max = ByteCount{(64u << 10) << random.below(6)};
    p.queue_age_max = Duration::milliseconds(static_cast<std::int64_t>(50 + random.below(2000)));
  }
  if (s.kind == ScenarioClass::async_track) p.queue_policy = core::QueuePolicy::track;
  if (s.kind == ScenarioClass::sync_random && random.one_in(6)) p.write_alone = core::WriteAlone::never;
  if (random.one_in(5)) p.after_restart = core::AfterRestart::target;
  if (random.one_in(4)) p.resync_rate_bytes_per_s_max = 4u << 20 << random.below(6);
  if (s.kind == ScenarioClass::handshake_cut) {
    s.cut_at_message = static_cast<std::uint32_t>(1 + seed % 40);
    s.cut_half = seed / 40 % 2 != 0;
  }
  if (s.kind == ScenarioClass::split_brain) {  // clients outlast the meeting of the two sources
    s.think_ns = static_cast<std::int64_t>(320'000u << random.below(3));
    s.client_ops += 300;
  }
  if (s.kind == ScenarioClass::cuts) {
    s.flow = static_cast<Flow>(seed % static_cast<std::uint64_t>(Flow::count_));
    seed /= static_cast<std::uint64_t>(Flow::count_);
    s.cut = static_cast<Cut>(seed % static_cast<std::uint64_t>(Cut::count_));
    s.cut_at_message = static_cast<std::uint32_t>(1 + seed / static_cast<std::uint64_t>(Cut::count_) % 48);
    s.client_ops += 100;
    if (s.flow == Flow::restart_failover) {
      p.after_restart = core::AfterRestart::resume;
      s.hot_spots = 2;
      s.spot_sectors = 32;
      s.in_flight_max = 16;
      s.think_ns = static_cast<std::int64_t>(20'000u << random.below(2));
      s.client_ops += 400;
    }
    if (s.flow == Flow::restart ||
        s.flow == Flow::restart_failover) {  // long enough that clients meet regions which are not equal yet
      p.resync_rate_bytes_per_s_max = 4u << 20;
      s.read_share = 60;
    }
    using wire::Type;
    constexpr Type kTypes[] = {Type::state,         Type::verdict,     Type::bitmap_data, Type::session_start,
                               Type::resync_end,    Type::resync_done, Type::term_taken,  Type::term_ack,
                               Type::session_ready, Type::demoted,     Type::demoted_ack, Type::write,
                               Type::resync_done,   Type::ack};
    if (random.one_in(2)) s.cut_type = kTypes[random.below(std::size(kTypes))];
  }
  if (s.kind == ScenarioClass::zeroes) set_zeroes(s, random);
  if (s.kind == ScenarioClass::rollbacks) {  // several sessions, so that a backup grows old
    s.think_ns = static_cast<std::int64_t>(320'000u << random.below(4));
    s.action_gap_ns = static_cast<std::int64_t>(5'000'000u << random.below(3));
    s.client_ops += 200;
  }
  if (s.kind == ScenarioClass::disk_errors && random.one_in(2)) {
    s.repairs = true;
    s.hot_spots = 2;
    s.spot_sectors = 8;
    s.in_flight_max = static_cast<std::uint32_t>(6 + random.below(20));
    s.think_ns = static_cast<std::int64_t>(20'000u << random.below(3));
    s.client_ops += 200;
    s.error_node = random.one_in(4) ? 1 : 0;
  }
  constexpr std::int64_t kAges[] = {2, 10, 100, 5000};
  s.intent_age_max = Duration::milliseconds(kAges[random.below(4)]);
  set_weights(s);
  if (s.kind == ScenarioClass::chaos) set_chaos(s, random);
  return s;
}

}  // namespace twinblock::sim
