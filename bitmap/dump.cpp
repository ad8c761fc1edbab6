// Text of a metadata area for people (`metadata dump`). It shows the blocks as they are and then what
// recovery makes of them, so that the two can be compared when something went wrong.
#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <string>

#include "bitmap/codec.hpp"
#include "bitmap/decode.hpp"

namespace twinblock::bitmap {
namespace {

constexpr std::uint32_t kBadPagesShownMax = 16;
constexpr std::size_t kHotShownMax = 64;

[[gnu::format(printf, 2, 3)]] void line(std::string& out, const char* format, ...) {
  std::array<char, 512> text;
  va_list arguments;
  va_start(arguments, format);
  const int length = std::vsnprintf(text.data(), text.size(), format, arguments);
  va_end(arguments);
  if (length > 0) out.append(text.data(), std::min(static_cast<std::size_t>(length), text.size() - 1));
  out.push_back('\n');
}

const char* name(DiskState s) {
  switch (s) {
    case DiskState::inconsistent:
      return "inconsistent";
    case DiskState::outdated:
      return "outdated";
    case DiskState::consistent:
      return "consistent";
    case DiskState::failed:
      return "failed";
  }
  return "?";
}

const char* name(PeerData d) {
  switch (d) {
    case PeerData::unknown:
      return "unknown";
    case PeerData::maybe_current:
      return "maybe_current";
    case PeerData::lacks:
      return "lacks";
    case PeerData::handed_over:
      return "handed_over";
    case PeerData::lacked:
      return "lacked";
  }
  return "?";
}

const char* name(GenerationCause c) {
  switch (c) {
    case GenerationCause::created:
      return "created";
    case GenerationCause::degraded:
      return "degraded";
    case GenerationCause::forced:
      return "forced";
    case GenerationCause::resolved:
      return "resolved";
    case GenerationCause::rewind:
      return "rewind";
  }
  return "?";
}

const char* name(Resolution r) {
  switch (r) {
    case Resolution::none:
      return "none";
    case Resolution::keep:
      return "keep";
    case Resolution::discard:
      return "discard";
  }
  return "?";
}

const char* yes_no(bool b) {
  return b ? "yes" : "no";
}

void dump_generations(std::string& out, const Superblock& sb) {
  for (std::uint32_t i = 0; i < sb.generation_count; ++i) {
    const GenerationEntry& g = sb.generations[i];
    line(out, "  generation[%u] %016" PRIx64 " parent %016" PRIx64 " first sequence %" PRIu64 " %s", i,
         g.id.value(), g.parent.value(), g.first_sequence.value(), name(g.cause));
  }
}

void dump_peers(std::string& out, const Superblock& sb) {
  for (std::size_t slot = 0; slot < kNodeCountMax; ++slot) {
    const PeerRecord& p = sb.peers[slot];
    if (p.identity == 0) continue;
    line(out, "  peer[%zu] identity %016" PRIx64 " incarnation %016" PRIx64 " base generation %016" PRIx64,
         slot, p.identity, p.incarnation, p.base_generation.value());
    line(out, "    data %s, needs full %s, stable sequence %" PRIu64, name(p.data), yes_no(p.needs_full),
         p.stable_sequence.value());
    line(out, "    session %" PRIu64 ":%016" PRIx64 ", certainly known to it %" PRIu64 ":%016" PRIx64,
         p.session.count, p.session.id, p.session_common.count, p.session_common.id);
  }
}

void dump_superblock(std::string& out, const Superblock& sb) {
  const Geometry& g = sb.geometry;
  line(out, "  features required %" PRIx64 " read-only %" PRIx64 " compatible %" PRIx64, sb.required_features,
       sb.read_only_features, sb.compatible_features);
  line(out, "  area %016" PRIx64 " group %016" PRIx64 " mirror %016" PRIx64, sb.area_id, sb.group_id,
       sb.mirror_id);
  line(out, "  node %u identity %016" PRIx64 " incarnation %016" PRIx64 " attach count %" PRIu64,
       unsigned{sb.node.value()}, sb.identity, sb.incarnation, sb.attach_count);
  line(out, "  size %" PRIu64 " bytes, region %u, logical block %u, hot extents %u", g.size.value(),
       g.region_size, g.logical_block_size, g.hot_extents);
  line(out, "  disk %s, was source %s, clean %s", name(sb.disk_state), yes_no(sb.was_source),
       yes_no(sb.clean));
  line(out, "  term seen %" PRIu64 " own %" PRIu64, sb.term_seen.value(), sb.term_own.value());
  line(out, "  sequence limit %" PRIu64 ", stable sequence %" PRIu64, sb.sequence_limit.value(),
       sb.stable_sequence.value());
  line(out, "  resync active %s from node %u generation %016" PRIx64 " cursor %" PRIu64,
       yes_no(sb.resync.active), unsigned{sb.resync.from.value()}, sb.resync.generation.value(),
       sb.resync.cursor.value());
  line(out, "  resolution %s against %016" PRIx64, name(sb.resolution), sb.resolution_against.value());
  line(out, "  data disk identity %016" PRIx64 " sample hash %016" PRIx64, sb.disk_identity,
       sb.disk_sample_hash);
  dump_generations(out, sb);
  dump_peers(out, sb);
}

void dump_copies(std::string& out, std::span<const std::byte> area) {
  for (std::uint64_t i = 0; i < 2; ++i) {
    const char letter = i == 0 ? 'A' : 'B';
    if (i >= area.size() / kBlockSize) {
      line(out, "superblock %c (block %" PRIu64 "): beyond the end of the area", letter, i);
      continue;
    }
    const SuperblockCopy copy = decode_superblock(block_at(area, BlockIndex{i}), BlockIndex{i});
    if (copy.error) {
      line(out, "superblock %c (block %" PRIu64 "): %s", letter, i, copy.error.message().c_str());
    } else {
      line(out, "superblock %c (block %" PRIu64 "): good, sequence %" PRIu64, letter, i, copy.sequence);
      dump_superblock(out, copy.superblock);
    }
  }
}

void dump_log(std::string& out, std::span<const std::byte> area, const Superblock& sb) {
  for (std::uint64_t place = 0; place < kIntentRecords; ++place) {
    for (std::uint64_t copy = 0; copy < 2; ++copy) {
      const BlockIndex at{sb.geometry.intent_record(place).value() + copy};
      const ConstBlock block = block_at(area, at);
      const Result<IntentView> view = decode_intent(block, at, sb);
      if (view) {
        line(out, "log block %" PRIu64 ": sequence %" PRIu64 ", %u hot, relies on %u pages", at.value(),
             view->log_sequence(), view->hot_count(), view->relied_count());
      } else if (std::ranges::any_of(block, [](std::byte b) { return b != std::byte{0}; })) {
        line(out, "log block %" PRIu64 ": %s", at.value(), view.error().message().c_str());
      }
    }
  }
}

void dump_bad_pages(std::string& out, std::span<const std::byte> area, const Superblock& sb) {
  std::uint32_t shown = 0;
  for (std::uint32_t p = 0; p < sb.geometry.page_count() && shown < kBadPagesShownMax; ++p) {
    const BlockIndex at = sb.geometry.page(PageIndex{p});
    const Result<std::uint64_t> sequence = decode_page(block_at(area, at), PageIndex{p}, sb);
    if (sequence) continue;
    line(out, "page %u (block %" PRIu64 "): %s", p, at.value(), sequence.error().message().c_str());
    if (++shown == kBadPagesShownMax) line(out, "further bad pages are not listed");
  }
}

void dump_recovery(std::string& out, const Recovered& r) {
  line(out, "recovery: superblock sequence %" PRIu64 " on %d of 2 copies%s", r.superblock_sequence,
       r.superblock_good_copies, r.read_only ? ", read-only (unknown feature)" : "");
  line(out, "recovery: log sequence %" PRIu64 ", %s, %u bad records%s", r.log_sequence,
       r.all_hot ? "ALL EXTENTS HOT" : "log trusted", r.bad_log_records,
       r.torn_newest ? ", newest torn" : "");
  std::string list;
  for (std::size_t i = 0; i < std::min(r.hot.size(), kHotShownMax); ++i) {
    list += ' ';
    list += std::to_string(r.hot[i].value());
  }
  if (r.hot.size() > kHotShownMax) list += " ...";
  out +=
      "recovery: " + std::to_string(r.hot.size()) + " hot extents" + (list.empty() ? "" : ":") + list + '\n';
  line(out, "recovery: %u bad or stale pages", r.bad_pages);
  for (std::size_t slot = 0; slot < kNodeCountMax; ++slot) {
    if (!r.dirty[slot]) continue;
    line(out, "recovery: slot %zu: %" PRIu64 " of %" PRIu64 " regions dirty", slot,
         r.dirty[slot]->dirty_count(), r.dirty[slot]->region_count());
  }
}

}  // namespace

std::string dump_area(std::span<const std::byte> area) {
  std::string out;
  line(out, "metadata area of %zu bytes", area.size());
  dump_copies(out, area);
  const Result<Recovered> recovered = recover(area);
  if (!recovered) {
    line(out, "recovery: refused: %s", recovered.error().message().c_str());
    return out;
  }
  dump_log(out, area, recovered->superblock);
  dump_bad_pages(out, area, recovered->superblock);
  dump_recovery(out, *recovered);
  return out;
}

}  // namespace twinblock::bitmap
