// Deliberate faults for `./run sim --mutants`: each breaks one duty of the core, and the simulator has to
// notice. They exist only in the library core_mutants (TWINBLOCK_MUTANTS); in the product TB_MUTANT is false.
#pragma once

#include <cstdint>

namespace twinblock::core {

#define TWINBLOCK_MUTANT_LIST(X)                                                                           \
  X(intent_after_data, "data is written before its extent's intent is durable (P3)")                       \
  X(intent_dropped_at_completion, "intent dropped when the write completed, not when stable (P4)")         \
  X(intent_ignores_peer_stable, "intent dropped without waiting for the peer's stable report (P4)")        \
  X(bit_cleared_at_completion, "resync bit cleared when the peer applied, not when stable (P4)")           \
  X(bits_not_set_on_link_loss, "writes in flight at link loss leave no bits (P4)")                         \
  X(bits_not_set_alone, "writes without a peer set no bits (P4)")                                          \
  X(pages_not_persisted_before_drop, "intent dropped before the bitmap page is durable (P4)")              \
  X(bump_after_ack, "degraded write acknowledged before the new generation is durable (P7)")               \
  X(no_bump, "no new generation when writing alone (P7)")                                                  \
  X(ack_before_peer, "sync write acknowledged when the local disk has it (P1)")                            \
  X(flush_local_only, "flush does not wait for the peer (P2)")                                             \
  X(flush_peer_only, "flush does not flush the local disk (P2)")                                           \
  X(fua_ignored, "FUA treated as a plain write (P2)")                                                      \
  X(target_flush_is_no_barrier, "target applies writes behind a flush point before its flush (P6)")        \
  X(target_overlap_unordered, "target lets overlapping writes race (P5)")                                  \
  X(source_overlap_unordered, "source lets overlapping writes race (P5)")                                  \
  X(resync_without_lock, "resync reads a region while a write to it is in flight (P5)")                    \
  X(zero_piece_not_locked, "target lets a resync's zeroes race with writes to their range (P5)")           \
  X(resync_before_inconsistent, "resync writes before the inconsistent mark is durable (P8)")              \
  X(uptodate_without_flush, "target says uptodate without its flush (P8)")                                 \
  X(uptodate_before_superblock, "target says uptodate before its superblock is durable (P8)")              \
  X(mark_cleared_too_late, "source still believes the peer lacks data when it may be uptodate (P7/P8)")    \
  X(promote_inconsistent, "inconsistent replica may be promoted (P9)")                                     \
  X(promote_consistent, "consistent replica may be promoted without a proof (P9)")                         \
  X(boot_alone_if_was_source, "was source when crashed is enough to become source alone (P9)")             \
  X(older_term_accepted, "a source goes on although it was told of a higher term (P12)")                   \
  X(split_brain_newest_wins, "diverged histories are resynced from the higher term (P10)")                 \
  X(hot_extents_forgotten, "hot extents are not turned into bits after a crash (P3)")                      \
  X(follower_bits_ignored, "bits of the returning old source are not merged (P10)")                        \
  X(read_ignores_writes, "reads do not wait for overlapping writes in flight (P15)")                       \
  X(read_dirty_after_restart, "regions not yet equal are served after a source restart (P8/P15)")          \
  X(repair_without_lock, "read repair does not take the range lock (P15)")                                 \
  X(detach_acks_at_once, "after a local disk error writes are acknowledged before the peer has them (P7)") \
  X(failed_flush_retried, "a failed flush is retried into success (P4)")                                   \
  X(stable_sequence_too_high, "target reports stable what arrived after its flush began (P4)")             \
  X(promote_before_drain, "target is promoted before it applied what it received (P6)")                    \
  X(rollback_not_noticed, "a replica put back to before the last session is not noticed (row 42)")         \
  X(session_never_common, "the leader goes on taking the mark of the session before for good (row 42)")    \
  X(superblock_one_copy, "superblock update counts as durable after its first sector-torn copy (P11)")

enum class Mutant : std::uint8_t {
  none = 0,
#define TWINBLOCK_MUTANT_ENUM(name, text) name,
  TWINBLOCK_MUTANT_LIST(TWINBLOCK_MUTANT_ENUM)
#undef TWINBLOCK_MUTANT_ENUM
};

#ifdef TWINBLOCK_MUTANTS
// Set by the simulator before a run; one thread only.
inline thread_local Mutant g_active_mutant = Mutant::none;
#define TB_MUTANT(name) (::twinblock::core::g_active_mutant == ::twinblock::core::Mutant::name)
#else
#define TB_MUTANT(name) false
#endif

}  // namespace twinblock::core
