#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "tests/unit/core/generations_model.hpp"

namespace twinblock::core::model {
namespace {

// States are remembered by a 128-bit fingerprint: among ten million the chance of one collision is 1e-25.
struct Fingerprint {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  friend bool operator==(const Fingerprint&, const Fingerprint&) = default;
};
struct FingerprintHash {
  std::size_t operator()(const Fingerprint& f) const { return f.low; }
};

std::uint64_t mixed(std::uint64_t v) {
  v = (v ^ (v >> 32)) * 0xd6e8feb86659fd93u;
  v = (v ^ (v >> 32)) * 0xd6e8feb86659fd93u;
  return v ^ (v >> 32);
}

Fingerprint fingerprint(const State& s) {
  Fingerprint f{0x9e3779b97f4a7c15u, 0xc2b2ae3d27d4eb4fu};
  const auto* bytes = reinterpret_cast<const unsigned char*>(&s);
  for (std::size_t at = 0; at < sizeof(State); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes + at, std::min<std::size_t>(8, sizeof(State) - at));
    f.low = mixed(f.low ^ word);
    f.high = mixed(f.high + word * 0xff51afd7ed558ccdu + at);
  }
  return f;
}

struct Link {
  std::uint32_t parent;
  Event event;
};

// The way to a state, replayed from the start.
std::string trace(const Model& model, const std::vector<Link>& links, std::uint32_t last,
                  const Event& event) {
  std::vector<Event> way{event};
  for (std::uint32_t at = last; at != 0; at = links[at].parent) way.push_back(links[at].event);
  State s = model.initial();
  std::string text;
  for (std::size_t n = way.size(); n > 0; --n) {
    const auto broken = model.apply(s, way[n - 1]);
    text += "\n  " + describe(way[n - 1]) + "\n        " + describe(s);
    if (broken) text = broken->what + ", after " + std::to_string(way.size()) + " steps:" + text;
  }
  return text;
}

const char* name(Step step) {
  switch (step) {
    case Step::write_start:
      return "write starts at";
    case Step::write_apply:
      return "write applied at the peer of";
    case Step::write_ack:
      return "write acknowledged by";
    case Step::write_settle:
      return "both stable, intents dropped at";
    case Step::degrade:
      return "new generation, peer lacks (memory) at";
    case Step::write_alone:
      return "lone write acknowledged by";
    case Step::grant:
      return "right to write alone for";
    case Step::cut:
      return "link cut";
    case Step::heal:
      return "link heals";
    case Step::crash_saved:
      return "crash, superblock written, of";
    case Step::crash_lost:
      return "crash, superblock not written, of";
    case Step::boot:
      return "boot of";
    case Step::disk_failure:
      return "disk failure and crash of";
    case Step::negotiate:
      return "states exchanged, leader prepares";
    case Step::offer:
      return "leader durable, session_start";
    case Step::ready:
      return "follower durable, session_ready";
    case Step::copy:
      return "resync copies a region from";
    case Step::join:
      return "last bit cleared, join (memory)";
    case Step::end:
      return "join durable, resync_end, follower adopts (memory)";
    case Step::done:
      return "follower durable, resync_done";
    case Step::promote:
      return "promote";
    case Step::promote_forward:
      return "promotion durable at";
    case Step::promote_answered:
      return "term answered, promotion ends at";
    case Step::demote:
      return "demote";
    case Step::demote_forward:
      return "demotion durable, peer told by";
    case Step::demote_answered:
      return "demotion answered at";
    case Step::demote_timeout:
      return "demotion ends without an answer at";
    case Step::resolve_keep:
      return "operator: keep";
    case Step::resolve_discard:
      return "operator: discard";
  }
  return "?";
}

std::string describe(const Record& r) {
  std::string text = "g";
  for (Small i = 0; i < r.count; ++i) {
    text += (i == 0 ? "" : "<") + std::to_string(r.id[i]);
    if (r.cause[i] == static_cast<Small>(GenerationCause::forced)) text += "f";
  }
  static const char* const kDisk[] = {"inconsistent", "outdated", "consistent", "failed"};
  static const char* const kData[] = {"unknown", "maybe", "lacks", "handed"};
  text += std::string{" "} + kDisk[r.disk] + " peer=" + kData[r.data] + " base=" + std::to_string(r.base);
  text += " term=" + std::to_string(r.term_own) + "/" + std::to_string(r.term_seen);
  if (r.was_source != 0) text += " was-source";
  if (r.needs_full != 0) text += " needs-full";
  if (r.resync_active != 0) text += " resync-of=" + std::to_string(r.resync_generation);
  return text;
}

}  // namespace

std::string describe(const Event& e) {
  const bool of_node = e.step != Step::cut && e.step != Step::heal && e.step != Step::negotiate &&
                       e.step != Step::offer && e.step != Step::ready && e.step != Step::join &&
                       e.step != Step::end && e.step != Step::done;
  std::string text = name(e.step);
  if (of_node) text += e.node == 0 ? " A" : " B";
  if (e.step == Step::copy) text += ", region " + std::to_string(e.argument);
  if (e.step == Step::promote && e.argument == static_cast<Small>(How::confirm_dead))
    text += " --confirm-dead";
  if (e.step == Step::promote && e.argument == static_cast<Small>(How::force)) text += " --force";
  return text;
}

std::string describe(const State& s) {
  static const char* const kRole[] = {"target", "promoting", "SOURCE", "demoting"};
  std::string text;
  for (std::size_t n = 0; n < 2; ++n) {
    const Node& node = s.node[n];
    text += n == 0 ? "A[" : " B[";
    text += node.running != 0 ? kRole[node.role] : "dead";
    text += " " + describe(node.memory) + (node.memory == node.durable ? "" : " (not durable)");
    text += " has=" + std::to_string(node.content) + " dirty=" + std::to_string(node.dirty) +
            " hot=" + std::to_string(node.hot) + "]";
  }
  return text + " acked=" + std::to_string(s.acked);
}

Search search(const Conditions& conditions, std::size_t depth_max, std::size_t states_max) {
  const Model model{conditions};
  Search result;
  std::unordered_set<Fingerprint, FingerprintHash> seen;
  std::vector<Link> links{{0, {}}};
  std::vector<std::pair<State, std::uint32_t>> level{{model.initial(), 0}};
  std::vector<std::pair<State, std::uint32_t>> next;
  std::vector<Event> events;
  seen.reserve(std::min<std::size_t>(states_max, 4'000'000));
  seen.insert(fingerprint(level.front().first));
  while (!level.empty() && result.depth < depth_max) {
    next.clear();
    for (const auto& [state, index] : level) {
      model.events(state, events);
      for (const Event& event : events) {
        State after = state;
        ++result.transitions;
        if (event.step == Step::negotiate) result.rows.insert(model.verdict(state, 0).rule);
        if (model.apply(after, event)) {
          result.states = seen.size();
          result.counterexample = trace(model, links, index, event);
          return result;
        }
        if (!seen.insert(fingerprint(after)).second) continue;
        links.push_back({index, event});
        next.emplace_back(after, static_cast<std::uint32_t>(links.size() - 1));
        if (seen.size() >= states_max) {
          result.states = seen.size();
          return result;
        }
      }
    }
    ++result.depth;
    level.swap(next);
  }
  result.states = seen.size();
  result.complete = level.empty();
  return result;
}

}  // namespace twinblock::core::model
