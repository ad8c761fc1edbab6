#include "replicator/engine/done_text.hpp"

#include <string>

#include "replicator/control/protocol_text.hpp"

namespace twinblock::engine {
namespace {

bool in_session(core::LinkState link) {
  return link == core::LinkState::connected || link == core::LinkState::resyncing ||
         link == core::LinkState::resync_pending;
}

void tell_connect(const core::MirrorSnapshot& s, const control::MirrorConfig& config,
                  const RunningFacts& facts, control::CommandResult& result) {
  const std::string& peer = config.peer_node().name;
  if (in_session(s.link)) {
    result.message += "connected to " + peer;
  } else if (s.link == core::LinkState::paused) {
    result.message += "the link to " + peer + " is up, and sending is paused";
    result.next_step = "twinblock resume " + config.name + " on the node that was paused";
  } else {
    result.message += "there is no connection to " + peer + " yet" +
                      (facts.link_error.empty() ? "" : " (" + facts.link_error + ")") +
                      "; it is tried until there is one";
    result.next_step = "twinblock status " + config.name + "; on " + peer +
                       ", if it was disconnected there: " + "twinblock connect " + config.name;
  }
}

void tell_resync(bool full, const core::MirrorSnapshot& s, const control::MirrorConfig& config,
                 control::CommandResult& result) {
  const std::string& peer = config.peer_node().name;
  if (full) {
    result.message += "everything is copied again";
    result.next_step = "twinblock wait " + config.name + " --for synced";
  } else if (!in_session(s.link)) {
    result.message += "the resync begins when " + peer + " is connected";
    result.next_step = "twinblock status " + config.name;
  } else if (s.link == core::LinkState::connected) {
    result.message += "nothing is known to differ from " + peer +
                      "; to copy everything again: twinblock resync " + config.name + " --full";
  } else {
    result.message += "the resync runs";
    if (s.dirty_bytes > 0) result.message += ", " + control::human_size(s.dirty_bytes) + " to copy";
    result.next_step = "twinblock wait " + config.name + " --for synced";
  }
}

void tell_resolve(const core::MirrorSnapshot& s, const control::MirrorConfig& config,
                  control::CommandResult& result) {
  const Decision decision = decision_on(s, config);
  result.message += decision.what.empty() ? "the split-brain is resolved" : decision.what;
  result.what_is_safe = "Nothing is overwritten before both nodes have met again.";
  result.next_step = decision.next_step;
}

}  // namespace

Decision decision_on(const core::MirrorSnapshot& s, const control::MirrorConfig& config) {
  using R = core::Resolution;
  const std::string& peer = config.peer_node().name;
  const std::string on_peer = "on " + peer + ": ";
  const std::string resolve = "twinblock resolve " + config.name;
  const std::string meet = "twinblock wait " + config.name + " --for synced; if they do not meet, " +
                           on_peer + "twinblock connect " + config.name;
  const bool source = s.role == core::Role::source || s.role == core::Role::demoting;
  if (s.resolution == R::keep && s.peer_resolution == R::keep) {
    return {"both nodes have decided to keep their copy, so nothing happens",
            "on the node whose data does not count: " + resolve + " --discard"};
  }
  if (s.resolution == R::discard && s.peer_resolution == R::discard) {
    return {"both nodes have given up their copy, so nothing happens",
            "on the node whose data stays: " + resolve + " --keep"};
  }
  if (s.resolution == R::keep && s.peer_was_source) {
    return {"decided here: this copy stays; it waits for " + peer + ", which is source and gives nothing up",
            on_peer + "twinblock demote " + config.name + " (its copy is then overwritten with this one)"};
  }
  if (s.resolution == R::keep) {
    return {"decided here: this copy stays, and that of " + peer +
                " is overwritten when both are connected; it waits for that",
            meet};
  }
  if (s.resolution == R::discard) {
    return {"decided here: this copy is given up, and overwritten with that of " + peer +
                " when both are connected; it waits for that",
            meet};
  }
  if (s.peer_resolution == R::keep && source) {
    return {peer + " has decided to keep its copy; this node is source and gives nothing up",
            "twinblock demote " + config.name + " (this copy is then overwritten with the other one)"};
  }
  if (s.peer_resolution != R::none) {
    return {peer + (s.peer_resolution == R::keep ? " has decided to keep its copy"
                                                 : " has decided to give up its copy"),
            "if that is right: " + resolve + (s.peer_resolution == R::keep ? " --discard" : " --keep")};
  }
  return {};
}

control::CommandResult done_result(const AcceptedCommand& command, const core::MirrorSnapshot& snapshot,
                                   const control::MirrorConfig& config, const RunningFacts& facts) {
  control::CommandResult result;
  result.message = "mirror " + config.name + ": ";
  switch (command.verb) {
    case control::Verb::kConnect:
      tell_connect(snapshot, config, facts, result);
      break;
    case control::Verb::kResync:
      tell_resync(command.full, snapshot, config, result);
      break;
    case control::Verb::kResolve:
      tell_resolve(snapshot, config, result);
      break;
    default:
      result.message += std::string{control::to_string(command.verb)} + " done";
      break;
  }
  return result;
}

}  // namespace twinblock::engine
