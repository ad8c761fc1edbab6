// What the world knows of one node, one event and one client operation.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "replicator/core/mirror.hpp"
#include "tests/sim/buffers.hpp"
#include "tests/sim/data_disk.hpp"
#include "tests/sim/history.hpp"
#include "tests/sim/metadata_disk.hpp"
#include "tests/sim/stream_log.hpp"

namespace twinblock::sim {

inline constexpr std::int64_t kMillisecond = 1'000'000;
inline constexpr std::int64_t kSecond = 1'000'000'000;
inline constexpr int kNone = -1;

enum class EventType : std::uint8_t {
  turn_end,
  tick,
  disk_done,
  meta_done,
  deliver,
  link_up,
  link_down,
  dial,
  client,
  action,
  restart,
  unstall,
  disk_normal,
  peer_is_dead,
  resume,
  reconnect,
  split_step,
  liveness,
  flow,
  kill
};
struct Event {
  std::int64_t time = 0;
  std::uint32_t serial = 0;  // order among equal times
  EventType type = EventType::tick;
  std::uint8_t node = 0;
  std::uint32_t life = 0;  // of the node; events of an earlier life are void
  std::uint32_t a = 0;
};

struct ClientOp {
  enum class Kind : std::uint8_t { read, write, zero, flush } kind = Kind::read;
  bool used = false;
  bool fua = false;
  bool cancelled = false;
  bool sent = false;
  bool in_ack_set = false;  // the peer was, when it started
  bool memsync = false;     // then
  bool async = false;       // then; a write keeps the mode it started in
  core::LinkId link = 0;    // then
  bool delivered = false;   // its message has reached the peer's core
  bool peer_had = false;    // when the peer died, its disk had it
  std::uint8_t node = 0;
  core::RequestId request = 0;
  core::BufferId buffer = 0;
  SectorRun run;
  std::uint32_t version = 0;
  Clock begun = 0;
  std::int64_t started = 0;
  std::size_t acked_before = 0;  // flush: writes acknowledged before it, as a position in acked_
  std::vector<Clock> floors;     // read: what it was promised when it began
};

struct Node {
  Node(int i, const bitmap::Geometry& g, Buffers& buffers, std::uint32_t sectors)
      : index{i},
        disk{sectors, buffers},
        meta{g, NodeIndex{static_cast<std::uint8_t>(1 - i)}},
        stream{sectors} {}
  int index;
  std::unique_ptr<core::Mirror> mirror;
  std::uint32_t life = 0;
  DataDisk disk;
  MetadataDisk meta;
  StreamLog stream;  // what this node was sent as a target
  core::Policy policy;
  std::string config_text;
  std::int64_t clock_offset = 0;  // of its clock against the world's
  bool export_open = false;
  bool link_wanted = false;
  bool turn_open = false;
  bool stopped = false;
  bool outranked = false;         // its core was told of a higher term while its export was open
  bool stays_promotable = false;  // the session's resync overwrites only what nobody was told of
  bool restarting = false;
  bool was_source = false;       // its export was open when it crashed
  bool peer_had_all = false;     // when it crashed as source, the other was in its ack set
  std::uint32_t peer_life = 0;   // of the other when this one crashed
  bool async_residue = false;    // was async and has not been in the ack set since
  bool memsync_residue = false;  // was memsync, and has answered nothing like sync since
  std::uint64_t boot = 0;        // changes with each power cut
  bool cache_lost = false;       // by a power cut, and not in the ack set since
  bool disk_lost = false;        // it failed, and has not been in the ack set since
  bool metadata_lost = false;    // they failed: this life can write nothing down
  bool forced = false;           // promote --force is being carried out
  core::CommandId force_command = 0;
  bool granted = false;  // promoted with confirm_dead since the other was in the ack set
  bool saw_split_brain = false;
  bool in_ack_set = false;  // the other is, as of the last turn
  std::int64_t tick_at = INT64_MAX;
  std::uint32_t tick_spins = 0;
  std::uint32_t commands = 0;  // without an answer
  struct Backup {
    bool taken = false;
    std::uint64_t session = 0;  // the last one that it can know
    SequenceNumber stable_sequence;
    std::vector<std::byte> metadata;
    std::vector<std::pair<std::uint32_t, Tag>> content;  // what is durable and not zeroes
  } backup;
  bool rolled_back = false;          // its backup was put back and it has not joined a session since
  std::uint64_t session_joined = 0;  // last session, by the world's count, that it is durably a follower of
  std::uint64_t session_led = 0;     // and that it knows the other to have joined
  std::uint64_t session_led_at = 0;  // sequence of its superblock when it learned that
  std::uint32_t session_id = 0;      // of the last one joined
  std::uint32_t lone_crashes = 0;    // still to come before it may meet the other
  std::vector<SectorRun> resync_zeroes;  // delivered by a resync, not submitted yet
  std::int64_t resync_credit = 0;        // bytes that the ceiling allows as of resync_counted_at
  std::int64_t resync_counted_at = 0;
  std::vector<std::uint32_t> at_risk;  // sectors that a power cut reverted while the other had them
  std::uint32_t read_errors = 0;       // per mille
  std::uint32_t write_errors = 0;
  std::uint32_t flush_errors = 0;
  std::uint32_t meta_errors = 0;
  std::int64_t slow = 1;
};

}  // namespace twinblock::sim
