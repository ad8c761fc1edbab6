// The metadata area of one node, byte by byte, and what it would say after a crash right now.
//
// Rules: a write is durable when it completes; at a crash any subset of its 512-byte sectors has landed.
// A *mark* ("the replicas may differ here") counts only if it is there in every possible outcome: named by
// the durable state and also by every write in flight that may replace it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/random.hpp"
#include "bitmap/codec.hpp"
#include "replicator/core/io.hpp"

namespace twinblock::sim {

class MetadataDisk {
 public:
  struct Op {
    core::MetaWrite io{};
    bool used = false;
  };

  MetadataDisk(const bitmap::Geometry& geometry, NodeIndex peer);

  void format(const bitmap::Superblock& superblock);
  std::uint32_t submit(const core::MetaWrite& io);
  [[nodiscard]] const Op& op(std::uint32_t slot) const { return ops_[slot]; }
  void complete(std::uint32_t slot, bool ok, Random& random);
  // REQUIRES: the core that submitted still exists (its buffers are read).
  void crash(Random& random);
  // The write in flight to this block ends here: exactly its first bytes have landed, in whole sectors.
  // REQUIRES: a crash follows.
  void land_prefix(std::uint64_t block, std::size_t bytes);
  // Damages one random block; of the superblocks one copy, if both are good.
  void rot(Random& random);
  // REQUIRES: crash() has just run. The newest write of one superblock copy or of the bitmap page turns out
  // never to have landed, or to have landed elsewhere: one fault, of a kind that P11 promises to survive. (A
  // lost newest intent record cannot be noticed.) False: no such write, or another fault hit its kind.
  bool lie(Random& random);
  // To look at or to change at once; recover() after a change.
  [[nodiscard]] std::vector<std::byte>& area() {
    recovered_.reset();
    return area_;
  }

  // Fails (checker "P11") when the area cannot be recovered; refreshes the marks.
  const bitmap::Recovered& recover();

  [[nodiscard]] const bitmap::Superblock& superblock() const { return superblock_; }
  [[nodiscard]] const bitmap::PeerRecord& peer() const { return superblock_.peers[peer_.value()]; }
  // What is left if the newer of the two copies rots (P11).
  [[nodiscard]] const bitmap::Superblock& weakest() const {
    return copies_[copy_sequences_[1] < copy_sequences_[0] ? 1 : 0];
  }
  [[nodiscard]] std::uint64_t superblock_sequence() const { return superblock_sequence_; }
  [[nodiscard]] std::uint64_t weakest_sequence() const {
    return std::min(copy_sequences_[0], copy_sequences_[1]);
  }
  // The extent's intent is durable and stays so.
  [[nodiscard]] bool hot(std::uint32_t extent) const { return (hot_ & flying_hot_) >> extent & 1; }
  [[nodiscard]] bool bit(std::uint64_t region) const {
    const std::uint64_t word =
        flying_page_ ? bits_[region / 64] & flying_bits_[region / 64] : bits_[region / 64];
    return (word >> (region % 64) & 1) != 0;
  }
  [[nodiscard]] bool needs_full() const { return peer().needs_full || peer().identity == 0; }

 private:
  [[nodiscard]] bool is_page(std::uint64_t block) const { return block == page_block_; }
  [[nodiscard]] bool is_record(std::uint64_t block) const {
    return block >= 2 && block < 2 + 2 * bitmap::kIntentRecords;
  }
  [[nodiscard]] std::uint64_t hot_mask(std::span<const std::byte> record) const;
  void read_bits(std::span<const std::byte> page, std::vector<std::uint64_t>& out) const;
  // Of the area from a block on; what was recovered before no longer counts.
  [[nodiscard]] std::byte* change(std::uint64_t block) {
    recovered_.reset();
    return area_.data() + block * bitmap::kBlockSize;
  }
  struct Undo {
    bool valid = false;
    std::uint64_t block = 0;
    std::vector<std::byte> before;
    std::vector<std::byte> after;
  };
  [[nodiscard]] bool good_copy(std::uint64_t block) const;
  void keep_undo(Undo& undo, const core::MetaWrite& io);
  void land_torn(const core::MetaWrite& io, Random& random);
  void refresh_flying();

  bitmap::Geometry geometry_;
  NodeIndex peer_;
  std::uint64_t page_block_;
  std::vector<std::byte> area_;
  std::optional<bitmap::Recovered> recovered_;  // of the area as it is: hundreds of blocks have checksums
  std::vector<Op> ops_;
  bitmap::Superblock superblock_;
  std::uint64_t superblock_sequence_ = 0;
  std::array<bitmap::Superblock, 2> copies_;
  std::array<std::uint64_t, 2> copy_sequences_{};
  std::uint64_t hot_ = 0;  // one bit per extent
  std::uint64_t flying_hot_ = ~std::uint64_t{0};
  bool flying_page_ = false;
  std::vector<std::uint64_t> bits_;
  std::vector<std::uint64_t> flying_bits_;
  Undo undo_superblock_;
  Undo undo_page_;
};

}  // namespace twinblock::sim
