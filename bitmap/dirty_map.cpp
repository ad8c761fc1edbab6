#include "bitmap/dirty_map.hpp"

#include <algorithm>
#include <bit>

#include "base/assert.hpp"
#include "bitmap/little_endian.hpp"

namespace twinblock::bitmap {
namespace {

constexpr std::uint64_t kWordBits = 64;
constexpr std::uint64_t kAllBits = ~std::uint64_t{0};

// Bits [first, first + count) of one word. REQUIRES: first < 64, 0 < count, first + count <= 64.
constexpr std::uint64_t mask(std::uint64_t first, std::uint64_t count) {
  return (kAllBits >> (kWordBits - count)) << first;
}

// Calls visit(word index, mask of the run in it) for each word the run touches, until visit returns false.
template <class Visit>
void for_each_word(RegionRun run, Visit visit) {
  std::uint64_t at = run.first.value();
  std::uint64_t left = run.count;
  while (left > 0) {
    const std::uint64_t bit = at % kWordBits;
    const std::uint64_t n = std::min(left, kWordBits - bit);
    if (!visit(at / kWordBits, mask(bit, n))) return;
    at += n;
    left -= n;
  }
}

}  // namespace

DirtyMap::DirtyMap(std::uint64_t region_count)
    : region_count_{region_count},
      words_((region_count + kWordBits - 1) / kWordBits),
      summary_((words_.size() + kWordBits - 1) / kWordBits) {}

void DirtyMap::store(std::uint64_t word, std::uint64_t bits) {
  const auto before = static_cast<std::uint64_t>(std::popcount(words_[word]));
  dirty_count_ += static_cast<std::uint64_t>(std::popcount(bits)) - before;
  words_[word] = bits;
  const std::uint64_t flag = std::uint64_t{1} << (word % kWordBits);
  if (bits != 0) {
    summary_[word / kWordBits] |= flag;
  } else {
    summary_[word / kWordBits] &= ~flag;
  }
}

std::uint64_t DirtyMap::valid_bits(std::uint64_t word) const {
  const std::uint64_t tail = region_count_ - word * kWordBits;
  return tail >= kWordBits ? kAllBits : mask(0, tail);
}

void DirtyMap::require_inside(RegionRun run) const {
  TB_ASSERT(run.count <= region_count_ && run.first.value() <= region_count_ - run.count);
}

bool DirtyMap::test(RegionIndex region) const {
  TB_ASSERT(region.value() < region_count_);
  return (words_[region.value() / kWordBits] >> (region.value() % kWordBits) & 1) != 0;
}

bool DirtyMap::any(RegionRun run) const {
  require_inside(run);
  if (dirty_count_ == 0) return false;
  bool found = false;
  for_each_word(run, [&](std::uint64_t word, std::uint64_t bits) {
    found = (words_[word] & bits) != 0;
    return !found;
  });
  return found;
}

std::uint64_t DirtyMap::set(RegionRun run) {
  require_inside(run);
  const std::uint64_t before = dirty_count_;
  for_each_word(run, [&](std::uint64_t word, std::uint64_t bits) {
    store(word, words_[word] | bits);
    return true;
  });
  return dirty_count_ - before;
}

std::uint64_t DirtyMap::clear(RegionRun run) {
  require_inside(run);
  if (dirty_count_ == 0) return 0;
  const std::uint64_t before = dirty_count_;
  for_each_word(run, [&](std::uint64_t word, std::uint64_t bits) {
    store(word, words_[word] & ~bits);
    return true;
  });
  return before - dirty_count_;
}

void DirtyMap::set_all() {
  for (std::uint64_t w = 0; w < words_.size(); ++w) store(w, valid_bits(w));
}

void DirtyMap::clear_all() {
  std::fill(words_.begin(), words_.end(), 0);
  std::fill(summary_.begin(), summary_.end(), 0);
  dirty_count_ = 0;
}

void DirtyMap::merge(const DirtyMap& other) {
  TB_ASSERT(other.region_count_ == region_count_);
  for (std::uint64_t w = other.next_nonzero_word(0); w < words_.size(); w = other.next_nonzero_word(w + 1)) {
    store(w, words_[w] | other.words_[w]);
  }
}

std::uint64_t DirtyMap::next_nonzero_word(std::uint64_t word) const {
  if (word >= words_.size()) return words_.size();
  std::uint64_t index = word / kWordBits;
  std::uint64_t flags = summary_[index] & (kAllBits << (word % kWordBits));
  while (flags == 0) {
    if (++index == summary_.size()) return words_.size();
    flags = summary_[index];
  }
  return index * kWordBits + static_cast<std::uint64_t>(std::countr_zero(flags));
}

std::optional<RegionRun> DirtyMap::next_dirty(RegionIndex from, std::uint64_t count_max) const {
  TB_ASSERT(count_max > 0);
  if (dirty_count_ == 0 || from.value() >= region_count_) return std::nullopt;
  std::uint64_t word = from.value() / kWordBits;
  std::uint64_t bits = words_[word] & (kAllBits << (from.value() % kWordBits));
  if (bits == 0) {
    word = next_nonzero_word(word + 1);
    if (word == words_.size()) return std::nullopt;
    bits = words_[word];
  }
  const auto start = static_cast<std::uint64_t>(std::countr_zero(bits));
  const RegionIndex first{word * kWordBits + start};
  auto count = static_cast<std::uint64_t>(std::countr_one(bits >> start));
  // The run goes on into the next word only if it reached the end of this one.
  bool open = start + count == kWordBits;
  while (open && count < count_max && ++word < words_.size()) {
    const auto ones = static_cast<std::uint64_t>(std::countr_one(words_[word]));
    count += ones;
    open = ones == kWordBits;
  }
  return RegionRun{.first = first, .count = std::min(count, count_max)};
}

void DirtyMap::merge_bytes(RegionIndex first, std::span<const std::byte> bytes) {
  TB_ASSERT(first.value() % 8 == 0);
  std::uint64_t word = first.value() / kWordBits;
  std::uint64_t shift = first.value() % kWordBits;
  std::size_t at = 0;
  for (; at < bytes.size() && word < words_.size(); ++word, shift = 0) {
    std::uint64_t bits = 0;
    if (shift == 0 && bytes.size() - at >= sizeof bits) {
      bits = load_le<std::uint64_t>(bytes.data() + at);
      at += sizeof bits;
    } else {
      for (; shift < kWordBits && at < bytes.size(); shift += 8, ++at) {
        bits |= std::to_integer<std::uint64_t>(bytes[at]) << shift;
      }
    }
    bits &= valid_bits(word);
    if (bits != 0) store(word, words_[word] | bits);
  }
}

void DirtyMap::copy_bytes(RegionIndex first, std::span<std::byte> out) const {
  TB_ASSERT(first.value() % 8 == 0);
  std::uint64_t word = first.value() / kWordBits;
  std::uint64_t shift = first.value() % kWordBits;
  std::size_t at = 0;
  for (; at < out.size() && word < words_.size(); ++word, shift = 0) {
    if (shift == 0 && out.size() - at >= sizeof(std::uint64_t)) {
      store_le(out.data() + at, words_[word]);
      at += sizeof(std::uint64_t);
      continue;
    }
    for (; shift < kWordBits && at < out.size(); shift += 8, ++at) {
      out[at] = static_cast<std::byte>(words_[word] >> shift & 0xff);
    }
  }
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(at), out.end(), std::byte{0});
}

}  // namespace twinblock::bitmap
