// Carries the metadata of one replica to its disk: superblock (two copies, one after the other), intent
// records, bitmap pages. Callers change memory and take a ticket; a ticket is durable when the state of the
// moment it was taken (or a later one) is on disk.
//
// Durability: a superblock update counts when both copies are written; a page before any intent record that
// drops an extent relying on it; a record names the pages written lately, so that a lost page write is found.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "bitmap/codec.hpp"
#include "replicator/core/intents.hpp"
#include "replicator/core/io.hpp"

namespace twinblock::core {

class Metadata {
 public:
  using Ticket = std::uint64_t;

  Metadata(bitmap::Recovered recovered, NodeIndex peer);

  bitmap::Superblock superblock;  // memory; call superblock_changed() after changes
  bitmap::DirtyMap dirty;         // bits of the one peer
  Intents intents;

  // ---- superblock
  Ticket superblock_changed() { return ++superblock_wanted_; }
  [[nodiscard]] bool superblock_durable(Ticket t) const { return superblock_durable_ >= t; }

  // ---- bits: all changes go through here
  void set_bits(bitmap::RegionRun run);
  void clear_bits(bitmap::RegionRun run);
  void set_all_bits();
  void clear_all_bits();
  void merge_bits(RegionIndex first, std::span<const std::byte> bytes);

  // All bits that are set now are durable once pages_durable(); those set later are the intent log's
  // business.
  void persist_pages();
  [[nodiscard]] bool pages_durable() const;
  // The bits *set* in this extent so far are durable.
  [[nodiscard]] bool extent_bits_durable(ExtentIndex e) const;
  // Asks for the pages of this extent to be written.
  void want_extent_pages(ExtentIndex e);

  // Until a record of the log names a page, a disk that lost its newest write cannot be told from one that
  // never got it (P11). What is built on the pages that are durable now waits for pages_recorded(ticket).
  // REQUIRES: forget_recovered_log() was called.
  Ticket record_pages();
  [[nodiscard]] bool pages_recorded(Ticket t) const { return relied_durable_ >= t; }

  // ---- intent log
  void want_record() { record_wanted_ = true; }
  // The newest durable record equals memory.
  [[nodiscard]] bool log_settled() const {
    return !intents.changed() && !record_in_flight_ && !record_wanted_ && log_rewrites_ == 0 &&
           !relied_record_due();
  }
  // After recovery, once the bits of what was hot are durable: the log may forget it, in the record that
  // names the last of the pages with these bits. A ring with unreadable records is written over completely,
  // or they would make everything hot again at the next start.
  void forget_recovered_log() { log_rewrites_allowed_ = true; }

  // Emits writes that may go now. Called at the end of a turn, so that one record serves the whole turn.
  void pump(Outputs& out);
  // True if `op` is one of ours; then the completion was taken.
  bool on_done(OpId op, int error);

  [[nodiscard]] bool failed() const { return failed_; }
  [[nodiscard]] bool busy() const { return in_flight_ > 0; }
  // Nothing in flight and nothing left to write.
  [[nodiscard]] bool settled() const {
    return in_flight_ == 0 && superblock_durable_ == superblock_wanted_ && log_settled() && !pages_wanted();
  }

  static constexpr OpId kOpBase = OpId{2} << 60;  // ids of metadata writes: kind in bits 56..59
  static bool is_metadata_op(OpId op) { return op >> 60 == 2; }

 private:
  struct Page {
    std::uint64_t version = 0;      // of the bits in memory
    std::uint64_t set_version = 0;  // version of the last *set*
    std::uint64_t barrier = 0;      // set_version when persist_pages() was last called
    std::uint64_t durable = 0;
    std::uint64_t writing = 0;  // version being written; 0: none
    bool wanted = false;
  };
  static constexpr std::size_t kPageBuffers = 8;
  using BlockBuffer = std::array<std::byte, bitmap::kBlockSize>;

  void bits_changed(bitmap::RegionRun run, bool set);
  [[nodiscard]] bool pages_wanted() const { return pages_wanted_count_ > 0; }
  void want_page(std::size_t i);
  void emit_superblock(Outputs& out, int copy);
  void emit_record(Outputs& out);
  void emit_pages(Outputs& out);
  void note_page_durable(std::size_t i, std::uint64_t sequence);
  void name_recovered(const bitmap::Recovered& recovered);
  void name_next_pages();
  void name_page(std::size_t i, std::uint64_t sequence);
  [[nodiscard]] bitmap::PageIndex page_index(std::size_t i) const {
    return bitmap::PageIndex{static_cast<std::uint32_t>(peer_.value() * pages_.size() + i)};
  }
  [[nodiscard]] bool relied_record_due() const {
    return log_rewrites_allowed_ && relied_submitted_ < relied_wanted_;
  }

  NodeIndex peer_;
  std::uint64_t superblock_sequence_;
  Ticket superblock_wanted_ = 0;
  Ticket superblock_writing_ = 0;
  Ticket superblock_durable_ = 0;
  int superblock_copy_ = -1;  // copy in flight; -1: none
  std::array<BlockBuffer, 2> superblock_buffers_{};

  std::uint64_t log_sequence_;
  bool record_in_flight_ = false;
  bool record_wanted_ = false;
  std::uint32_t log_rewrites_ = 0;
  bool log_rewrites_allowed_ = false;
  std::vector<ExtentIndex> recovered_hot_;  // goes on being named until the pages with its bits are
  std::vector<std::size_t> unnamed_pages_;  // pages of the start that no record names yet
  std::array<std::byte, std::size_t{2} * bitmap::kBlockSize> record_buffer_{};
  std::vector<ExtentIndex> record_extents_;
  std::vector<bitmap::ReliedPage> relied_;  // recently written pages, oldest first
  Ticket relied_count_ = 0;                 // pages written
  Ticket relied_submitted_ = 0;             // of them, named by a record that was submitted
  Ticket relied_durable_ = 0;               // named by a durable one
  Ticket relied_wanted_ = 0;                // to be named

  std::vector<Page> pages_;  // of the peer's slot
  std::vector<std::uint64_t> page_sequences_;
  std::size_t page_scan_ = 0;
  std::size_t pages_wanted_count_ = 0;
  std::array<BlockBuffer, kPageBuffers> page_buffers_{};
  std::array<std::size_t, kPageBuffers> page_of_buffer_{};
  std::array<std::uint64_t, kPageBuffers> sequence_of_buffer_{};
  std::array<bool, kPageBuffers> page_buffer_used_{};

  std::uint32_t in_flight_ = 0;
  bool failed_ = false;
};

}  // namespace twinblock::core
