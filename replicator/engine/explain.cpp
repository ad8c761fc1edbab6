#include "replicator/engine/explain.hpp"

#include <cstdint>
#include <cstdio>
#include <iterator>

#include "replicator/control/protocol_text.hpp"
#include "replicator/engine/refusal_text.hpp"

namespace twinblock::engine {
namespace {

std::string hex(std::uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "\"%016llx\"", static_cast<unsigned long long>(value));
  return text;
}

std::string_view word(bitmap::DiskState state) {
  switch (state) {
    case bitmap::DiskState::inconsistent:
      return "inconsistent";
    case bitmap::DiskState::outdated:
      return "outdated";
    case bitmap::DiskState::consistent:
      return "consistent";
    case bitmap::DiskState::failed:
      return "failed";
  }
  return "?";
}

std::string_view word(bitmap::PeerData data) {
  switch (data) {
    case bitmap::PeerData::unknown:
      return "unknown";
    case bitmap::PeerData::maybe_current:
      return "maybe-current";
    case bitmap::PeerData::lacks:
      return "lacks";
    case bitmap::PeerData::handed_over:
      return "handed-over";
    case bitmap::PeerData::lacked:
      return "lacked";
  }
  return "?";
}

std::string_view word(bitmap::Resolution resolution) {
  switch (resolution) {
    case bitmap::Resolution::none:
      return "none";
    case bitmap::Resolution::keep:
      return "keep";
    case bitmap::Resolution::discard:
      return "discard";
  }
  return "?";
}

std::string boolean(bool value) {
  return value ? "true" : "false";
}

std::string history_json(const bitmap::Superblock& s) {
  std::string out = "[";
  for (const bitmap::GenerationEntry& g : s.history()) {
    if (out.size() > 1) out += ",";
    out += "{\"id\":" + hex(g.id.value()) + ",\"parent\":" + hex(g.parent.value()) +
           ",\"first_sequence\":" + std::to_string(g.first_sequence.value()) +
           ",\"cause\":" + json_quote(cause_word(g.cause)) + "}";
  }
  return out + "]";
}

std::string_view sentence(bitmap::PeerData data) {
  switch (data) {
    case bitmap::PeerData::unknown:
      return "never met";
    case bitmap::PeerData::maybe_current:
      return "may have everything that is here";
    case bitmap::PeerData::lacks:
      return "lacks writes that are here";
    case bitmap::PeerData::handed_over:
      return "handed the source role over in order; nothing is missing here";
    case bitmap::PeerData::lacked:
      return "lacks writes that are here, and was source since";
  }
  return "?";
}

std::string id_text(std::uint64_t value) {
  char text[20];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

std::string promotion_line(const core::MirrorSnapshot& snapshot, const control::MirrorConfig& config) {
  if (snapshot.role == core::Role::source) return "this node is source";
  if (snapshot.promote_refusal == core::Refusal::none) return "allowed: twinblock promote " + config.name;
  const RefusalText& text = refusal_text(snapshot.promote_refusal);
  const std::string& peer = config.peer_node().name;
  return "refused: " + for_mirror(text.message, config.name, peer) + "\n              " +
         for_mirror(text.next_step, config.name, peer);
}

std::string history_lines(const bitmap::Superblock& s) {
  if (s.history().empty()) return "  history     none: this copy was never filled\n";
  std::string out = "  history     newest first; generation, why it began, with which write\n";
  for (const bitmap::GenerationEntry& g : s.history()) {
    out += "              " + id_text(g.id.value()) + "  " + std::string{cause_word(g.cause)} + "  #" +
           std::to_string(g.first_sequence.value()) + "\n";
  }
  return out;
}

std::uint64_t age_s(Instant then, Instant now) {
  return now < then ? 0 : static_cast<std::uint64_t>((now - then).nanoseconds()) / 1'000'000'000;
}

// What the peer said of itself when both last met: its history, and what it would have lost if ours had won.
std::string peer_lines(const wire::StateBody& said, const bitmap::Superblock& s, const std::string& name,
                       const std::string& ago) {
  std::string out = "  " + name + " said   " + ago + ", at the handshake: copy " +
                    std::string{word(static_cast<bitmap::DiskState>(said.disk_state))} + ", own term " +
                    std::to_string(said.term_own) + "; it would have lost " +
                    control::human_size(said.dirty_regions * s.geometry.region_size) + " at most\n";
  for (std::uint32_t i = 0; i < said.history.count; ++i) {
    const wire::HistoryEntry& e = said.history.entries[i];
    out += "              " + id_text(e.id) + "  " +
           std::string{cause_word(static_cast<bitmap::GenerationCause>(e.cause))} + "  #" +
           std::to_string(e.first_sequence) + "\n";
  }
  return out;
}

}  // namespace

std::string_view cause_word(bitmap::GenerationCause cause) {
  switch (cause) {
    case bitmap::GenerationCause::created:
      return "created";
    case bitmap::GenerationCause::degraded:
      return "degraded";
    case bitmap::GenerationCause::forced:
      return "forced";
    case bitmap::GenerationCause::resolved:
      return "resolved";
    case bitmap::GenerationCause::rewind:
      return "rewind";
  }
  return "?";
}

std::string json_quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += code;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string explain_json(const bitmap::Superblock& s, NodeIndex peer,
                         const std::optional<core::MirrorSnapshot>& snapshot,
                         const wire::StateBody* peer_state, Instant now) {
  const bitmap::PeerRecord& p = s.peers[peer.value()];
  std::string out =
      "{\"mirror_id\":" + hex(s.mirror_id) + ",\"node\":" + std::to_string(s.node.value()) +
      ",\"disk_state\":" + json_quote(word(s.disk_state)) + ",\"was_source\":" + boolean(s.was_source) +
      ",\"clean\":" + boolean(s.clean) + ",\"term_own\":" + std::to_string(s.term_own.value()) +
      ",\"term_seen\":" + std::to_string(s.term_seen.value()) + ",\"history\":" + history_json(s) +
      ",\"peer\":{\"known\":" + boolean(p.identity != 0) + ",\"data\":" + json_quote(word(p.data)) +
      ",\"base_generation\":" + hex(p.base_generation.value()) + ",\"needs_full\":" + boolean(p.needs_full) +
      "}";
  if (snapshot) {
    out += ",\"rule\":" + std::to_string(snapshot->verdict_rule) +
           ",\"refusal\":" + json_quote(refusal_text(snapshot->refusal).word) +
           ",\"promote_refusal\":" + json_quote(refusal_text(snapshot->promote_refusal).word) +
           ",\"resolution\":" + json_quote(word(snapshot->resolution)) +
           ",\"peer_resolution\":" + json_quote(word(snapshot->peer_resolution)) +
           ",\"dirty_bytes\":" + std::to_string(snapshot->dirty_bytes) +
           ",\"would_lose_bytes\":" + std::to_string(snapshot->would_lose_bytes);
  }
  if (snapshot && peer_state != nullptr) {
    out += ",\"peer_said\":{\"age_s\":" + std::to_string(age_s(snapshot->peer_said_at, now)) +
           ",\"disk_state\":" + json_quote(word(static_cast<bitmap::DiskState>(peer_state->disk_state))) +
           ",\"term_own\":" + std::to_string(peer_state->term_own) +
           ",\"differing_regions\":" + std::to_string(peer_state->dirty_regions) +
           ",\"would_lose_bytes\":" + std::to_string(peer_state->dirty_regions * s.geometry.region_size) +
           ",\"history\":[";
    for (std::uint32_t i = 0; i < peer_state->history.count; ++i) {
      out += (i == 0 ? "" : ",") + hex(peer_state->history.entries[i].id);
    }
    out += "]}";
  }
  return out + "}";
}

std::string explain_text(const bitmap::Superblock& s, const control::MirrorConfig& config,
                         const std::optional<core::MirrorSnapshot>& snapshot, std::string_view why,
                         const wire::StateBody* peer_state, Instant now) {
  const std::string& peer = config.peer_node().name;
  const bitmap::PeerRecord& p = s.peers[1 - config.local];
  std::string out = "mirror " + config.name + ", as " + config.local_node().name + " knows it\n";
  if (!why.empty()) out += "  why         " + std::string{why} + "\n";
  out += "  this copy   " + std::string{word(s.disk_state)} + (s.was_source ? ", was source last" : "") +
         (s.clean ? ", clean (stopped in order)" : "") + "\n";
  out += "  terms       own " + std::to_string(s.term_own.value()) + ", highest heard of " +
         std::to_string(s.term_seen.value()) + "\n";
  out += history_lines(s);
  out += "  " + peer + std::string(peer.size() < 10 ? 12 - peer.size() : 2, ' ') +
         std::string{p.identity == 0 ? sentence(bitmap::PeerData::unknown) : sentence(p.data)};
  if (p.identity != 0 && p.needs_full) out += "; needs a full copy";
  if (p.identity != 0 && !p.needs_full)
    out += "; compared since generation " + id_text(p.base_generation.value());
  out += "\n";
  if (!snapshot) return out + "  promotion   not while the mirror is not up";
  const std::string ago = control::human_seconds(age_s(snapshot->peer_said_at, now)) + " ago";
  if (peer_state != nullptr) out += peer_lines(*peer_state, s, peer, ago);
  if (snapshot->verdict_rule != 0) {
    out += "  handshake   the last one" + (peer_state != nullptr ? ", " + ago + "," : std::string{}) +
           " was judged by row " + std::to_string(snapshot->verdict_rule) +
           " of docs/internals/generations.md\n";
  }
  out +=
      "  to copy     now " + control::human_size(snapshot->dirty_bytes) + " may differ from " + peer + "\n";
  out += "  to lose     now " + control::human_size(snapshot->would_lose_bytes) +
         " at most, if this copy is overwritten with the other one\n";
  out += "  promotion   " + promotion_line(*snapshot, config) + "\n";
  return out + "  the other side of it: twinblock explain " + config.name + " on " + peer;
}

}  // namespace twinblock::engine
