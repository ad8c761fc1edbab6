// Faults that are rarer than a crash or a lost link: metadata that lies, messages that get lost or repeat
// behind TCP's back, a node set back to a backup, an operator who vouches at the wrong moment; and cuts at a
// counted message of a conversation under load (the class `cuts`: seeds enumerate flow, cut and message).
#include <algorithm>

#include "tests/sim/world.hpp"

namespace twinblock::sim {

using core::Verb;

void World::perform_fault(Action a) {
  switch (a) {
    case Action::lose_message:
    case Action::repeat_message:
      return disturb_message(a == Action::repeat_message, false);
    case Action::lose_any:
    case Action::repeat_any:
      return disturb_message(a == Action::repeat_any, true);
    case Action::promote_confirm:
      return promote_confirmed();
    case Action::metadata_lie: {
      Node& n = nodes_[static_cast<std::size_t>(scenario_.error_node)];
      if (n.mirror == nullptr) return;
      crash(n, random_.one_in(2));
      if (n.meta.lie(random_)) check_marks("after a metadata write that did not land");
      restart_later(n, jitter(random_.one_in(2) ? 20 * kMillisecond : kSecond));
      return;
    }
    case Action::backup: {
      Node& n = nodes_[random_.below(2)];
      if (!n.backup.taken || random_.one_in(8)) take_backup(n);
      return;
    }
    case Action::restore: {
      Node& n = nodes_[random_.below(2)];
      put_back(n);
      return put_back(other(n));  // one of them at most
    }
    default:
      return;
  }
}

// A message of the numbered stream, or any.
void World::disturb_message(bool repeat, bool any_type) {
  Network::Direction& d = network_.directions[random_.below(2)];
  for (std::size_t i = d.head; i < d.queue.size(); ++i) {
    const Result<wire::Header> h = wire::decode_header(network_.message(d.queue[i]).header);
    const bool numbered =
        h && (h->type == wire::Type::write || h->type == wire::Type::zero || h->type == wire::Type::flush);
    if (!h || (!numbered && !any_type)) continue;
    if (!repeat && i + 1 == d.queue.size()) return;  // nothing behind it would tell
    const std::uint32_t at = d.queue[i];
    const auto place = d.queue.begin() + static_cast<std::ptrdiff_t>(i);
    if (!repeat) {
      d.queue.erase(place);
      return network_.release(at);
    }
    const std::uint32_t twin = network_.allocate();
    network_.message(twin) = network_.message(at);
    if (network_.message(at).payload != 0) buffers_.reference(network_.message(at).payload);
    d.queue.insert(place, twin);
    return;
  }
}

// The operator vouches for the death of a node that is dead, whatever the survivor is doing. A survivor that
// is not complete has to refuse (P9, check_open).
void World::promote_confirmed() {
  for (Node& n : nodes_) {
    if (n.mirror == nullptr || other(n).mirror != nullptr || n.commands > 0) continue;
    if (n.meta.superblock().disk_state == bitmap::DiskState::consistent) {
      promote_if_safe(n);
    } else {
      command(n, Verb::promote, false, true);
    }
  }
}

// As a snapshot of the machine would have it: disk and metadata of one instant, of either node while both are
// in sync.
void World::take_backup(Node& n) {
  Node& peer = other(n);
  const bool in_sync = n.export_open ? n.in_ack_set : peer.export_open && peer.in_ack_set;
  if (n.mirror == nullptr || n.rolled_back || !in_sync) return;
  if (n.mirror->snapshot().link != core::LinkState::connected) return;
  if (n.meta.superblock().disk_state != bitmap::DiskState::consistent) return;
  n.backup.taken = true;
  n.backup.session = std::max(n.session_joined, n.session_led);
  n.backup.stable_sequence = n.meta.superblock().stable_sequence;
  n.backup.metadata = n.meta.area();
  n.backup.content.clear();
  n.disk.cells().for_each([&](std::uint32_t s, DataDisk::Cell& c) {
    if (c.durable != 0) n.backup.content.emplace_back(s, c.durable);
  });
}

// The other one must have written down what the backup cannot know: a later session, or, in the same one,
// more on stable storage. (Of the rest nobody can tell: generations.md, "Known limits".) Sessions are counted
// by the world, not by the marks of the core.
bool World::backup_shows(const Node& n) {
  const Node& peer = other(n);
  const bool confirmed = peer.meta.weakest_sequence() > peer.session_led_at + 1;
  const std::uint64_t known =
      confirmed ? std::max(peer.session_joined, peer.session_led) : peer.session_joined;
  if (known != n.backup.session) return known > n.backup.session;
  return peer.session_led <= known &&
         peer.meta.weakest().peers[index(n)].stable_sequence > n.backup.stable_sequence;
}

// Either node, source or target, while the other one has everything that was acknowledged. Then it may crash
// as often as it likes before they meet.
void World::put_back(Node& n) {
  Node& peer = other(n);
  if (!n.backup.taken || n.mirror == nullptr || peer.mirror == nullptr || !backup_shows(n)) return;
  if (n.rolled_back || peer.rolled_back || !n.at_risk.empty() || !peer.at_risk.empty()) return;
  const bool in_sync = n.export_open ? n.in_ack_set : peer.export_open && peer.in_ack_set;
  if (!in_sync || peer.meta.weakest().disk_state != bitmap::DiskState::consistent) return;
  // The link may still look alive: what the peer had not flushed went with its power.
  if (peer.mirror->superblock().lost_cache) return;
  if (n.export_open && random_.one_in(2))
    push(jitter(10 * kMillisecond), EventType::peer_is_dead, peer.index);
  crash(n, true);
  note(n, "=== put back from its backup");
  ++totals_.put_back;
  n.backup.taken = random_.one_in(2);  // it may be put back once more
  n.disk.clear();
  for (const auto& [sector, tag] : n.backup.content) n.disk.fill(sector, tag);
  n.meta.area() = n.backup.metadata;
  n.meta.recover();
  n.rolled_back = true;
  n.session_joined = n.backup.session;
  n.session_led = n.session_led_at = 0;
  n.lone_crashes = static_cast<std::uint32_t>(random_.below(5));
  n.at_risk.clear();
  if (n.lone_crashes > 0 && random_.one_in(2)) {
    network_blocked_ = true;
    push(jitter(n.lone_crashes * 60 * kMillisecond), EventType::unstall, peer.index);
  }
  restart_later(n, jitter(20 * kMillisecond));
}

// ------------------------------------------------------------------------------------------------ cuts

// Stage 0: the conversation begins; its messages are counted from here or from the next link on.
void World::begin_flow(std::uint32_t stage) {
  Node* src = source();
  if (phase_ != Phase::faults) return;
  if (src == nullptr || !src->in_ack_set) return push(2 * kMillisecond, EventType::flow, kNone, stage);
  Node& target = other(*src);
  if (scenario_.flow == Flow::restart_failover) return restart_failover(*src, stage);
  network_.messages_on_link = 0;
  cut_armed_ = true;
  switch (scenario_.flow) {
    case Flow::connect:
      return cut_link();
    case Flow::resync:  // the source goes on alone meanwhile
      network_blocked_ = true;
      push(jitter(20 * kMillisecond), EventType::unstall, target.index);
      return cut_link();
    case Flow::promote:
      command(*src, Verb::demote);
      return push(jitter(kMillisecond), EventType::peer_is_dead, target.index, 1);
    case Flow::switchover:
      return command(random_.one_in(2) ? target : *src, Verb::switchover);
    case Flow::restart:
      crash(*src, random_.one_in(2));
      return restart_later(*src, jitter(5 * kMillisecond));
    case Flow::restart_failover:
    case Flow::count_:
      return;
  }
}

// What a source shows after its crash it must show for good, also if the target takes over right then: the
// regions that were hot are not equal yet (P8, P15). Again and again, as long as there are clients.
void World::restart_failover(Node& src, std::uint32_t stage) {
  switch (stage) {
    case 0:  // its disk goes on, the wire does not
      network_.directions[index(src)].stalled = true;
      return push(jitter(4 * scenario_.write_ns), EventType::flow, kNone, 1);
    case 1:
      crash(src, false);
      network_.clear(src.index);
      restart_later(src, jitter(kMillisecond));
      return push(jitter(kMillisecond), EventType::flow, kNone, 2);
    case 2:  // it is source again, with the target in its ack set
      return push(jitter(3 * kMillisecond), EventType::flow, kNone, 3);
    default:
      fail_over(src);
      return push(jitter(20 * kMillisecond), EventType::flow, kNone, 0);
  }
}

// The counted message has been sent.
void World::cut_at(Node& sender) {
  cut_used_ = true;
  Node& receiver = other(sender);
  if (scenario_.kind != ScenarioClass::cuts) return scenario_.cut_half ? link_down(receiver, 0) : cut_link();
  if (random_.one_in(2)) {  // whoever is left is alone for a while
    network_blocked_ = true;
    push(jitter(50 * kMillisecond), EventType::unstall, receiver.index);
  }
  switch (scenario_.cut) {
    case Cut::both:
      return cut_link();
    case Cut::receiver:
      return link_down(receiver, 0);
    case Cut::kill_sender:
    case Cut::power_sender:
      return push(0, EventType::kill, sender.index, scenario_.cut == Cut::power_sender ? 1 : 0);
    case Cut::kill_receiver:
    case Cut::power_receiver:
      return push(0, EventType::kill, receiver.index, scenario_.cut == Cut::power_receiver ? 1 : 0);
    case Cut::count_:
      return;
  }
}

// A token bucket of one second; the piece that exceeds it, and those in flight then, are let through.
void World::check_ceiling(Node& n, std::uint32_t bytes) {
  const auto rate = static_cast<std::int64_t>(n.policy.resync_rate_bytes_per_s_max);
  if (rate == 0) return;
  constexpr std::int64_t kSlack = 2ll << 20;
  const std::int64_t elapsed = std::min(now_ - n.resync_counted_at, 10 * kSecond);
  n.resync_credit = std::min(n.resync_credit + elapsed / 1000 * rate / 1'000'000, rate);
  n.resync_counted_at = now_;
  n.resync_credit -= bytes;
  if (n.resync_credit < -kSlack)
    fail("ceiling", std::string{"resync is faster than its ceiling at node "} + "AB"[n.index]);
}

}  // namespace twinblock::sim
