// What a crash left behind. The log says which extents may be unequal, the pages which regions are known to
// be; every doubt about a block is answered with "dirty" or "hot", every doubt about who we are with an
// error. Rejected: falling back to the newest *consistent* older state of the log, because an extent that
// became hot in an unreadable record would silently count as equal.
#include <algorithm>
#include <array>
#include <cstring>

#include "bitmap/codec.hpp"
#include "bitmap/decode.hpp"

namespace twinblock::bitmap {
namespace {

constexpr std::uint64_t kBadPageSequenceJump = std::uint64_t{1} << 32;

std::uint64_t whole_blocks(std::span<const std::byte> area) {
  return area.size() / kBlockSize;
}

bool any_magic(std::span<const std::byte> area) {
  for (std::uint64_t b = 0; b < whole_blocks(area); ++b) {
    if (has_magic(block_at(area, BlockIndex{b}))) return true;
  }
  return false;
}

struct Chosen {
  Superblock superblock;
  std::uint64_t sequence = 0;
  int good_copies = 0;
};

bool readable(const SuperblockCopy& copy) {
  return !copy.error || copy.error == errc::newer_format;
}

// Two good copies that no sequence of our own writes can have produced.
bool contradict(const SuperblockCopy& a, const SuperblockCopy& b) {
  if (a.error || b.error) return false;
  if (a.superblock.area_id != b.superblock.area_id) return true;
  return a.sequence == b.sequence && a.superblock != b.superblock;
}

Result<Chosen> choose_superblock(std::span<const std::byte> area) {
  std::array<SuperblockCopy, 2> copies;
  for (std::uint64_t i = 0; i < 2; ++i) {
    copies[i].error = errc::block_not_ours;
    if (i < whole_blocks(area)) copies[i] = decode_superblock(block_at(area, BlockIndex{i}), BlockIndex{i});
  }
  const auto& [a, b] = copies;
  if (!readable(a) && !readable(b)) return any_magic(area) ? errc::superblocks_bad : errc::no_metadata;
  if (contradict(a, b)) return errc::superblocks_bad;
  // Of two with one sequence the one in a newer format counts: whoever wrote it knows more than we do.
  const bool b_newer = b.sequence > a.sequence || (b.sequence == a.sequence && b.error);
  const bool take_b = readable(b) && (!readable(a) || b_newer);
  const SuperblockCopy& best = take_b ? b : a;
  if (best.error) return best.error;
  if (!best.superblock.geometry.validate()) return errc::bad_geometry;
  const int copies_of_best = static_cast<int>(std::ranges::count_if(
      copies, [&](const SuperblockCopy& c) { return !c.error && c.sequence == best.sequence; }));
  return Chosen{best.superblock, best.sequence, copies_of_best};
}

// How many good blocks carry our area id, and how many another one.
struct Census {
  std::uint64_t ours = 0;
  std::uint64_t foreign = 0;
  void count(const ErrorCode& error) {
    if (!error) ++ours;
    if (error == errc::block_other_area) ++foreign;
  }
};

// The copies of one place in the ring that are good.
struct Place {
  std::array<std::optional<IntentView>, 2> copies;
  bool blank = true;  // both blocks all zero: never written

  [[nodiscard]] bool holds(std::uint64_t log_sequence) const {
    return std::ranges::any_of(
        copies, [&](const auto& c) { return c.has_value() && c->log_sequence() == log_sequence; });
  }
};
using Ring = std::array<Place, kIntentRecords>;

bool all_zero(ConstBlock block) {
  static constexpr std::array<std::byte, kBlockSize> kZero{};
  return std::memcmp(block.data(), kZero.data(), kBlockSize) == 0;
}

Ring read_ring(std::span<const std::byte> area, const Superblock& sb, Census& census) {
  Ring ring;
  for (std::uint64_t place = 0; place < kIntentRecords; ++place) {
    const std::uint64_t first = sb.geometry.intent_record(place).value();
    for (std::uint64_t copy = 0; copy < 2; ++copy) {
      const BlockIndex at{first + copy};
      const ConstBlock block = block_at(area, at);
      const Result<IntentView> view = decode_intent(block, at, sb);
      census.count(view ? ErrorCode{} : view.error());
      if (view) ring[place].copies[copy] = *view;
      ring[place].blank = ring[place].blank && !view && all_zero(block);
    }
  }
  return ring;
}

// Takes the hot set of the newest good record. Two good copies of it that differ are no write of ours.
void take_newest(const Ring& ring, Recovered& out) {
  for (const Place& place : ring) {
    for (const auto& copy : place.copies) {
      if (copy) out.log_sequence = std::max(out.log_sequence, copy->log_sequence());
    }
  }
  if (out.log_sequence == 0) return;
  const Place& newest = ring[out.log_sequence % kIntentRecords];
  const auto& [a, b] = newest.copies;
  const bool take_a = a && a->log_sequence() == out.log_sequence;
  const IntentView& view = take_a ? *a : *b;
  for (std::uint32_t i = 0; i < view.hot_count(); ++i) out.hot.push_back(view.hot(i));
  if (take_a && b && b->log_sequence() == out.log_sequence && !a->same_content(*b)) out.all_hot = true;
}

// Holds the ring against what it must contain: the last 32 records, in order, and blank places only where
// the log is younger than that.
void check_ring(const Ring& ring, Recovered& out) {
  const std::uint64_t newest = out.log_sequence;
  if (newest == 0) out.all_hot = true;
  for (std::uint64_t age = 0; age < kIntentRecords; ++age) {
    const Place& place = ring[(newest % kIntentRecords + kIntentRecords - age) % kIntentRecords];
    const bool good = newest > age ? place.holds(newest - age) : place.blank;
    if (good) continue;
    // The oldest place is the one that the write after `newest` was going to.
    if (newest != 0 && age == kIntentRecords - 1) {
      out.torn_newest = true;
      continue;
    }
    ++out.bad_log_records;
    out.all_hot = true;
  }
}

// The lowest sequence each page may have; also from records of which only one copy survives.
void take_relied(const Ring& ring, std::vector<std::uint64_t>& required) {
  for (const Place& place : ring) {
    for (const auto& copy : place.copies) {
      if (!copy) continue;
      for (std::uint32_t i = 0; i < copy->relied_count(); ++i) {
        const ReliedPage relied = copy->relied(i);
        std::uint64_t& least = required[relied.page.value()];
        least = std::max(least, relied.sequence);
      }
    }
  }
}

void read_pages(std::span<const std::byte> area, Recovered& out, Census& census) {
  const Superblock& sb = out.superblock;
  for (std::uint32_t p = 0; p < sb.geometry.page_count(); ++p) {
    const PageIndex page{p};
    const ConstBlock block = block_at(area, sb.geometry.page(page));
    const Result<std::uint64_t> sequence = decode_page(block, page, sb);
    census.count(sequence ? ErrorCode{} : sequence.error());
    const bool good = sequence && *sequence >= out.page_sequences[p];
    if (good) {
      out.page_sequences[p] = *sequence;
    } else {
      // What the page had reached is lost with it: go on above every number that may have been used.
      out.page_sequences[p] += kBadPageSequenceJump;
      ++out.bad_pages;
    }
    std::optional<DirtyMap>& map = out.dirty[p / sb.geometry.pages_per_slot()];
    if (!map) continue;
    const RegionRun regions = page_regions(sb.geometry, page);
    if (good) {
      map->merge_bytes(regions.first, block.subspan<layout::kBits.offset, layout::kBits.size>());
    } else {
      map->set(regions);
    }
  }
}

}  // namespace

Result<Recovered> recover(std::span<const std::byte> area) {
  const Result<Chosen> chosen = choose_superblock(area);
  if (!chosen) return chosen.error();
  const Superblock& sb = chosen->superblock;
  if (whole_blocks(area) < sb.geometry.block_count()) return errc::bad_geometry;

  Recovered out;
  out.superblock = sb;
  out.superblock_sequence = chosen->sequence;
  out.superblock_good_copies = chosen->good_copies;
  out.read_only = (sb.read_only_features & ~kReadOnlyFeaturesKnown) != 0;
  for (std::size_t slot = 0; slot < kNodeCountMax; ++slot) {
    if (sb.peers[slot].identity != 0) out.dirty[slot].emplace(sb.geometry.region_count());
  }

  Census census;
  const Ring ring = read_ring(area, sb, census);
  take_newest(ring, out);
  check_ring(ring, out);
  out.page_sequences.assign(sb.geometry.page_count(), 0);
  take_relied(ring, out.page_sequences);
  read_pages(area, out, census);
  // A lone superblock of an earlier creation over someone else's log and pages is not our identity.
  if (census.ours == 0 && census.foreign > 0) return errc::superblocks_bad;
  for (std::size_t slot = 0; slot < kNodeCountMax; ++slot) {
    if (out.dirty[slot] && sb.peers[slot].needs_full) out.dirty[slot]->set_all();
  }
  return out;
}

Result<Superblock> peek(std::span<const std::byte> first_two_blocks) {
  const Result<Chosen> chosen = choose_superblock(first_two_blocks);
  if (!chosen) return chosen.error();
  return chosen->superblock;
}

}  // namespace twinblock::bitmap
