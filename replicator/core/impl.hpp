// The state of one node's half of a mirror, and the functions that move it, grouped by the file they are in.
// Everything is level-triggered: an input changes state, then pump() starts whatever its conditions allow.
//
// Session phases (the same on both sides unless said):
//
// clang-format off
// none ─link up─▶ hello ─both hellos─▶ state ─both states─▶ verdict ┬─ refuse ─▶ (link closed)
//  ▲                                     ▲                          ├─ leader: bitmap ▶ preparing ▶ offered ┐
//  └─ link down, from any                │ newer round              └─ follower: following ▶ adopting ──────┤
//                                        └──────── streaming ◀───────────────── session ready ──────────────┘
// clang-format on
//   idle: the link is up, the stream is stopped by hand or by the queue policy.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "base/random.hpp"
#include "replicator/core/decide.hpp"
#include "replicator/core/fifo.hpp"
#include "replicator/core/metadata.hpp"
#include "replicator/core/mirror.hpp"
#include "replicator/core/mutants.hpp"
#include "replicator/core/op.hpp"
#include "replicator/core/range_lock.hpp"
#include "replicator/core/resync_rate.hpp"
#include "replicator/core/status.hpp"
#include "replicator/core/stream_ring.hpp"

namespace twinblock::core {

enum class Phase : std::uint8_t {
  none,
  hello,
  state,
  verdict,
  bitmap,
  preparing,
  offered,
  following,
  adopting,
  streaming,
  idle
};

// A message of the stream at the follower, in order; `op` is kNoOp for flush points.
struct ApplyEntry {
  enum class Kind : std::uint8_t { write, flush, resync_end, read } kind = Kind::write;
  OpIndex op = kNoOp;
  bool submitted = false;
  bool done = false;
  std::uint64_t sequence = 0;
};

// A resync piece the peer has been sent; its bits go when both sides are stable.
struct SentPiece {
  bitmap::RegionRun run;
  std::uint64_t sequence = 0;
  std::uint64_t flush_ticket = 0;  // local flush that makes our side stable
  Instant sent_at;
};

struct Mirror::Impl {
  Impl(Config config, bitmap::Recovered recovered);

  // ---- mirror.cpp: entry points
  void start(Instant now, Outputs& out);
  void step(Instant now, const Input& in, Outputs& out);
  void turn_end(Instant now, Outputs& out);
  [[nodiscard]] Instant next_deadline() const;
  void pump();
  bool pump_once();
  void on_disk_done(const DiskDone& in);
  void on_meta_done(const MetaDone& in);
  void pump_attach();
  void check_invariants() const;
  void check_deep() const;

  // ---- ops.cpp: the operation table, range locks, replies, local flushes
  OpIndex new_op(OpKind kind);
  void free_op(OpIndex i);
  [[nodiscard]] OpId disk_id(OpIndex i) const;
  void lock(OpIndex i, bool exclusive);
  void unlock(OpIndex i);
  void on_granted(OpIndex i);
  void drain_granted();
  void reply(Op& op, Status status);
  void release_buffer(Op& op);
  void emit(const Output& output) { out_->push_back(output); }
  void event(EventKind kind, Refusal reason = Refusal::none, std::uint64_t a = 0, std::uint64_t b = 0) {
    emit(Event{kind, reason, a, b});
  }
  std::uint64_t want_local_flush();
  [[nodiscard]] bool local_flush_done(std::uint64_t ticket) const { return flush_done_ >= ticket; }
  void pump_local_flush();
  void on_local_flush_done(int error);
  [[nodiscard]] bitmap::RegionRun regions_out(const ByteRange& range) const;
  [[nodiscard]] ByteRange range_of(const bitmap::RegionRun& run) const;

  // ---- write.cpp: source write path
  void on_client_read(const ClientRead& in);
  void on_client_write(OpKind kind, RequestId request, ByteRange range, BufferId buffer, bool fua,
                       bool may_unmap);
  void on_client_cancel(const ClientCancel& in);
  bool pump_waiting();
  bool try_start(OpIndex i);
  bool try_start_write(OpIndex i);
  bool ensure_intent(Op& op);
  void start_write(OpIndex i);
  [[nodiscard]] bool stream_has_room(std::uint64_t bytes);
  bool write_gate(std::uint64_t bytes);
  bool region_blocked(const ByteRange& range);
  bool step_aside(OpIndex i);
  void retry_blocked();
  [[nodiscard]] bool piece_under_way(std::uint64_t region) const;
  void on_local_write_done(OpIndex i, int error);
  void check_write(OpIndex i);
  void finish_write(OpIndex i, Status status);
  void on_ack(std::uint64_t received, std::uint64_t applied, std::uint64_t stable);
  [[nodiscard]] bool data_path_dead() const;
  void fail_everything();

  // ---- read.cpp: reads, reads from the peer, repair
  bool try_start_read(OpIndex i);
  void on_local_read_done(OpIndex i, int error, BufferId buffer);
  void start_repair(OpIndex i);
  void read_from_peer(OpIndex i);
  // The follower queues reads with the stream: together they stay inside its window.
  [[nodiscard]] bool peer_read_room() const {
    return unapplied_messages_ + peer_reads_ + 40 < window_messages_;
  }
  // Of data that a read has brought. Who was deposed meanwhile shows nothing: it may be overwritten already.
  [[nodiscard]] Status read_status() const { return acting_source() ? Status::ok : Status::not_source; }
  void on_read_reply(const MessageIn& in);
  void on_repair_done(OpIndex i, int error);
  void fail_peer_reads();

  // ---- flush.cpp: client flushes, stability, dropping intents
  void on_client_flush(const ClientFlush& in);
  bool pump_flush();
  bool send_flush_point();
  void ask_stability();
  void note_slot_waiters();
  [[nodiscard]] Instant drain_at() const;
  void begin_draining();
  void end_draining();
  bool pump_intents();
  [[nodiscard]] bool droppable(const IntentSlot& slot) const;
  bool drop_some(bool all);

  static constexpr std::uint64_t kNumberMax = std::uint64_t{1} << 62;  // terms and sequence numbers of a peer

  // ---- degrade.cpp: generations, writing alone, losing the local disk
  [[nodiscard]] bool alone_ok() const;
  void request_degrade();
  bool pump_degrade();
  void detach_local(int error);
  void announce_detached();
  // The peer has noted, durably, that ours lacks what comes; so have we, if we can write anything down.
  [[nodiscard]] bool detach_noted() const {
    return degrade_acked_ && (meta_.failed() || meta_.superblock_durable(detach_ticket_));
  }
  void on_degrade(const MessageIn& in);
  bool pump_degrade_heard();
  bool pump_ahead();
  bool may_answer(OpIndex i);
  void set_acked_ahead(bool ahead);
  void check_started_writes();
  void on_degrade_ack();
  void new_generation(GenerationCause cause);

  // ---- session.cpp: link, handshake
  void on_link_up(LinkId link);
  void on_link_down(LinkId link);
  void on_message(const MessageIn& in);
  void dispatch_control(const MessageIn& in);
  void close_link(Refusal why);
  void on_hello(const MessageIn& in);
  Refusal check_hello(const wire::HelloBody& h) const;
  void start_round();
  [[nodiscard]] bool can_negotiate() const;
  bool pump_session();
  void send_state();
  void on_state(const MessageIn& in);
  void on_verdict(const MessageIn& in);
  void note_peer_terms();
  void evaluate();
  void enter_session();
  [[nodiscard]] NodeView my_view() const;
  [[nodiscard]] NodeView peer_view() const;
  void send(wire::Type type, std::uint64_t sequence = 0, std::uint8_t flags = 0, std::uint32_t handle = 0);
  template <class Body>
  void send_body(wire::Type type, const Body& body, std::uint32_t handle = 0);
  void send_header(wire::Header h, BufferId payload = 0);
  void end_session(bool link_lost);
  void end_leading();
  void keepalive();
  [[nodiscard]] bool negotiating() const {
    return (phase_ == Phase::hello && hello_received_) || phase_ == Phase::state ||
           phase_ == Phase::verdict || phase_ == Phase::bitmap || phase_ == Phase::preparing ||
           phase_ == Phase::offered || phase_ == Phase::following || phase_ == Phase::adopting;
  }
  [[nodiscard]] bool streaming() const { return phase_ == Phase::streaming; }
  [[nodiscard]] bool connected() const { return streaming() || phase_ == Phase::idle; }

  // ---- session_setup.cpp: from verdict to stream
  void send_bitmap();
  void on_bitmap_data(const MessageIn& in);
  void prepare_session();
  bool pump_prepare();
  void on_session_start(const MessageIn& in);
  bool pump_adopt();
  void on_session_ready(const MessageIn& in);
  void remember_peer();
  void mark_session();
  void reserve_sequences();
  [[nodiscard]] bool sequences_ready() const { return numbering_ || ring_.empty(); }
  [[nodiscard]] wire::History my_history() const;
  void adopt_history(const wire::History& h);

  // ---- target.cpp: applying the stream
  void on_stream(const MessageIn& in);
  bool pump_apply();
  void submit_apply(ApplyEntry& e);
  void apply_granted(OpIndex i);
  void on_apply_done(OpIndex i, int error);
  void on_barrier_flushed(int error);
  bool pump_barrier();
  void finish_peer_read(OpIndex i, int error, BufferId buffer);
  void retire_apply();
  void replica_failed(int error);
  [[nodiscard]] bool stream_message_ok(const MessageIn& in) const;
  void drop_unsubmitted();
  void send_ack();
  void save_stable();
  [[nodiscard]] bool apply_idle() const { return apply_.empty(); }
  [[nodiscard]] bool apply_full() const { return apply_.full(); }

  // ---- resync.cpp: leader side
  void begin_resync();
  bool pump_resync();
  bool pump_demand();
  void stabilise_pieces();
  [[nodiscard]] bool application_active() const;
  void set_resync_rate();
  [[nodiscard]] bool resync_has_room() const;
  [[nodiscard]] std::uint64_t piece_regions() const;
  void secure_pieces();
  bool pass_ended();
  bool start_piece(bitmap::RegionRun run);
  void read_piece(OpIndex i);
  void on_piece_read(OpIndex i, const DiskDone& in);
  void send_piece(OpIndex i, bool zero);
  bool pump_clear();
  void clear_piece(OpIndex i);
  [[nodiscard]] bool piece_being_read() const;
  void heed_term(std::uint64_t term);
  void fail_orphans(const ByteRange& range);
  void heal_piece(ByteRange range, int error);
  void fail_blocked(const ByteRange& range);
  void pump_resync_end();
  void on_resync_done(const MessageIn& in);
  void check_orphans();
  [[nodiscard]] bool caught_up(const ByteRange& range) const;
  [[nodiscard]] bool resync_may_start() const;

  // ---- roles.cpp: commands, promote, demote, stop
  void on_command(const Command& in);
  void finish_command(CommandId id, Refusal r) {
    if (id != 0) emit(CommandDone{id, r});
  }
  [[nodiscard]] Refusal promote_refusal(bool confirm_dead, bool force) const;
  // The peer is there, and the stream is stopped by hand.
  [[nodiscard]] bool idle_with_peer() const {
    return link_ != 0 && !link_closing_ && hello_received_ && phase_ == Phase::idle &&
           (paused_ || peer_paused_);
  }
  [[nodiscard]] Refusal no_stream() const;
  void begin_promote(CommandId id, bool confirm_dead, bool force);
  void take_word(bool confirm_dead, bool force);
  // A session begins: what was confirmed or forced before says nothing of how it ends.
  void forget_word() { promote_.confirm_dead = promote_.force = alone_granted_ = false; }
  bool pump_promote();
  void persist_promotion();
  void abort_promote(Refusal why);
  void give_up_term(Refusal why);
  void become_source();
  void begin_demote(CommandId id, bool take_over, bool stopping);
  bool pump_demote();
  void tell_demoted();
  void finish_demote(Refusal result = Refusal::none);
  void abort_demote(Refusal why);
  void depose(std::uint64_t term);
  void on_term_taken(const MessageIn& in);
  void on_demoted(const MessageIn& in);
  void take_note_of_demotion();
  bool pump_follower_tickets();
  bool pump_stop();
  void resume_by_itself();
  void on_resolve(const Command& in, Resolution resolution);
  void on_switchover(const Command& in);
  void on_switchover_request(const MessageIn& in);
  void on_connect(CommandId id);
  void end_connect(Refusal result);
  void pump_connect();
  void on_pause(CommandId id, bool pause);
  void on_resync_command(const Command& in);

  // ---- status.cpp
  [[nodiscard]] MirrorSnapshot snapshot() const;
  [[nodiscard]] ReplicaState replica_state() const;
  [[nodiscard]] ReplicaState peer_replica_state() const;
  [[nodiscard]] LinkState link_state() const;
  [[nodiscard]] std::uint64_t copied_bytes() const;
  [[nodiscard]] bool undecided() const;
  [[nodiscard]] bool idle() const;

  [[nodiscard]] bitmap::Superblock& sb() { return meta_.superblock; }
  [[nodiscard]] const bitmap::Superblock& sb() const { return meta_.superblock; }
  [[nodiscard]] bitmap::PeerRecord& peer() { return meta_.superblock.peers[config_.peer.value()]; }
  [[nodiscard]] const bitmap::PeerRecord& peer() const {
    return meta_.superblock.peers[config_.peer.value()];
  }
  [[nodiscard]] const Policy& policy() const { return config_.policy; }
  [[nodiscard]] bool acting_source() const { return role_ == Role::source || role_ == Role::demoting; }

  static constexpr OpId kOpTable = OpId{1} << 60;
  static constexpr OpId kLocalFlush = OpId{3} << 60;
  static constexpr OpId kBarrierFlush = OpId{4} << 60;

  Config config_;
  Metadata meta_;
  Random random_;
  Instant now_;
  Outputs* out_ = nullptr;
  bool again_ = false;

  std::vector<Op> ops_;
  std::vector<OpIndex> free_ops_;
  RangeLocks locks_;
  std::vector<OpIndex> granted_;  // by a release, to act on
  std::vector<OpIndex> waiting_;  // client operations with their range, not started
  std::vector<OpIndex> blocked_;  // client operations on a region that is not equal yet; they hold no range
  std::vector<OpIndex> orphans_;  // done locally, lost by the peer, not answered
  StreamRing ring_;
  std::uint64_t disk_in_flight_ = 0;
  std::uint32_t client_ops_ = 0;
  bool numbering_ = false;           // numbers below sequence_limit are ours to give
  std::uint64_t received_high_ = 0;  // highest number seen from a leader
  bool waiting_changed_ = false;
  bool slots_wanted_ = false;
  Instant slot_wait_since_ = Instant::never();  // since when somebody finds no slot
  std::optional<ExtentIndex> draining_;         // takes no new writes, so that its slot gets free

  // local disk
  bool attached_ = false;
  bool attach_begun_ = false;
  Metadata::Ticket attach_ticket_ = 0;
  bool detached_ = false;               // the data disk failed while we were source or target
  bool degrade_due_ = false;            // our disk failed while the peer was joining: told when it has joined
  bool degrade_acked_ = false;          // peer has durably noted that we lost our disk
  Metadata::Ticket detach_ticket_ = 0;  // and our own note of it
  bool flush_failed_ = false;
  bool flush_running_ = false;
  std::uint64_t flush_started_ = 0;  // tickets: n-th flush
  std::uint64_t flush_done_ = 0;
  std::uint64_t flush_wanted_ = 0;
  std::uint64_t flush_cover_ = 0;  // of the running one: all numbers up to it were done at its start
  std::uint64_t local_stable_ = 0;

  // client flushes
  std::vector<RequestId> flush_waiting_;
  std::vector<RequestId> flush_round_;
  bool flush_round_active_ = false;
  std::uint64_t flush_round_ticket_ = 0;
  std::uint64_t flush_round_sequence_ = 0;  // flush point sent to the peer; 0: none
  bool flush_round_peer_ = false;           // the peer is to be waited for

  // stability
  bool stability_wanted_ = false;
  std::uint64_t flush_point_sent_ = 0;  // last flush point in the stream
  Instant intent_check_at_ = Instant::never();

  // writing alone
  bool degrade_wanted_ = false;
  bool degrade_running_ = false;
  Metadata::Ticket ahead_ticket_ = 0;
  bool ahead_opening_ = false;       // ahead_after_ is not stable here yet
  bool ahead_held_ = false;          // some answers wait for acked_ahead to change
  std::uint64_t ahead_after_ = 0;    // the last number before the first async write
  std::uint64_t ahead_last_ = 0;     // the last number that was answered ahead
  std::uint64_t prepare_flush_ = 0;  // ticket of the local flush that a session waits for
  // The first local flush that covers all that was acknowledged while both had it, in earlier sessions.
  std::uint64_t shared_flush_ = 1;
  bool degrade_fact_ = false;  // the peer lacks writes that were answered ahead of it (async)
  // "The peer lacks something" was written down with the right to write alone. Not so after a restart, or
  // when a handshake made the peer a target of resync.
  bool lacks_by_right_ = false;
  bool alone_granted_ = false;  // operator or cluster confirmed, for the present loss
  bool frozen_ = false;
  Metadata::Ticket degrade_ticket_ = 0;  // of the newest change to peer().data

  // link and session
  bool link_wanted_ = false;
  bool admin_disconnected_ = false;
  LinkId link_ = 0;
  bool link_closing_ = false;
  Phase phase_ = Phase::none;
  Refusal refusal_ = Refusal::none;
  Instant last_received_;
  Instant last_sent_;
  Instant phase_deadline_ = Instant::never();
  bool hello_received_ = false;
  wire::HelloBody peer_hello_;
  std::uint32_t round_ = 0;
  std::uint32_t nonce_ = 0;
  bool state_sent_ = false;
  bool state_received_ = false;
  bool verdict_received_ = false;
  wire::StateBody my_state_;
  wire::StateBody peer_state_;
  bool peer_state_known_ = false;
  Instant peer_said_at_;  // peer_state_
  Verdict verdict_;
  wire::VerdictBody peer_verdict_;
  std::uint32_t session_ = 0;
  bool leading_ = false;
  bool bitmap_complete_ = false;
  int prepare_stage_ = 0;
  Metadata::Ticket record_ticket_ = 0;
  Metadata::Ticket session_ticket_ = 0;
  Metadata::Ticket relied_ticket_ = 0;  // "the follower has written down this session"
  wire::SessionStartBody start_body_;
  std::vector<std::byte> body_;                   // scratch for encoding
  std::vector<std::vector<std::byte>> body_out_;  // bodies of this turn's messages (handshakes only)
  bool turn_ended_ = false;
  std::uint32_t stream_count_ = 0;  // stream messages of the session, both sides count

  // leading
  bool in_stream_ = false;
  bool in_ack_set_ = false;
  std::uint64_t peer_received_ = 0;
  std::uint64_t peer_applied_ = 0;
  std::uint64_t peer_stable_ = 0;
  Instant last_progress_;
  std::uint32_t window_messages_ = 0;
  std::uint32_t window_bytes_ = 0;
  std::uint64_t unapplied_messages_ = 0;
  std::uint64_t peer_reads_ = 0;  // asked of the follower, not answered
  std::uint64_t unapplied_bytes_ = 0;
  std::uint64_t queue_bytes_ = 0;  // of them, what clients wrote
  bool clients_present_ = false;   // somebody holds the export open
  bool track_restart_ = false;     // queue policy `track` stopped the stream: begin again by ourselves
  bool paused_ = false;
  bool peer_paused_ = false;
  bool peer_is_source_ = false;  // as of the session's states and terms

  // resync
  bool resync_active_ = false;
  bool resync_error_ = false;     // a piece could not be read in this pass
  bool resync_released_ = false;  // hold_resync
  bool resync_joining_ = false;   // maybe_current is being made durable
  bool resync_end_sent_ = false;
  Metadata::Ticket join_ticket_ = 0;
  std::uint64_t resync_end_sequence_ = 0;
  std::uint64_t resync_cursor_ = 0;  // region
  std::uint64_t demand_region_ = UINT64_MAX;
  std::array<std::uint64_t, 64> healed_{};  // offsets of pieces written over from the peer, in this resync
  std::uint32_t healed_count_ = 0;
  std::uint32_t pieces_ = 0;  // operations of kind resync and clear_bits
  std::uint64_t resync_total_bytes_ = 0;
  Fifo<SentPiece> sent_pieces_;
  ResyncCounters resync_counters_;
  ResyncCounters resync_counters_before_;          // as the running resync began
  Instant resync_retry_at_ = Instant::never();     // the rate allows the next piece
  Instant resync_error_until_ = Instant::never();  // after a pass with a piece that could not be read
  ResyncRate resync_rate_;
  std::uint64_t resync_messages_ = 0;  // of unapplied_messages_
  Instant client_answered_at_;         // the last time

  // following
  Fifo<ApplyEntry> apply_;
  std::size_t apply_submitted_ = 0;
  std::uint64_t barrier_entry_ = 0;  // number of the flush point being carried out
  std::uint64_t apply_popped_ = 0;   // entries that left; their number is popped + position
  bool replica_uptodate_ = false;    // in sync with a live session
  std::uint64_t received_ = 0;
  std::uint64_t applied_ = 0;
  std::uint64_t stable_ = 0;
  bool ack_due_ = false;
  bool barrier_running_ = false;
  bool barrier_superblock_ = false;
  Metadata::Ticket barrier_ticket_ = 0;
  wire::History end_history_;
  Instant stable_saved_at_;
  Metadata::Ticket stable_ticket_ = 0;
  std::uint64_t stable_saving_ = 0;
  struct FollowUp {  // an answer that waits for the superblock
    wire::Type answer = wire::Type::ping;
    Metadata::Ticket ticket = 0;
    std::uint64_t term = 0;
    bool promote = false;
  };
  std::vector<FollowUp> follow_ups_;
  bool demoted_heard_ = false;
  bool degrade_heard_ = false;  // the leader's disk failed; waits for what came before, then for a flush
  wire::History degrade_history_;
  std::uint64_t degrade_after_ = 0;  // number of the apply entry behind the last that came before
  std::uint64_t degrade_flush_ = 0;  // ticket of the local flush; 0: not asked for yet
  bool take_over_heard_ = false;

  // roles
  Role role_ = Role::target;
  bool export_open_ = false;
  struct Promotion {
    bool active = false;
    CommandId command = 0;
    bool confirm_dead = false;
    bool force = false;
    bool alone = false;  // decided without a session, by a proof
    int stage = 0;
    std::uint64_t flush_ticket = 0;
    Metadata::Ticket ticket = 0;
    Instant deadline = Instant::never();
  } promote_;
  struct Demotion {
    bool active = false;
    CommandId command = 0;
    bool take_over = false;
    bool stopping = false;
    int stage = 0;
    std::uint64_t flush_ticket = 0;
    std::uint64_t flush_point = 0;
    Metadata::Ticket ticket = 0;
    Instant deadline = Instant::never();
  } demote_;
  struct Stop {
    bool active = false;
    CommandId command = 0;
    int stage = 0;
    bool was_source = false;
    std::uint64_t flush_ticket = 0;
    Metadata::Ticket ticket = 0;
  } stop_;
  CommandId switchover_command_ = 0;  // at the target, until we are source
  Instant switchover_deadline_ = Instant::never();
  struct Connecting {
    CommandId command = 0;
    Refusal known = Refusal::none;  // what the peer said last
    Instant deadline = Instant::never();
  } connect_;
  CommandId resolve_command_ = 0;
  Metadata::Ticket resolve_ticket_ = 0;
  bool resume_tried_ = false;
};

}  // namespace twinblock::core
