#include "replicator/engine/peer_link.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "replicator/control/log.hpp"
#include "replicator/engine/metadata_file.hpp"
#include "transport/ring/error.hpp"

namespace twinblock::engine {
namespace {

constexpr Duration kHelloTime = Duration::seconds(10);
constexpr Duration kCheckInterval = Duration::seconds(1);
// A link that lived this long was a good one: its peer restarted or the network hiccuped, dial at once.
constexpr Duration kGoodLife = Duration::seconds(2);
constexpr std::size_t kStrangersMax = 64;
// Connections of one mirror that may take their time to say goodbye.
constexpr std::size_t kLeavingMax = 8;

link::ConnectorOptions connector_options() {
  link::ConnectorOptions options;
  options.backoff.delay_max = Duration::seconds(2);
  options.seed = random_name();
  return options;
}

}  // namespace

PeerLink::PeerLink(const ShardContext& shard, PeerRouter& router, PeerLinkOwner& owner, PeerLinkPlan plan)
    : shard_{shard},
      router_{router},
      owner_{owner},
      plan_{std::move(plan)},
      connector_{shard.loop, *this, connector_options()} {
  router_.add(*this);
}

PeerLink::~PeerLink() {
  TB_ASSERT(closed());
  router_.remove(*this);
  shard_.turn.remove(*this);
}

void PeerLink::set_wanted(bool wanted) {
  wanted_ = wanted;
  undecided_ = false;
  if (!plan_.dials()) return;
  if (wanted && !current_) {
    dial(true);
  } else if (!wanted) {
    connector_.stop();
  }
}

void PeerLink::dial(bool soon) {
  if (!wanted_ || shutting_down_ || current_ || !plan_.dials() || !connector_.is_idle()) return;
  connector_.start(plan_.peer_addresses[next_address_ % plan_.peer_addresses.size()], soon);
}

void PeerLink::on_connected(link::Connector&, int fd) {
  PeerConnectionOwner& owner = *this;
  take(std::make_unique<PeerConnection>(shard_, owner, fd));
}

void PeerLink::on_attempt_failed(link::Connector&, ErrorCode reason, Duration) {
  last_error_ = reason.message();
  if (plan_.peer_addresses.size() < 2) return;  // it goes on by itself
  ++next_address_;
  connector_.stop();
}

void PeerLink::on_connector_stopped(link::Connector&) {
  dial(false);
}

void PeerLink::adopt(std::unique_ptr<PeerConnection> connection, const wire::Header& header,
                     std::span<const std::byte> body, const wire::HelloBody& hello) {
  const std::uint64_t known = owner_.known_peer_identity();
  std::string refusal;
  if (!wanted_ || shutting_down_) {
    refusal = "mirror " + plan_.mirror + ": this node wants no link now (disconnected by hand, or stopping)";
  } else if (plan_.dials()) {
    refusal =
        "mirror " + plan_.mirror + ": this node dials; check the order of [[mirror.node]] on both nodes";
  } else if (NodeIndex{hello.node} != plan_.peer) {
    refusal =
        "mirror " + plan_.mirror + ": node index " + std::to_string(hello.node) + " is not the peer here";
  } else if (current_ && known != 0 && hello.identity != known) {
    refusal = "mirror " + plan_.mirror + ": connected to the peer already";
  }
  PeerConnection& taken = *connection;
  if (!refusal.empty()) {
    control::log_warning("peer.refused", refusal, {{"path", taken.path()}});
    PeerConnectionOwner& owner = *this;
    taken.set_owner(owner);
    if (leaving_.size() < kLeavingMax) taken.refuse(refusal);
    leave(std::move(connection));
    return;
  }
  take(std::move(connection));
  if (current_.get() == &taken) owner_.on_link_message(link_, header, body, ring::kNoBuffer);
}

void PeerLink::take(std::unique_ptr<PeerConnection> connection) {
  lose_current();
  PeerConnectionOwner& owner = *this;
  connection->set_owner(owner);
  connection->accept_payload();
  current_ = std::move(connection);
  link_ = router_.next_link_id();
  last_error_.clear();
  owner_.on_link_up(link_);
}

// The core hears that the link is down before the socket is: what it sent may still leave.
void PeerLink::lose_current() {
  if (!current_) return;
  const core::LinkId lost = std::exchange(link_, 0);
  leave(std::move(current_));
  owner_.on_link_down(lost);
}

// A connection costs most of a megabyte until it is gone, and who comes with a hello is counted no longer as
// a stranger: a flood of hellos must not gather connections that still say goodbye.
void PeerLink::leave(std::unique_ptr<PeerConnection> connection) {
  if (leaving_.size() < kLeavingMax) {
    connection->close_when_sent();
  } else {
    connection->close(ring::errc::kClosed);
  }
  leaving_.push_back(std::move(connection));
}

void PeerLink::send(core::LinkId link, const OutgoingMessage& message) {
  if (current_ && link == link_) current_->send(message);
}

void PeerLink::close_link(core::LinkId link) {
  if (!current_ || link != link_) return;
  const bool good = current_->opened() + kGoodLife < shard_.loop.now();
  if (good) connector_.reset_backoff();
  lose_current();
  dial(false);
}

void PeerLink::on_peer_message(PeerConnection& connection, const wire::Header& header,
                               std::span<const std::byte> body, ring::BufferHandle payload) {
  if (&connection == current_.get()) {
    owner_.on_link_message(link_, header, body, payload);
  } else if (payload != ring::kNoBuffer) {
    shard_.arena.release(payload);
  }
}

void PeerLink::on_peer_closed(PeerConnection& connection, ErrorCode reason) {
  if (&connection == current_.get()) {
    const bool good = connection.opened() + kGoodLife < shard_.loop.now();
    const core::LinkId lost = std::exchange(link_, 0);
    last_error_ = reason.message();
    control::log_info("peer.link_lost", "the connection to the peer ended",
                      {{"mirror", plan_.mirror}, {"path", connection.path()}, {"reason", last_error_}});
    leaving_.push_back(std::move(current_));
    if (good) connector_.reset_backoff();
    owner_.on_link_down(lost);
    dial(good);
  }
  ended_.push_back(&connection);
  shard_.turn.add(*this);
}

void PeerLink::on_turn_end() {
  for (PeerConnection* ended : ended_) {
    std::erase_if(leaving_, [ended](const std::unique_ptr<PeerConnection>& c) { return c.get() == ended; });
  }
  ended_.clear();
}

void PeerLink::shut_down() {
  shutting_down_ = true;
  wanted_ = false;
  if (!connector_.is_idle()) connector_.stop();
  lose_current();
}

bool PeerLink::closed() const noexcept {
  return !current_ && leaving_.empty() && connector_.is_idle();
}

// --- router ---

PeerRouter::~PeerRouter() {
  TB_ASSERT(closed());
  shard_.loop.disarm(check_timer_);
  shard_.turn.remove(*this);
}

Result<void> PeerRouter::listen(const ring::Address& address) {
  const std::string text = address.text();
  if (address.port != 0 && std::find(listening_.begin(), listening_.end(), text) != listening_.end())
    return {};
  ring::ListenerHandler& handler = *this;
  ring::ListenerOptions options;
  options.connections_max = kStrangersMax;
  auto listener = std::make_unique<ring::Listener>(shard_.loop, handler, options);
  if (auto listening = listener->listen(address); !listening) return listening;
  listeners_.push_back(std::move(listener));
  listening_.push_back(text);
  ++open_listeners_;
  return {};
}

void PeerRouter::on_accept(ring::Listener& listener, int fd) {
  PeerConnectionOwner& owner = *this;
  strangers_.push_back({std::make_unique<PeerConnection>(shard_, owner, fd), &listener, false});
  if (!check_timer_.armed()) shard_.loop.arm(check_timer_, shard_.loop.now() + kCheckInterval);
}

void PeerRouter::on_peer_message(PeerConnection& connection, const wire::Header& header,
                                 std::span<const std::byte> body, ring::BufferHandle payload) {
  TB_ASSERT(payload == ring::kNoBuffer);
  const auto stranger = std::find_if(strangers_.begin(), strangers_.end(),
                                     [&](const Stranger& s) { return s.connection.get() == &connection; });
  if (stranger == strangers_.end()) return;
  const auto hello = header.type == wire::Type::hello ? wire::decode_hello(body)
                                                      : Result<wire::HelloBody>{wire::errc::bad_body};
  if (!hello) {
    control::log_warning("peer.no_hello", "a connection did not begin with a hello",
                         {{"path", connection.path()}});
    connection.refuse("not a hello of this protocol");
    return;
  }
  const auto link = links_.find(hello->mirror_name);
  if (link == links_.end()) {
    control::log_warning(
        "peer.unknown_mirror", "a peer asked for a mirror that is not up here",
        {{"path", connection.path()}, {"mirror", hello->mirror_name.substr(0, wire::kNameMax)}});
    connection.refuse("mirror " + hello->mirror_name + " is not up on this node");
    return;
  }
  auto taken = std::move(stranger->connection);
  stranger->listener->connection_ended();  // counts strangers only
  stranger->gone = true;
  shard_.turn.add(*this);
  link->second->adopt(std::move(taken), header, body, *hello);
}

void PeerRouter::on_peer_closed(PeerConnection& connection, ErrorCode) {
  for (Stranger& s : strangers_) {
    if (s.connection.get() != &connection) continue;
    s.listener->connection_ended();
    s.gone = true;
  }
  shard_.turn.add(*this);
}

void PeerRouter::on_turn_end() {
  std::erase_if(strangers_, [](const Stranger& s) { return s.gone; });
}

void PeerRouter::on_check() {
  const Instant now = shard_.loop.now();
  for (const Stranger& s : strangers_) {
    if (!s.gone && s.connection->is_open() && s.connection->opened() + kHelloTime < now) {
      s.connection->refuse("no hello in time");
    }
  }
  if (!strangers_.empty()) shard_.loop.arm(check_timer_, now + kCheckInterval);
}

void PeerRouter::shut_down() {
  for (const auto& listener : listeners_) {
    if (listener->is_listening()) listener->close();
  }
  for (const Stranger& s : strangers_) {
    if (!s.gone) s.connection->close(ErrorCode{});
  }
}

bool PeerRouter::closed() const noexcept {
  return open_listeners_ == 0 && strangers_.empty();
}

}  // namespace twinblock::engine
