#include "replicator/engine/refusal_text.hpp"

#include <array>

#include "base/assert.hpp"

namespace twinblock::engine {
namespace {

constexpr std::string_view kBoth = "Both copies stay as they are.";
constexpr std::string_view kNothing = "Nothing was changed.";

// What each is, is said above the table in docs/internals/errors.md.
constexpr auto kRule = control::Outcome::kRefused;
constexpr auto kFailed = control::Outcome::kFailed;
constexpr auto kUsage = control::Outcome::kUsage;

struct Row {
  core::Refusal refusal;
  RefusalText text;
};

// One row per enumerator, in the order of core::Refusal.
#define TB_REFUSAL(name, message, safe, next, outcome) \
  Row {                                                \
    core::Refusal::name, {                             \
      #name, message, safe, next, outcome              \
    }                                                  \
  }
constexpr std::array kRows{
    TB_REFUSAL(none, "done", "", "", kFailed),
    TB_REFUSAL(protocol_version, "the peer speaks no version of the protocol that this node knows", kBoth,
               "install the same release on both nodes", kFailed),
    TB_REFUSAL(required_feature, "the peer requires a feature that this node does not have", kBoth,
               "install the same release on both nodes", kFailed),
    TB_REFUSAL(mirror_name, "the peer answers for a mirror of another name", kBoth,
               "compare [[mirror]] name and the replication addresses on both nodes", kRule),
    TB_REFUSAL(
        mirror_id,
        "the peer's replica belongs to another mirror: both nodes were created with --source, or a disk is "
        "the wrong one",
        "Neither copy is overwritten or merged with the other one.",
        "on the node whose data does not count, which overwrites it: twinblock down MIRROR; twinblock create "
        "MIRROR --force (without --source); twinblock up MIRROR",
        kRule),
    TB_REFUSAL(node_index, "both nodes claim the same place in the mirror", kBoth,
               "[[mirror.node]] must have the same order on both nodes; check [node] name", kRule),
    TB_REFUSAL(geometry, "the replicas differ in size, region size, block size or hot extents", kBoth,
               "make both disks the same size, then on the target: twinblock down MIRROR, create MIRROR "
               "--force, up MIRROR",
               kRule),
    TB_REFUSAL(config_differs, "the configuration of the mirror differs between the nodes", kBoth,
               "make the [[mirror]] tables equal; the log names the field", kRule),
    TB_REFUSAL(verdict_differs, "the two nodes judge their histories differently", kBoth,
               "twinblock explain MIRROR on both nodes; report this with its output", kRule),
    TB_REFUSAL(bad_message, "the peer sent something that this protocol does not allow", kBoth,
               "install the same release on both nodes; see the log", kFailed),
    TB_REFUSAL(no_data, "neither replica has data yet", kNothing,
               "on the node whose disk counts: twinblock create MIRROR --source", kRule),
    TB_REFUSAL(
        no_good_copy, "neither replica is complete: both were being overwritten when they stopped", kBoth,
        "bring back the node that had the data, or force one side: twinblock promote MIRROR --force", kRule),
    TB_REFUSAL(rolled_back, "a replica went back in time (restored from a backup or snapshot)", kBoth,
               "twinblock explain MIRROR; then create the restored replica anew as a target", kRule),
    TB_REFUSAL(unrelated, "the replicas have no history in common", kBoth,
               "decide which one counts; on the other: twinblock create MIRROR --force", kRule),
    TB_REFUSAL(
        split_brain, "split-brain: both sides took writes that the other one lacks",
        "Both copies are kept; nothing is overwritten until you decide.",
        "twinblock explain MIRROR; then twinblock resolve MIRROR --keep on the node whose data stays, and "
        "twinblock resolve MIRROR --discard on the other one (first twinblock demote MIRROR, if it is "
        "source)",
        kRule),
    TB_REFUSAL(peer_disk_failed, "the peer's disk has failed", "This node's copy serves alone.",
               "replace the disk in PEER, then there: twinblock create MIRROR --force", kFailed),
    TB_REFUSAL(
        two_sources, "both nodes are source", kBoth,
        "twinblock explain MIRROR on both; then demote the one to be overwritten: twinblock demote MIRROR",
        kRule),
    TB_REFUSAL(resync_origin_lost, "an unfinished resync came from a history that the peer does not have",
               "This copy is incomplete; the peer's is untouched.",
               "bring back the node it came from, or create this replica anew", kRule),
    TB_REFUSAL(not_source, "this node is not source", kNothing, "run it on the source (twinblock status)",
               kFailed),
    TB_REFUSAL(already_source, "this node is source already", kNothing, "twinblock status MIRROR", kFailed),
    TB_REFUSAL(peer_is_source, "the peer is source", kNothing, "twinblock switchover MIRROR", kRule),
    TB_REFUSAL(replica_inconsistent, "this copy is incomplete (mid-resync): promoting it would serve garbage",
               "The peer's copy is the good one.",
               "let the resync finish; if the peer is lost for good: twinblock promote MIRROR --force",
               kRule),
    TB_REFUSAL(replica_outdated, "this copy is known to be old", "The peer has newer data.",
               "bring the peer back; if it is lost for good: twinblock promote MIRROR --force", kRule),
    TB_REFUSAL(replica_failed, "this replica's disk has failed", "The peer's copy is not affected.",
               "replace the disk, then: twinblock create MIRROR --force", kFailed),
    TB_REFUSAL(peer_may_have_more,
               "PEER may still be source, or may have acknowledged writes that are not here",
               "This copy is complete as of the end of the last session.",
               "make sure that PEER is off, then: twinblock promote MIRROR --confirm-dead PEER", kRule),
    TB_REFUSAL(async_may_lose, "an async target may lack the last acknowledged writes",
               "This copy equals an earlier moment of the source.",
               "bring PEER back, or accept the loss: twinblock promote MIRROR --confirm-dead PEER", kRule),
    TB_REFUSAL(peer_took_term, "the peer took over as source meanwhile", "The peer's copy is the newest.",
               "twinblock status MIRROR", kRule),
    TB_REFUSAL(link_lost, "the link to PEER was lost meanwhile", kBoth, "twinblock status MIRROR; try again",
               kFailed),
    TB_REFUSAL(not_connected, "there is no link to PEER", kNothing, "twinblock connect MIRROR; is PEER up?",
               kFailed),
    TB_REFUSAL(busy, "another command is still running", kNothing, "wait for it, then try again", kFailed),
    TB_REFUSAL(wrong_node, "that is not a node of this mirror, or not the one that this needs", kNothing,
               "use the name PEER", kUsage),
    TB_REFUSAL(no_split_brain, "there is no split-brain to resolve", kNothing, "twinblock status MIRROR",
               kFailed),
    TB_REFUSAL(stopping, "the mirror is being stopped", "It stops in order; nothing acknowledged is lost.",
               "twinblock up MIRROR when it is down", kFailed),
    TB_REFUSAL(timeout, "it took too long", kBoth, "twinblock status MIRROR; try again", kFailed),
    TB_REFUSAL(peer_refused, "the peer refused", kBoth, "look at twinblock status MIRROR on PEER", kFailed),
    TB_REFUSAL(resync_running, "a resync is running", "The source's copy is the good one.",
               "twinblock wait MIRROR --for synced, then try again", kRule),
    TB_REFUSAL(no_peer_data, "this replica has no data yet: it is a target that was never filled", kNothing,
               "promote the node that has the data; this one is filled when they are connected", kRule),
    TB_REFUSAL(metadata_failed, "the metadata of this replica cannot be written",
               "The data disk is as it was; the peer's copy is not affected.",
               "replace the metadata disk; then: twinblock up MIRROR", kFailed),
    TB_REFUSAL(unsupported, "this version cannot do that", kNothing, "see the CHANGELOG", kFailed),
    TB_REFUSAL(clients_connected, "clients hold the NBD export of MIRROR open", kNothing,
               "unmount and disconnect first, or cut them off: the same command with --force", kRule),
    TB_REFUSAL(source_discards, "this node is source, and does not give up what it serves", kBoth,
               "twinblock demote MIRROR, then resolve MIRROR --discard", kRule),
    TB_REFUSAL(peer_lives, "PEER is not dead: it answers on the link, which is paused", kNothing,
               "twinblock resume MIRROR where it was paused; twinblock status MIRROR on PEER", kRule),
    TB_REFUSAL(paused, "the link to PEER is up, and sending is paused", kNothing,
               "twinblock resume MIRROR on the node where it was paused", kFailed),
};
#undef TB_REFUSAL

constexpr bool in_order() {
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    if (static_cast<std::size_t>(kRows[i].refusal) != i) return false;
  }
  return kRows.size() == static_cast<std::size_t>(core::kRefusalCount);
}
static_assert(in_order(), "a row for each core::Refusal, in its order");

}  // namespace

const RefusalText& refusal_text(core::Refusal refusal) {
  const auto index = static_cast<std::size_t>(refusal);
  TB_ASSERT(index < kRows.size());
  return kRows[index].text;
}

std::string for_mirror(std::string_view text, std::string_view mirror, std::string_view peer) {
  std::string result{text};
  const auto replace = [&result](std::string_view what, std::string_view with) {
    for (std::size_t at = result.find(what); at != std::string::npos;
         at = result.find(what, at + with.size())) {
      result.replace(at, what.size(), with);
    }
  };
  replace("MIRROR", mirror);
  replace("PEER", peer);
  return result;
}

}  // namespace twinblock::engine
