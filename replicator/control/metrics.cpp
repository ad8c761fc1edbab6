// Prometheus text exposition of a status: the same numbers as the JSON, nothing of its own.
#include <array>
#include <cstdio>
#include <functional>

#include "replicator/control/http_routes.hpp"

namespace twinblock::control {

namespace {

std::string escaped(std::string_view label) {
  std::string out;
  for (const char c : label) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out;
}

std::string number(double value) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%.17g", value);
  return text.data();
}

class Exposition {
 public:
  explicit Exposition(const StatusReply& status) : status_{status} {}

  void family(const char* name, const char* type, const char* help) {
    name_ = std::string{"twinblock_"} + name;
    text_ += "# HELP " + name_ + " " + help + "\n# TYPE " + name_ + " " + type + "\n";
  }
  void sample(const std::string& labels, const std::string& value) {
    text_ += name_ + (labels.empty() ? "" : "{" + labels + "}") + " " + value + "\n";
  }

  void per_mirror(const char* name, const char* type, const char* help,
                  const std::function<std::uint64_t(const MirrorStatus&)>& value) {
    family(name, type, help);
    for (const auto& mirror : status_.mirrors) sample(labels(mirror), std::to_string(value(mirror)));
  }
  void per_peer(const char* name, const char* help,
                const std::function<std::string(const PeerStatus&)>& value) {
    family(name, "gauge", help);
    for (const auto& mirror : status_.mirrors) {
      for (const auto& peer : mirror.peers) {
        const std::string text = value(peer);
        if (!text.empty()) sample(labels(mirror) + ",peer=\"" + escaped(peer.name) + "\"", text);
      }
    }
  }

  [[nodiscard]] static std::string labels(const MirrorStatus& mirror) {
    return "mirror=\"" + escaped(mirror.name) + "\"";
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  const StatusReply& status_;
  std::string name_;
  std::string text_;
};

void write_mirrors(Exposition& out, const StatusReply& status) {
  out.family("mirror_info", "gauge", "Words about a mirror, always 1.");
  for (const auto& m : status.mirrors) {
    out.sample(Exposition::labels(m) + ",role=\"" + std::string{to_string(m.role)} + "\",state=\"" +
                   std::string{to_string(m.state)} + "\",replica=\"" + std::string{to_string(m.replica)} +
                   "\",mode=\"" + std::string{to_string(m.mode)} + "\"",
               "1");
  }
  using M = const MirrorStatus&;
  out.per_mirror("size_bytes", "gauge", "Size of the mirror.", [](M m) { return m.size; });
  out.per_mirror("redundancy", "gauge", "Current copies of the acknowledged data.",
                 [](M m) { return m.redundancy; });
  out.per_mirror("source", "gauge", "1 on the node that takes writes.",
                 [](M m) { return m.role == Role::kSource; });
  out.per_mirror("promotable", "gauge", "1 if this node may become source now.",
                 [](M m) { return m.promotable; });
  out.per_mirror("frozen", "gauge", "1 while writes wait for the right to write.",
                 [](M m) { return m.frozen; });
  out.per_mirror("hot_extents", "gauge", "Extents that a crash would resync.",
                 [](M m) { return m.hot_extents; });
  out.per_mirror("reads_total", "counter", "Reads answered.", [](M m) { return m.counters.reads; });
  out.per_mirror("writes_total", "counter", "Writes answered.", [](M m) { return m.counters.writes; });
  out.per_mirror("read_bytes_total", "counter", "Bytes read.", [](M m) { return m.counters.read_bytes; });
  out.per_mirror("written_bytes_total", "counter", "Bytes written.",
                 [](M m) { return m.counters.written_bytes; });
  out.per_mirror("flushes_total", "counter", "Flushes answered.", [](M m) { return m.counters.flushes; });
  out.per_mirror("resync_sent_bytes_total", "counter", "Bytes that resyncs sent as data.",
                 [](M m) { return m.counters.resync_sent_bytes; });
  out.per_mirror("resync_zero_bytes_total", "counter",
                 "Bytes that resyncs found to be zeroes and did not send.",
                 [](M m) { return m.counters.resync_zero_bytes; });
}

bool session_up(LinkState link) {
  switch (link) {
    case LinkState::kConnected:
    case LinkState::kResyncPending:
    case LinkState::kResyncing:
    case LinkState::kPaused:
      return true;
    case LinkState::kDown:
    case LinkState::kConnecting:
    case LinkState::kSplitBrain:
    case LinkState::kRefused:
      return false;
  }
  return false;
}

void write_peers(Exposition& out) {
  using P = const PeerStatus&;
  out.per_peer("peer_connected", "1 while a session with the peer is up.",
               [](P p) { return std::string{session_up(p.link) ? "1" : "0"}; });
  out.per_peer("peer_dirty_bytes", "Bytes of regions that may differ on the peer.",
               [](P p) { return std::to_string(p.dirty_bytes); });
  out.per_peer("peer_queue_bytes", "Bytes that the peer has not acknowledged.",
               [](P p) { return std::to_string(p.queue_bytes); });
  out.per_peer("peer_rpo_seconds", "Age of the oldest write that the peer has not acknowledged.",
               [](P p) { return number(p.rpo_s); });
  out.per_peer("peer_resync_done_bytes", "Progress of the running resync.",
               [](P p) { return p.resync ? std::to_string(p.resync->done_bytes) : std::string{}; });
  out.per_peer("peer_resync_total_bytes", "Extent of the running resync.",
               [](P p) { return p.resync ? std::to_string(p.resync->total_bytes) : std::string{}; });
}

}  // namespace

std::string prometheus_text(const StatusReply& status) {
  Exposition out{status};
  out.family("info", "gauge", "The daemon, always 1.");
  out.sample("node=\"" + escaped(status.node) + "\",version=\"" + escaped(status.daemon_version) + "\"", "1");
  out.family("uptime_seconds", "gauge", "Seconds since the daemon started.");
  out.sample("", std::to_string(status.uptime_s));
  write_mirrors(out, status);
  write_peers(out);
  return out.take();
}

}  // namespace twinblock::control
