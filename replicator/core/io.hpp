// What can happen to a mirror (inputs) and what it may ask of the world (outputs). The engine and the
// simulator carry outputs out in the order given and feed completions back.
//
// Ordering duties: the core itself never emits an output before what it depends on was reported complete
// (intent before data, superblock before acknowledgement ...). The engine may carry out different outputs
// concurrently, except: messages of one link keep their order.
//
// Buffers. A BufferId that arrives in an input belongs to the core until ReleaseBuffer (writes, message
// payloads) or Reply (reads). The engine keeps references of its own while a disk or socket operation uses
// the buffer: ReleaseBuffer only says that the core will not name it again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "base/units.hpp"
#include "replicator/core/types.hpp"
#include "transport/wire/messages.hpp"

namespace twinblock::core {

// ---------------------------------------------------------------- inputs
// Client pieces. Each lies inside one extent (4 MiB), is a multiple of the logical block, and is at most
// kPieceMax long (ClientZero: a whole extent). The engine splits requests and joins the replies.
struct ClientRead {
  RequestId request;
  ByteRange range;
  BufferId buffer;
};
struct ClientWrite {
  RequestId request;
  ByteRange range;
  BufferId buffer;
  bool fua;
};
struct ClientZero {
  RequestId request;
  ByteRange range;
  bool fua;
  bool may_unmap;
};
struct ClientFlush {
  RequestId request;
};
// The client has gone: if the piece has not started it is dropped and answered Status::cancelled; else it
// goes on and is answered as usual.
struct ClientCancel {
  RequestId request;
};
// Whether clients hold the export open, as of now. Given before a command and before a message that asks for
// the source role; without it nobody does.
struct ClientsPresent {
  bool any;
};

// What the engine says about the bytes of a read, so that the core need not see them.
struct Digest {
  bool zero = false;  // all of them are
};

// Completion of a DiskIo: exactly one for each. `error` is 0 or an errno. A read that asked the engine to
// allocate (buffer 0) brings the buffer, also when it failed (then possibly 0).
struct DiskDone {
  OpId op;
  int error;
  BufferId buffer;
  Digest digest{};  // of what was read, as DiskIo::look asked; without meaning after an error
};
// Completion of a MetaWrite: durable, or failed. After a failure the core writes no metadata any more and
// leaves the bytes of what it had written alone: a write that timed out may still be reading them.
struct MetaDone {
  OpId op;
  int error;
};

struct LinkUp {
  LinkId link;
};
// After this no message of the link arrives. Also the answer to CloseLink.
struct LinkDown {
  LinkId link;
};
// `body` is valid during the step only. `payload` is 0 for messages without mirror data. Hashes were checked.
struct MessageIn {
  LinkId link;
  wire::Header header;
  std::span<const std::byte> body;
  BufferId payload;
};

// Time has passed: due deadlines fire. Any input does the same; this one does nothing else.
struct Tick {};

enum class Verb : std::uint8_t {
  promote,
  demote,
  switchover,
  pause,
  resume,
  connect,
  disconnect,
  resync,
  resolve_keep,
  resolve_discard,
  set_policy,
  confirm_dead,
  release_resync,
  stop
};
struct Command {
  CommandId id;
  Verb verb;
  bool force = false;         // promote; demote, switchover and stop: although clients are connected
  bool confirm_dead = false;  // promote: the operator vouches that the peer is dead
  bool full = false;          // resync
  Policy policy{};            // set_policy: the whole new policy
};

using Input = std::variant<ClientRead, ClientWrite, ClientZero, ClientFlush, ClientCancel, ClientsPresent,
                           DiskDone, MetaDone, LinkUp, LinkDown, MessageIn, Tick, Command>;

// ---------------------------------------------------------------- outputs
enum class DiskVerb : std::uint8_t { read, write, zero, flush };
// What a read shall say about the bytes besides bringing them (Digest).
enum class Look : std::uint8_t { none, zeroes };
// One I/O on the data disk. write with fua: on stable storage when it completes. flush: everything whose
// DiskDone was delivered before this output is on stable storage when it completes.
// read with buffer 0: the engine allocates range.length bytes (waiting for a free buffer if it must).
struct DiskIo {
  DiskVerb verb;
  bool fua;
  bool may_unmap;
  OpId op;
  ByteRange range;
  BufferId buffer;
  Look look = Look::none;  // of a read
};
// Write `bytes` (a multiple of 4 KiB) at `block` of the metadata area; durable when MetaDone says so (each
// write is its own FUA). `bytes` stays valid and unchanged until then.
struct MetaWrite {
  OpId op;
  std::uint64_t block;
  std::span<const std::byte> bytes;
};

// Send a message. `body` stays valid until the first step() after the next turn_end(). The engine fills the
// hashes, and takes wire_length bytes from `payload` at `payload_offset` (0) if payload is not 0. Priority by
// type: acks and pings, application, resync.
struct Send {
  LinkId link;
  wire::Header header;
  std::span<const std::byte> body;
  BufferId payload;
};
// Drop the connection; LinkDown follows. The engine dials again with backoff while a link is wanted.
struct CloseLink {
  LinkId link;
  Refusal reason;
};
struct SetLinkWanted {
  bool wanted;
};

enum class Status : std::uint8_t { ok, io_error, no_space, shutdown, cancelled, not_source };
// Answer of a client piece. Reads: `buffer` holds the data and is the engine's again (also on error).
struct Reply {
  RequestId request;
  Status status;
  BufferId buffer;
};
struct ReleaseBuffer {
  BufferId buffer;
};
// The export opens (reads and writes are taken) or closes (further pieces are answered not_source).
struct ExportState {
  bool open;
};
struct CommandDone {
  CommandId id;
  Refusal refusal;
};  // none: done

enum class EventKind : std::uint8_t {
  link_up,
  link_down,
  handshake_refused,
  split_brain,
  session_started,
  resync_started,
  resync_finished,
  peer_uptodate,
  generation_new,
  degraded,
  frozen,
  unfrozen,
  promoted,
  demoted,
  deposed,
  disk_failed,
  peer_disk_failed,
  read_repaired,
  metadata_failed,
  data_loss_forced,
  resync_discards,
  rolled_back,
  queue_full,
  stopped
};
// For logs and `events`: a and b by kind (generation, bytes, term, errno ...), see docs/internals/errors.md.
struct Event {
  EventKind kind;
  Refusal reason;
  std::uint64_t a;
  std::uint64_t b;
};

using Output = std::variant<DiskIo, MetaWrite, Send, CloseLink, SetLinkWanted, Reply, ReleaseBuffer,
                            ExportState, CommandDone, Event>;

// Reused between steps so that a step does not allocate.
using Outputs = std::vector<Output>;

}  // namespace twinblock::core
