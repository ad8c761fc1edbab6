#include "cli/render.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <vector>

#include "replicator/control/protocol_text.hpp"

namespace twinblock::cli {

namespace {

using control::LinkState;
using control::MirrorState;
using control::MirrorStatus;
using control::PeerStatus;
using control::ReplicaState;

constexpr std::string_view kGreen = "\x1b[32m";
constexpr std::string_view kYellow = "\x1b[33m";
constexpr std::string_view kRed = "\x1b[31m";
constexpr std::string_view kBold = "\x1b[1m";
constexpr std::string_view kPlain = "";

std::string_view colour_of(MirrorState state) {
  switch (state) {
    case MirrorState::kSource:
    case MirrorState::kTarget:
      return kGreen;
    case MirrorState::kFailed:
    case MirrorState::kSplitBrain:
      return kRed;
    case MirrorState::kStopped:
    case MirrorState::kPaused:
    case MirrorState::kWaitToResync:
    case MirrorState::kResyncPending:
    case MirrorState::kResyncing:
    case MirrorState::kOutOfSync:
      return kYellow;
  }
  return kPlain;
}

std::string_view colour_of(LinkState link) {
  switch (link) {
    case LinkState::kConnected:
      return kGreen;
    case LinkState::kSplitBrain:
    case LinkState::kRefused:
    case LinkState::kDown:
      return kRed;
    case LinkState::kConnecting:
    case LinkState::kResyncPending:
    case LinkState::kResyncing:
    case LinkState::kPaused:
      return kYellow;
  }
  return kPlain;
}

std::string_view colour_of(ReplicaState replica) {
  switch (replica) {
    case ReplicaState::kUptodate:
      return kGreen;
    case ReplicaState::kConsistent:
    case ReplicaState::kOutdated:
    case ReplicaState::kUnknown:
      return kYellow;
    case ReplicaState::kInconsistent:
    case ReplicaState::kFailed:
    case ReplicaState::kDiskless:
      return kRed;
  }
  return kPlain;
}

std::string painted(std::string_view text, std::string_view colour, const Style& style) {
  if (!style.colour || colour.empty()) return std::string{text};
  return std::string{colour} + std::string{text} + "\x1b[0m";
}

struct Cell {
  std::string text;
  std::string_view colour{kPlain};
};
using Row = std::vector<Cell>;

std::string table(const std::vector<Row>& rows, const Style& style) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].text.size());
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    std::size_t padding = 0;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += std::string(padding, ' ') + painted(row[i].text, row[i].colour, style);
      padding = widths[i] - row[i].text.size() + 2;
    }
    out += line + "\n";
  }
  return out;
}

std::string age(double seconds) {
  if (seconds >= 60) return control::human_seconds(static_cast<std::uint64_t>(seconds));
  std::array<char, 24> text{};
  std::snprintf(text.data(), text.size(), "%.2fs", seconds);
  return text.data();
}

std::string size_or_dash(std::uint64_t bytes) {
  return bytes == 0 ? "-" : control::human_size(bytes);
}

void add_mirror_lines(const MirrorStatus& mirror, const Style& style, std::string& out) {
  for (const auto& peer : mirror.peers) {
    if (!peer.resync) continue;
    out += "  resync of " + printable(peer.name) + "  ";
    Style bar = style;
    bar.width = style.width > peer.name.size() + 14 ? style.width - peer.name.size() - 14 : 0;
    out += render_progress(*peer.resync, bar) + "\n";
  }
  if (mirror.frozen) {
    out += "  " + painted("writes are frozen", kRed, style) + ": " + printable(mirror.frozen_reason) + "\n";
  }
  if (!mirror.reason.empty()) out += "  " + printable(mirror.reason) + "\n";
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out{text};
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < ' ' || byte == 0x7f) c = '?';
  }
  return out;
}

std::string render_status(const control::StatusReply& status, const Style& style) {
  std::string out = "node " + printable(status.node) + ", twinblock " + printable(status.daemon_version) +
                    ", up " + control::human_seconds(status.uptime_s) + "\n";
  if (status.mirrors.empty()) return out + "no mirrors\n";
  const std::array<const char*, 9> titles{"MIRROR",  "STATE",  "ROLE",    "MODE", "SIZE",
                                          "REPLICA", "COPIES", "WRITTEN", "HOT"};
  for (const auto& mirror : status.mirrors) {
    std::vector<Row> rows(2);
    for (const char* title : titles) rows[0].push_back({title, kBold});
    rows[1] = {{printable(mirror.name)},
               {std::string{to_string(mirror.state)}, colour_of(mirror.state)},
               {std::string{to_string(mirror.role)}},
               {std::string{to_string(mirror.mode)}},
               {control::human_size(mirror.size)},
               {std::string{to_string(mirror.replica)}, colour_of(mirror.replica)},
               {std::to_string(mirror.redundancy), mirror.redundancy > 1 ? kGreen : kYellow},
               {control::human_size(mirror.counters.written_bytes)},
               {std::to_string(mirror.hot_extents)}};
    out += "\n" + table(rows, style);
    std::vector<Row> peers;
    if (!mirror.peers.empty()) {
      const std::array<const char*, 7> peer_titles{"  PEER", "LINK",   "REPLICA", "DIRTY",
                                                   "QUEUE",  "BEHIND", "PATH"};
      peers.emplace_back();
      for (const char* title : peer_titles) peers[0].push_back({title, kBold});
    }
    for (const PeerStatus& peer : mirror.peers) {
      peers.push_back({{"  " + printable(peer.name)},
                       {std::string{to_string(peer.link)}, colour_of(peer.link)},
                       {std::string{to_string(peer.replica)}, colour_of(peer.replica)},
                       {size_or_dash(peer.dirty_bytes)},
                       {size_or_dash(peer.queue_bytes)},
                       {peer.rpo_s > 0 ? age(peer.rpo_s) : "-"},
                       {peer.path.empty() ? "-" : printable(peer.path)}});
    }
    out += table(peers, style);
    add_mirror_lines(mirror, style, out);
  }
  return out;
}

std::string render_progress(const control::ResyncProgress& progress, const Style& style) {
  const double share = progress.total_bytes == 0
                           ? 1.0
                           : std::min(1.0, static_cast<double>(progress.done_bytes) /
                                               static_cast<double>(progress.total_bytes));
  std::array<char, 16> percent{};
  // Rounded down: 100 % is said only of what is complete. The first percents of a large mirror take long.
  if (share < 0.1)
    std::snprintf(percent.data(), percent.size(), "%.1f %%", std::floor(share * 1000) / 10);
  else
    std::snprintf(percent.data(), percent.size(), "%3d %%", static_cast<int>(share * 100));
  const std::string eta = progress.eta_s ? control::human_seconds(*progress.eta_s) : std::string{"?"};
  std::string tail = std::string{percent.data()} + "  " + control::human_size(progress.done_bytes) + " of " +
                     control::human_size(progress.total_bytes) + "  " +
                     control::human_size(progress.rate_bytes_per_s) + "/s  ETA " + eta;
  const std::size_t room = style.width > tail.size() + 4 ? style.width - tail.size() - 4 : 0;
  const std::size_t cells = std::min<std::size_t>(room, 30);
  if (cells < 5) return tail;
  const auto full = static_cast<std::size_t>(share * static_cast<double>(cells));
  return "[" + painted(std::string(full, '#'), kGreen, style) + std::string(cells - full, '.') + "] " + tail;
}

std::string render_event(const control::Event& event, const Style& style) {
  const std::time_t seconds = event.wall_time_ms / 1000;
  std::tm utc{};
  std::array<char, 40> date{};
  if (::gmtime_r(&seconds, &utc) != nullptr)
    std::strftime(date.data(), date.size(), "%Y-%m-%d %H:%M:%S", &utc);
  std::array<char, 8> milliseconds{};
  std::snprintf(milliseconds.data(), milliseconds.size(), ".%03dZ",
                static_cast<int>(event.wall_time_ms % 1000));
  std::string_view colour = kPlain;
  if (event.severity == control::Severity::kWarning) colour = kYellow;
  if (event.severity == control::Severity::kError || event.severity == control::Severity::kCritical)
    colour = kRed;
  std::string out = std::string{date.data()} + milliseconds.data() + "  #" + std::to_string(event.sequence) +
                    "  " + painted(to_string(event.severity), colour, style) + "  " +
                    (event.mirror.empty() ? std::string{"-"} : printable(event.mirror)) + "  " +
                    printable(event.kind) + "  " + printable(event.text);
  for (const auto& [name, value] : event.fields) out += "  " + printable(name) + "=" + printable(value);
  return out;
}

std::string render_error(const control::CommandResult& result, const Style& style) {
  const auto or_else = [](const std::string& text, const char* otherwise) {
    return text.empty() ? std::string{otherwise} : printable(text);
  };
  return painted("twinblock:", kRed, style) + " " + or_else(result.message, "The command failed.") +
         "\n  safe: " + or_else(result.what_is_safe, "Nothing was changed by this command line.") +
         "\n  next: " + or_else(result.next_step, "twinblock status") + "\n";
}

}  // namespace twinblock::cli
