#include "tests/sim/printing.hpp"

#include <array>
#include <cstdio>

#include "base/overloaded.hpp"

namespace twinblock::sim {
namespace {

constexpr std::array<std::string_view, 14> kVerbs{
    "promote",    "demote",       "switchover",     "pause",        "resume",
    "connect",    "disconnect",   "resync",         "resolve_keep", "resolve_discard",
    "set_policy", "confirm_dead", "release_resync", "stop"};
constexpr std::array<std::string_view, 24> kEvents{
    "link_up",         "link_down",        "handshake_refused", "split_brain",     "session_started",
    "resync_started",  "resync_finished",  "peer_uptodate",     "generation_new",  "degraded",
    "frozen",          "unfrozen",         "promoted",          "demoted",         "deposed",
    "disk_failed",     "peer_disk_failed", "read_repaired",     "metadata_failed", "data_loss_forced",
    "resync_discards", "rolled_back",      "queue_full",        "stopped"};
constexpr std::array<std::string_view, 37> kRefusals{"none",
                                                     "protocol_version",
                                                     "required_feature",
                                                     "mirror_name",
                                                     "mirror_id",
                                                     "node_index",
                                                     "geometry",
                                                     "config_differs",
                                                     "verdict_differs",
                                                     "bad_message",
                                                     "no_data",
                                                     "no_good_copy",
                                                     "rolled_back",
                                                     "unrelated",
                                                     "split_brain",
                                                     "peer_disk_failed",
                                                     "two_sources",
                                                     "resync_origin_lost",
                                                     "not_source",
                                                     "already_source",
                                                     "peer_is_source",
                                                     "replica_inconsistent",
                                                     "replica_outdated",
                                                     "replica_failed",
                                                     "peer_may_have_more",
                                                     "async_may_lose",
                                                     "peer_took_term",
                                                     "link_lost",
                                                     "not_connected",
                                                     "busy",
                                                     "wrong_node",
                                                     "no_split_brain",
                                                     "stopping",
                                                     "timeout",
                                                     "peer_refused",
                                                     "resync_running",
                                                     "no_peer_data"};
constexpr std::array<std::string_view, 6> kStatuses{"ok",       "io_error",  "no_space",
                                                    "shutdown", "cancelled", "not_source"};
constexpr std::array<std::string_view, 8> kLinks{"down",      "connecting", "connected",   "resync_pending",
                                                 "resyncing", "paused",     "split_brain", "refused"};
constexpr std::array<std::string_view, 7> kReplicas{"uptodate", "consistent", "outdated", "inconsistent",
                                                    "failed",   "diskless",   "unknown"};
constexpr std::array<std::string_view, 4> kRoles{"target", "promoting", "source", "demoting"};
constexpr std::array<std::string_view, 4> kDiskVerbs{"read", "write", "zero", "flush"};

template <class Table, class Value>
std::string_view lookup(const Table& table, Value v) {
  const auto i = static_cast<std::size_t>(v);
  return i < table.size() ? table[i] : std::string_view{"?"};
}

std::string num(std::uint64_t v) {
  return std::to_string(v);
}
std::string sectors(const ByteRange& r) {
  return "sectors " + num(r.offset.value() / 512) + "+" + num(r.length.value() / 512);
}
std::string op_name(core::OpId op) {
  char text[32];
  std::snprintf(text, sizeof text, "op %llx", static_cast<unsigned long long>(op));
  return text;
}

std::string describe(const wire::Header& h) {
  std::string text{wire::name(h.type)};
  text += " session=" + num(h.session) + " seq=" + num(h.sequence);
  if (h.term != 0) text += " term=" + num(h.term);
  if (h.handle != 0) text += " handle=" + num(h.handle);
  if (h.flags != 0) text += " flags=" + num(h.flags);
  if (h.type == wire::Type::ack) return text + " received=" + num(h.offset) + " stable=" + num(h.aux);
  if (h.length != 0) text += " " + sectors({ByteOffset{h.offset}, ByteCount{h.length}});
  return text;
}

}  // namespace

std::string_view name(core::Refusal r) {
  return lookup(kRefusals, r);
}
std::string_view name(core::LinkState s) {
  return lookup(kLinks, s);
}
std::string_view name(core::ReplicaState s) {
  return lookup(kReplicas, s);
}

void Trace::add(std::int64_t now, int node, std::string_view text) {
  char head[48];
  std::snprintf(head, sizeof head, "%12.6f %c ", static_cast<double>(now) / 1e9, "AB."[node < 0 ? 2 : node]);
  std::string line = head + std::string{text};
  if (print_all_) std::puts(line.c_str());
  lines_.push_back(std::move(line));
  if (lines_.size() > keep_) lines_.pop_front();
}

void Trace::print() const {
  for (const std::string& line : lines_) std::puts(line.c_str());
}

std::string describe(const core::Input& in) {
  return std::visit(
      overloaded{
          [](const core::ClientRead& i) { return "<- read r" + num(i.request) + " " + sectors(i.range); },
          [](const core::ClientWrite& i) {
            return "<- write r" + num(i.request) + " " + sectors(i.range) + (i.fua ? " fua" : "");
          },
          [](const core::ClientZero& i) {
            return "<- zero r" + num(i.request) + " " + sectors(i.range) + (i.fua ? " fua" : "");
          },
          [](const core::ClientFlush& i) { return "<- flush r" + num(i.request); },
          [](const core::ClientCancel& i) { return "<- cancel r" + num(i.request); },
          [](const core::ClientsPresent& i) { return std::string{i.any ? "<- clients" : "<- no clients"}; },
          [](const core::DiskDone& i) {
            return "<- disk done " + op_name(i.op) + " error " + std::to_string(i.error);
          },
          [](const core::MetaDone& i) {
            return "<- meta done " + op_name(i.op) + " error " + std::to_string(i.error);
          },
          [](const core::LinkUp& i) { return "<- link up " + num(i.link); },
          [](const core::LinkDown& i) { return "<- link down " + num(i.link); },
          [](const core::MessageIn& i) { return "<- message " + describe(i.header); },
          [](const core::Tick&) { return std::string{"<- tick"}; },
          [](const core::Command& i) {
            return "<- command " + std::string{lookup(kVerbs, i.verb)} + " #" + num(i.id) +
                   (i.force ? " force" : "") + (i.confirm_dead ? " confirm-dead" : "") +
                   (i.full ? " full" : "");
          }},
      in);
}

std::string describe(const core::Output& out) {
  return std::visit(
      overloaded{
          [](const core::DiskIo& o) {
            return "   -> disk " + std::string{lookup(kDiskVerbs, o.verb)} + " " + op_name(o.op) + " " +
                   sectors(o.range) + (o.fua ? " fua" : "");
          },
          [](const core::MetaWrite& o) { return "   -> meta " + op_name(o.op) + " block " + num(o.block); },
          [](const core::Send& o) { return "   -> send " + describe(o.header); },
          [](const core::CloseLink& o) {
            return "   -> close link " + num(o.link) + " " + std::string{name(o.reason)};
          },
          [](const core::SetLinkWanted& o) {
            return std::string{"   -> link wanted "} + (o.wanted ? "yes" : "no");
          },
          [](const core::Reply& o) {
            return "   -> reply r" + num(o.request) + " " + std::string{lookup(kStatuses, o.status)};
          },
          [](const core::ReleaseBuffer& o) { return "   -> release buffer " + num(o.buffer); },
          [](const core::ExportState& o) {
            return std::string{"   -> export "} + (o.open ? "open" : "closed");
          },
          [](const core::CommandDone& o) {
            return "   -> command #" + num(o.id) + " " + std::string{name(o.refusal)};
          },
          [](const core::Event& o) {
            return "   -> event " + std::string{lookup(kEvents, o.kind)} + " " + std::string{name(o.reason)} +
                   " a=" + num(o.a) + " b=" + num(o.b);
          }},
      out);
}

std::string describe(const core::MirrorSnapshot& s) {
  std::string t{lookup(kRoles, s.role)};
  t += " replica=" + std::string{name(s.replica)} + " peer=" + std::string{name(s.peer_replica)};
  t += " link=" + std::string{name(s.link)} + " refusal=" + std::string{name(s.refusal)};
  t += " rule=" + num(s.verdict_rule) + " gen=" + num(s.generation.value() % 10000) +
       " term=" + num(s.term_own.value());
  t += "/" + num(s.term_seen.value()) + " dirty=" + num(s.dirty_bytes) + " hot=" + num(s.hot_extents);
  t += " queue=" + num(s.queue_bytes) + " next=" + num(s.next_sequence.value());
  t += std::string{s.leader ? " leader" : ""} + (s.in_ack_set ? " ackset" : "") +
       (s.export_open ? " open" : "") + (s.frozen ? " frozen" : "") + (s.paused ? " paused" : "") +
       (s.idle ? " idle" : "") + (s.promotable ? " promotable" : "");
  return t;
}

}  // namespace twinblock::sim
