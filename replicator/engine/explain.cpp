#include "replicator/engine/explain.hpp"

#include <cstdint>
#include <cstdio>
#include <iterator>

#include "replicator/engine/refusal_text.hpp"

namespace twinblock::engine {
namespace {

std::string hex(std::uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "\"%016llx\"", static_cast<unsigned long long>(value));
  return text;
}

std::string_view word(bitmap::GenerationCause cause) {
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
           ",\"cause\":" + json_quote(word(g.cause)) + "}";
  }
  return out + "]";
}

}  // namespace

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
                         const std::optional<core::MirrorSnapshot>& snapshot) {
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
           ",\"dirty_bytes\":" + std::to_string(snapshot->dirty_bytes) +
           ",\"would_lose_bytes\":" + std::to_string(snapshot->would_lose_bytes);
  }
  return out + "}";
}

}  // namespace twinblock::engine
