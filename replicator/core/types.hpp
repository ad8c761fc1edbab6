// Words of the core: configuration, identifiers, states that admins see.
#pragma once

#include <cstdint>
#include <string>

#include "base/units.hpp"
#include "bitmap/superblock.hpp"

namespace twinblock::core {

using bitmap::DiskState;
using bitmap::GenerationCause;
using bitmap::PeerData;
using bitmap::Resolution;

using RequestId = std::uint32_t;  // the engine's name of a client request piece
using BufferId = std::uint32_t;   // the engine's name of a payload buffer; 0: none
using LinkId = std::uint32_t;     // one TCP connection; never reused in a process
using OpId = std::uint64_t;       // the core's name of an I/O; never reused in a process
using CommandId = std::uint32_t;

inline constexpr ByteCount kPieceMax{1u << 20};  // longest read, write or resync piece

enum class Mode : std::uint8_t { sync = 0, memsync = 1, async = 2 };
enum class WriteAlone : std::uint8_t { free = 0, fenced = 1, quorum = 2, never = 3 };
enum class AfterRestart : std::uint8_t { resume = 0, target = 1 };
enum class QueuePolicy : std::uint8_t { block = 0, track = 1 };
enum class AsyncPromote : std::uint8_t { ask = 0, allow = 1 };

// May be changed at run time by Command{Verb::set}.
struct Policy {
  Mode mode = Mode::sync;
  WriteAlone write_alone = WriteAlone::free;
  AfterRestart after_restart = AfterRestart::resume;
  AsyncPromote async_promote = AsyncPromote::ask;
  QueuePolicy queue_policy = QueuePolicy::block;
  bool hold_resync = false;
  ByteCount queue_bytes_max{256u << 20};
  Duration queue_age_max = Duration::seconds(30);
  std::uint64_t resync_rate_bytes_per_s_min = 10u << 20;
  std::uint64_t resync_rate_bytes_per_s_max = 0;  // 0: no ceiling
  Duration peer_timeout = Duration::seconds(5);
};

struct Config {
  NodeIndex node;
  NodeIndex peer;
  std::string mirror_name;
  std::string config_text;  // "key=value\n" lines that both nodes must agree on
  Policy policy;
  std::uint32_t client_ops_max = 512;    // client pieces in the core at once; the engine admits no more
  std::uint32_t window_messages = 1024;  // as a target: most stream messages not yet applied
  std::uint32_t window_bytes = 32u << 20;
  std::uint32_t resync_pieces_max = 8;  // resync reads and unapplied resync writes
  bool same_queue_flush = false;        // reserved
  Duration intent_age_max = Duration::seconds(5);
  std::uint64_t boot_id = 0;      // name of this boot of the machine; 0: unknown, taken for another one
  std::uint64_t random_seed = 0;  // operating-system entropy in the daemon
};

enum class Role : std::uint8_t { target = 0, promoting = 1, source = 2, demoting = 3 };
enum class ReplicaState : std::uint8_t {
  uptodate,
  consistent,
  outdated,
  inconsistent,
  failed,
  diskless,
  unknown
};
enum class LinkState : std::uint8_t {
  down,
  connecting,
  connected,
  resync_pending,
  resyncing,
  paused,
  split_brain,
  refused
};

// Why a handshake was refused or a command failed. Texts and next steps: docs/internals/errors.md.
enum class Refusal : std::uint8_t {
  none = 0,
  // handshake
  protocol_version,
  required_feature,
  mirror_name,
  mirror_id,
  node_index,
  geometry,
  config_differs,
  verdict_differs,
  bad_message,
  no_data,
  no_good_copy,
  rolled_back,
  unrelated,
  split_brain,
  peer_disk_failed,
  two_sources,
  resync_origin_lost,
  // commands
  not_source,
  already_source,
  peer_is_source,
  replica_inconsistent,
  replica_outdated,
  replica_failed,
  peer_may_have_more,  // P9: needs --confirm-dead or a proof
  async_may_lose,      // P9: async target without async_promote = "allow"
  peer_took_term,
  link_lost,
  not_connected,
  busy,
  wrong_node,
  no_split_brain,
  stopping,
  timeout,
  peer_refused,
  resync_running,
  no_peer_data,
  metadata_failed,
  unsupported,
  clients_connected,  // the export is held open
  source_discards,    // a source cannot give its data up under its clients
  peer_lives,         // confirmed dead, and it answers on a link that is paused
  paused              // the link is up, and sending is paused by hand
};
inline constexpr int kRefusalCount = static_cast<int>(Refusal::paused) + 1;

}  // namespace twinblock::core
