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

}  // namespace

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
    default:
      result.message += std::string{control::to_string(command.verb)} + " done";
      break;
  }
  return result;
}

}  // namespace twinblock::engine
