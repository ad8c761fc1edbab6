#include "replicator/core/metadata.hpp"

#include <algorithm>

#include "replicator/core/mutants.hpp"

namespace twinblock::core {
namespace {

enum class Kind : std::uint64_t { superblock = 0, record = 1, page = 2 };

constexpr int kSecondCopyDue = 2;

OpId op_id(Kind kind, std::uint64_t low) {
  return Metadata::kOpBase | static_cast<std::uint64_t>(kind) << 56 | low;
}

}  // namespace

Metadata::Metadata(bitmap::Recovered recovered, NodeIndex peer)
    : superblock{recovered.superblock},
      dirty{recovered.dirty[peer.value()] ? std::move(*recovered.dirty[peer.value()])
                                          : bitmap::DirtyMap{recovered.superblock.geometry.region_count()}},
      intents{recovered.superblock.geometry},
      peer_{peer},
      superblock_sequence_{recovered.superblock_sequence},
      log_sequence_{recovered.log_sequence},
      record_extents_(recovered.superblock.geometry.hot_extents),
      pages_(recovered.superblock.geometry.pages_per_slot()),
      page_sequences_(pages_.size()) {
  relied_.reserve(bitmap::kReliedPagesMax);
  log_rewrites_ = recovered.all_hot || recovered.bad_log_records > 0 ? bitmap::kIntentRecords
                  : recovered.hot.empty()                            ? 0
                                                                     : 1;
  name_recovered(recovered);
  const std::size_t first = peer_.value() * pages_.size();
  for (std::size_t i = 0; i < pages_.size(); ++i) {
    const std::uint64_t sequence = recovered.page_sequences.empty() ? 0 : recovered.page_sequences[first + i];
    page_sequences_[i] = sequence;
    // What recovery made of a page may be more than what is on disk (bad page, hot extents): not durable yet.
    pages_[i].version = pages_[i].set_version = 1;
  }
  // A bad page lost its sequence: go on above every number that may have been used.
  const std::uint64_t top = *std::max_element(page_sequences_.begin(), page_sequences_.end());
  for (std::size_t i = 0; i < pages_.size(); ++i) {
    if (page_sequences_[i] == 0) page_sequences_[i] = top + (std::uint64_t{1} << 32);
  }
}

// The pages that the log relies on when it forgets what it held. All pages are written at the start, and a
// record has room for the 64 newest only. An unreadable ring is rewritten as a whole, and names as many as it
// can.
void Metadata::name_recovered(const bitmap::Recovered& recovered) {
  if (log_rewrites_ == 0) return;
  std::vector<bool> relied(pages_.size(), log_rewrites_ > 1);
  if (log_rewrites_ == 1) {
    recovered_hot_ = recovered.hot;
    const std::uint64_t per_extent = superblock.geometry.regions_per_extent();
    for (const ExtentIndex e : recovered_hot_) {
      const std::uint64_t first = e.value() * per_extent;
      const std::uint64_t last = std::min(first + per_extent, dirty.region_count()) - 1;
      for (std::uint64_t p = first / bitmap::kPageBits; p <= last / bitmap::kPageBits; ++p) relied[p] = true;
    }
  }
  for (std::size_t i = 0; i < relied.size(); ++i) {
    if (relied[i]) unnamed_pages_.push_back(i);
  }
}

// ------------------------------------------------------------------------------------------------ bits

void Metadata::bits_changed(bitmap::RegionRun run, bool set) {
  if (run.count == 0) return;
  const std::uint64_t first = run.first.value() / bitmap::kPageBits;
  const std::uint64_t last = (run.first.value() + run.count - 1) / bitmap::kPageBits;
  for (std::uint64_t p = first; p <= last; ++p) {
    ++pages_[p].version;
    if (set) pages_[p].set_version = pages_[p].version;
  }
}

void Metadata::set_bits(bitmap::RegionRun run) {
  if (dirty.set(run) > 0) bits_changed(run, true);
}
void Metadata::clear_bits(bitmap::RegionRun run) {
  if (dirty.clear(run) > 0) bits_changed(run, false);
}
// A page that says so already is left alone, here and in merge_bits(): when a handshake is cut while many
// pages are on their way, the next one goes on where it was.
void Metadata::set_all_bits() {
  for (std::uint64_t first = 0; first < dirty.region_count(); first += bitmap::kPageBits)
    set_bits({RegionIndex{first}, std::min(bitmap::kPageBits, dirty.region_count() - first)});
}
void Metadata::clear_all_bits() {
  if (dirty.dirty_count() == 0) return;
  dirty.clear_all();
  bits_changed({RegionIndex{0}, dirty.region_count()}, false);
}
void Metadata::merge_bits(RegionIndex first, std::span<const std::byte> bytes) {
  std::uint64_t at = first.value();
  while (!bytes.empty() && at < dirty.region_count()) {
    const std::uint64_t room = bitmap::kPageBits - at % bitmap::kPageBits;
    const auto part = bytes.first(std::min<std::size_t>(bytes.size(), (room + 7) / 8));
    const std::uint64_t before = dirty.dirty_count();
    dirty.merge_bytes(RegionIndex{at}, part);
    const std::uint64_t count = std::min<std::uint64_t>(part.size() * 8, dirty.region_count() - at);
    if (dirty.dirty_count() > before) bits_changed({RegionIndex{at}, count}, true);
    bytes = bytes.subspan(part.size());
    at += part.size() * 8;
  }
}

void Metadata::want_page(std::size_t i) {
  if (pages_[i].wanted || pages_[i].durable == pages_[i].version) return;
  pages_[i].wanted = true;
  ++pages_wanted_count_;
}

void Metadata::persist_pages() {
  for (std::size_t i = 0; i < pages_.size(); ++i) {
    pages_[i].barrier = pages_[i].set_version;
    want_page(i);
  }
}

bool Metadata::pages_durable() const {
  return std::all_of(pages_.begin(), pages_.end(), [](const Page& p) { return p.durable >= p.barrier; });
}

bool Metadata::extent_bits_durable(ExtentIndex e) const {
  const std::uint64_t per_extent = superblock.geometry.regions_per_extent();
  const std::uint64_t first = e.value() * per_extent;
  const std::uint64_t last = std::min(first + per_extent, dirty.region_count()) - 1;
  for (std::uint64_t p = first / bitmap::kPageBits; p <= last / bitmap::kPageBits; ++p) {
    if (pages_[p].durable < pages_[p].set_version) return false;
  }
  return true;
}

void Metadata::want_extent_pages(ExtentIndex e) {
  const std::uint64_t per_extent = superblock.geometry.regions_per_extent();
  const std::uint64_t first = e.value() * per_extent;
  const std::uint64_t last = std::min(first + per_extent, dirty.region_count()) - 1;
  for (std::uint64_t p = first / bitmap::kPageBits; p <= last / bitmap::kPageBits; ++p) want_page(p);
}

// ------------------------------------------------------------------------------------------------ writes

void Metadata::pump(Outputs& out) {
  if (failed_) return;
  if (superblock_copy_ == kSecondCopyDue) emit_superblock(out, 1);
  if (superblock_copy_ < 0 && superblock_wanted_ > superblock_durable_) {
    superblock_writing_ = superblock_wanted_;
    ++superblock_sequence_;
    encode_superblock(superblock, superblock_sequence_, 0, superblock_buffers_[0]);
    encode_superblock(superblock, superblock_sequence_, 1, superblock_buffers_[1]);
    emit_superblock(out, 0);
  }
  if (pages_wanted()) emit_pages(out);
  if (!record_in_flight_ && relied_record_due()) emit_record(out);
  if (!record_in_flight_ && log_rewrites_ > 0 && log_rewrites_allowed_) {
    const bool last = unnamed_pages_.size() <= bitmap::kReliedPagesMax || recovered_hot_.empty();
    if (last) {
      recovered_hot_.clear();
      --log_rewrites_;
    }
    emit_record(out);
    if (log_rewrites_ == 0) unnamed_pages_.clear();
  }
  if (!record_in_flight_ && intents.changed() && (record_wanted_ || intents.waiting_for_record()))
    emit_record(out);
  if (!record_in_flight_ && !intents.changed()) record_wanted_ = false;
}

void Metadata::emit_superblock(Outputs& out, int copy) {
  superblock_copy_ = copy;
  ++in_flight_;
  out.push_back(MetaWrite{op_id(Kind::superblock, static_cast<std::uint64_t>(copy)),
                          superblock.geometry.superblock(copy).value(),
                          superblock_buffers_[static_cast<std::size_t>(copy)]});
}

void Metadata::emit_record(Outputs& out) {
  bitmap::IntentRecord record;
  record.log_sequence = ++log_sequence_;
  const std::size_t n = intents.begin_record(record_extents_);
  record.hot = std::span{record_extents_}.first(n);
  if (!recovered_hot_.empty()) record.hot = recovered_hot_;  // nothing else is hot before the log forgot it
  name_next_pages();
  record.relied = relied_;
  relied_submitted_ = relied_count_;
  encode_intent_record(record, superblock, record_buffer_);
  record_in_flight_ = true;
  record_wanted_ = false;
  ++in_flight_;
  out.push_back(MetaWrite{op_id(Kind::record, 0), superblock.geometry.intent_record(log_sequence_).value(),
                          record_buffer_});
}

void Metadata::emit_pages(Outputs& out) {
  for (std::size_t b = 0; b < kPageBuffers && pages_wanted(); ++b) {
    // One record names no more than that; at the start the log may not be written yet.
    if (log_rewrites_allowed_ && relied_count_ - relied_submitted_ + kPageBuffers > bitmap::kReliedPagesMax)
      return;
    if (page_buffer_used_[b]) continue;
    std::size_t i = pages_.size();
    for (std::size_t n = 0; n < pages_.size(); ++n) {
      page_scan_ = (page_scan_ + 1) % pages_.size();
      if (pages_[page_scan_].wanted && pages_[page_scan_].writing == 0) {
        i = page_scan_;
        break;
      }
    }
    if (i == pages_.size()) return;
    Page& page = pages_[i];
    page.wanted = false;
    --pages_wanted_count_;
    page.writing = page.version;
    page_buffer_used_[b] = true;
    page_of_buffer_[b] = i;
    sequence_of_buffer_[b] = ++page_sequences_[i];
    const bitmap::PageIndex index = page_index(i);
    encode_page(index, sequence_of_buffer_[b], dirty, superblock, page_buffers_[b]);
    ++in_flight_;
    out.push_back(MetaWrite{op_id(Kind::page, b), superblock.geometry.page(index).value(), page_buffers_[b]});
  }
}

// As many as one record has room for. REQUIRES: all pages are durable.
void Metadata::name_next_pages() {
  for (std::size_t n = 0; n < bitmap::kReliedPagesMax && !unnamed_pages_.empty(); ++n) {
    const std::size_t i = unnamed_pages_.back();
    unnamed_pages_.pop_back();
    name_page(i, page_sequences_[i]);
  }
}

void Metadata::name_page(std::size_t i, std::uint64_t sequence) {
  const bitmap::PageIndex index = page_index(i);
  std::erase_if(relied_, [&](const bitmap::ReliedPage& r) { return r.page == index; });
  if (relied_.size() == bitmap::kReliedPagesMax) relied_.erase(relied_.begin());
  relied_.push_back({index, sequence});
}

void Metadata::note_page_durable(std::size_t i, std::uint64_t sequence) {
  name_page(i, sequence);
  ++relied_count_;
  if (relied_count_ - relied_submitted_ >= bitmap::kReliedPagesMax / 2) relied_wanted_ = relied_count_;
}

Metadata::Ticket Metadata::record_pages() {
  TB_ASSERT(log_rewrites_allowed_);
  relied_wanted_ = relied_count_;
  return relied_wanted_;
}

bool Metadata::on_done(OpId op, int error) {
  if (!is_metadata_op(op)) return false;
  TB_ASSERT(in_flight_ > 0);
  --in_flight_;
  if (error != 0) failed_ = true;
  const auto kind = static_cast<Kind>((op >> 56) & 0xf);
  const std::uint64_t low = op & 0xffffff;
  switch (kind) {
    case Kind::superblock:
      if (error == 0 && (low == 1 || TB_MUTANT(superblock_one_copy))) {
        superblock_durable_ = std::max(superblock_durable_, superblock_writing_);
      }
      superblock_copy_ = error == 0 && low == 0 ? kSecondCopyDue : -1;
      break;
    case Kind::record:
      record_in_flight_ = false;
      intents.end_record(error == 0);
      if (error == 0) relied_durable_ = relied_submitted_;
      break;
    case Kind::page: {
      Page& page = pages_[page_of_buffer_[low]];
      page_buffer_used_[low] = false;
      if (error == 0) {
        page.durable = page.writing;
        note_page_durable(page_of_buffer_[low], sequence_of_buffer_[low]);
      }
      page.writing = 0;
      break;
    }
  }
  return true;
}

}  // namespace twinblock::core
