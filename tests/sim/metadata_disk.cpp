#include "tests/sim/metadata_disk.hpp"

#include <algorithm>
#include <cstring>

#include "base/assert.hpp"
#include "bitmap/decode.hpp"
#include "tests/sim/failure.hpp"

namespace twinblock::sim {
namespace {

constexpr std::size_t kSector = 512;

}  // namespace

MetadataDisk::MetadataDisk(const bitmap::Geometry& geometry, NodeIndex peer)
    : geometry_{geometry},
      peer_{peer},
      page_block_{geometry.page(geometry.page_of(peer, RegionIndex{0})).value()},
      area_(geometry.area_size().value()),
      bits_((geometry.region_count() + 63) / 64),
      flying_bits_(bits_.size()) {
  TB_ASSERT(geometry.pages_per_slot() == 1 && geometry.extent_count() <= 64);
}

void MetadataDisk::format(const bitmap::Superblock& superblock) {
  area_ = bitmap::format_area(superblock, 0);
  recovered_.reset();
  undo_superblock_.valid = undo_page_.valid = false;
  ops_.clear();
  recover();
}

std::uint32_t MetadataDisk::submit(const core::MetaWrite& io) {
  if (io.bytes.size() % bitmap::kBlockSize != 0 || io.bytes.empty() ||
      io.block * bitmap::kBlockSize + io.bytes.size() > area_.size()) {
    fail("metadata", "metadata write outside the area or of odd length");
  }
  for (const Op& other : ops_) {
    if (!other.used) continue;
    const std::uint64_t end = io.block + io.bytes.size() / bitmap::kBlockSize;
    const std::uint64_t other_end = other.io.block + other.io.bytes.size() / bitmap::kBlockSize;
    if (io.block < other_end && other.io.block < end) fail("metadata", "two writes to one block in flight");
    if (io.block < 2 && other.io.block < 2) fail("P11", "both superblock copies are being written at once");
  }
  std::uint32_t slot = 0;
  while (slot < ops_.size() && ops_[slot].used) ++slot;
  if (slot == ops_.size()) ops_.emplace_back();
  ops_[slot] = {io, true};
  refresh_flying();
  return slot;
}

std::uint64_t MetadataDisk::hot_mask(std::span<const std::byte> record) const {
  const bitmap::IntentView view{bitmap::ConstBlock{record.first<bitmap::kBlockSize>()}, 0};
  std::uint64_t mask = 0;
  for (std::uint32_t i = 0; i < view.hot_count(); ++i) mask |= std::uint64_t{1} << view.hot(i).value();
  return mask;
}

void MetadataDisk::read_bits(std::span<const std::byte> page, std::vector<std::uint64_t>& out) const {
  std::memcpy(out.data(), page.data() + bitmap::layout::kBits.offset, out.size() * sizeof out[0]);
}

void MetadataDisk::refresh_flying() {
  flying_hot_ = ~std::uint64_t{0};
  flying_page_ = false;
  for (const Op& op : ops_) {
    if (!op.used) continue;
    if (is_record(op.io.block)) flying_hot_ &= hot_mask(op.io.bytes);
    if (is_page(op.io.block)) {
      flying_page_ = true;
      read_bits(op.io.bytes, flying_bits_);
    }
  }
}

void MetadataDisk::complete(std::uint32_t slot, bool ok, Random& random) {
  const core::MetaWrite io = ops_[slot].io;
  ops_[slot].used = false;
  refresh_flying();
  if (!ok) {
    land_torn(io, random);
    recover();
    return;
  }
  if (io.block < 2) keep_undo(undo_superblock_, io);
  if (is_page(io.block)) keep_undo(undo_page_, io);
  std::memcpy(change(io.block), io.bytes.data(), io.bytes.size());
  for (std::size_t i = 0; i < io.bytes.size() / bitmap::kBlockSize; ++i) {
    const bitmap::BlockIndex at{io.block + i};
    const bitmap::ConstBlock block{io.bytes.subspan(i * bitmap::kBlockSize).first<bitmap::kBlockSize>()};
    if (!bitmap::check_block(block, at, superblock_.area_id)) {
      fail("metadata", "a metadata write is not a good block (buffer changed in flight?)");
    }
  }
  if (io.block < 2) {
    const bitmap::SuperblockCopy copy = bitmap::decode_superblock(
        bitmap::ConstBlock{io.bytes.first<bitmap::kBlockSize>()}, bitmap::BlockIndex{io.block});
    if (copy.error) fail("metadata", "superblock that does not decode");
    copies_[io.block] = copy.superblock;
    copy_sequences_[io.block] = copy.sequence;
    if (copy.sequence >= superblock_sequence_) superblock_ = copy.superblock;
    superblock_sequence_ = std::max(superblock_sequence_, copy.sequence);
  } else if (is_record(io.block)) {
    hot_ = hot_mask(io.bytes);
  } else if (is_page(io.block)) {
    read_bits(io.bytes, bits_);
  }
}

void MetadataDisk::land_torn(const core::MetaWrite& io, Random& random) {
  const std::uint64_t kind = random.below(4);  // all, nothing, or some
  for (std::size_t at = 0; at < io.bytes.size(); at += kSector) {
    const bool lands = kind == 0 || (kind > 1 && random.one_in(2));
    if (lands) std::memcpy(change(io.block) + at, io.bytes.data() + at, kSector);
  }
}

void MetadataDisk::crash(Random& random) {
  for (Op& op : ops_) {
    if (!op.used) continue;
    land_torn(op.io, random);
    if (op.io.block < 2) undo_superblock_.valid = false;
    if (is_page(op.io.block)) undo_page_.valid = false;
    op.used = false;
  }
  refresh_flying();
  recover();
}

void MetadataDisk::land_prefix(std::uint64_t block, std::size_t bytes) {
  for (Op& op : ops_) {
    if (!op.used || op.io.block != block) continue;
    const std::size_t landed = std::min(bytes / kSector * kSector, op.io.bytes.size());
    std::memcpy(change(block), op.io.bytes.data(), landed);
    op.used = false;
    if (block < 2) undo_superblock_.valid = false;
    if (is_page(block)) undo_page_.valid = false;
  }
}

bool MetadataDisk::good_copy(std::uint64_t block) const {
  const std::span<const std::byte> bytes{area_.data() + block * bitmap::kBlockSize, bitmap::kBlockSize};
  return !bitmap::decode_superblock(bitmap::ConstBlock{bytes.first<bitmap::kBlockSize>()},
                                    bitmap::BlockIndex{block})
              .error;
}

void MetadataDisk::keep_undo(Undo& undo, const core::MetaWrite& io) {
  const auto at = area_.begin() + static_cast<std::ptrdiff_t>(io.block * bitmap::kBlockSize);
  undo.valid = true;
  undo.block = io.block;
  undo.before.assign(at, at + static_cast<std::ptrdiff_t>(io.bytes.size()));
  undo.after.assign(io.bytes.begin(), io.bytes.end());
}

bool MetadataDisk::lie(Random& random) {
  Undo& undo = random.one_in(2) ? undo_superblock_ : undo_page_;
  if (!undo.valid || !good_copy(0) || !good_copy(1)) return false;
  std::memcpy(change(undo.block), undo.before.data(), undo.before.size());
  const std::uint64_t elsewhere = random.below(area_.size() / bitmap::kBlockSize);
  const bool safe = undo.block >= 2 || elsewhere >= 2;  // both superblocks at once are more than one fault
  if (random.one_in(2) && safe && elsewhere != undo.block)
    std::memcpy(change(elsewhere), undo.after.data(), bitmap::kBlockSize);
  undo_superblock_.valid = undo_page_.valid = false;
  recover();
  return true;
}

void MetadataDisk::rot(Random& random) {
  // After a crash only one superblock may be good, and then refusing to start is right (P11).
  std::uint64_t block = random.one_in(2) ? page_block_ : 2 + random.below(2 * bitmap::kIntentRecords);
  if (random.one_in(3) && good_copy(0) && good_copy(1)) block = random.below(2);
  change(block)[random.below(bitmap::kBlockSize)] ^= std::byte{0x10};
  recover();
}

const bitmap::Recovered& MetadataDisk::recover() {
  if (!recovered_) {
    Result<bitmap::Recovered> recovered = bitmap::recover(area_);
    if (!recovered) fail("P11", "metadata cannot be recovered: " + recovered.error().message());
    recovered_.emplace(std::move(*recovered));
  }
  superblock_ = recovered_->superblock;
  superblock_sequence_ = recovered_->superblock_sequence;
  copies_ = {superblock_, superblock_};  // the core rewrites both before it builds on one
  copy_sequences_ = {superblock_sequence_, superblock_sequence_};
  hot_ = recovered_->all_hot ? ~std::uint64_t{0} : 0;
  for (const ExtentIndex e : recovered_->hot) hot_ |= std::uint64_t{1} << e.value();
  std::fill(bits_.begin(), bits_.end(), 0);
  const auto& map = recovered_->dirty[peer_.value()];
  if (map) std::copy(map->words().begin(), map->words().end(), bits_.begin());
  return *recovered_;
}

}  // namespace twinblock::sim
