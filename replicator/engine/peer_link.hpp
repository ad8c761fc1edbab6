// The way to the peer of one mirror. The node with the lower index dials, the other one listens, so that two
// nodes never cross. The core sees one link at a time: a new connection of the right peer replaces the old
// one, because a peer that dials again has lost the old one, whatever our side still believes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "replicator/core/types.hpp"
#include "replicator/engine/peer_connection.hpp"
#include "transport/link/connector.hpp"
#include "transport/ring/listener.hpp"

namespace twinblock::engine {

class PeerLinkOwner {
 public:
  virtual void on_link_up(core::LinkId link) = 0;
  // No message of the link comes after this.
  virtual void on_link_down(core::LinkId link) = 0;
  virtual void on_link_message(core::LinkId link, const wire::Header& header, std::span<const std::byte> body,
                               ring::BufferHandle payload) = 0;
  // Random name of the peer's replica as far as known, 0 before.
  [[nodiscard]] virtual std::uint64_t known_peer_identity() const = 0;

 protected:
  ~PeerLinkOwner() = default;
};

struct PeerLinkPlan {
  std::string mirror;
  NodeIndex node;
  NodeIndex peer;
  std::vector<ring::Address> peer_addresses;  // dialled in turn
  [[nodiscard]] bool dials() const { return node < peer; }
};

class PeerRouter;

class PeerLink final : private PeerConnectionOwner, private link::ConnectorHandler, private TurnMember {
 public:
  PeerLink(const ShardContext& shard, PeerRouter& router, PeerLinkOwner& owner, PeerLinkPlan plan);
  // REQUIRES: closed().
  ~PeerLink() override;
  PeerLink(const PeerLink&) = delete;
  PeerLink& operator=(const PeerLink&) = delete;

  void set_wanted(bool wanted);
  void send(core::LinkId link, const OutgoingMessage& message);
  // LinkDown follows at once; what was sent before still leaves.
  void close_link(core::LinkId link);
  // The end; closed() becomes true in some later turn.
  void shut_down();
  [[nodiscard]] bool closed() const noexcept;

  [[nodiscard]] bool wanted() const noexcept { return wanted_; }
  // The core has not said yet whether it wants a link: it still brings its metadata up to date.
  [[nodiscard]] bool undecided() const noexcept { return undecided_; }
  [[nodiscard]] bool up() const noexcept { return current_ != nullptr; }
  [[nodiscard]] std::string path() const { return current_ ? current_->path() : std::string{}; }
  [[nodiscard]] const std::string& last_error() const noexcept { return last_error_; }
  [[nodiscard]] const PeerLinkPlan& plan() const noexcept { return plan_; }

  // From the router: a connection that said hello for this mirror.
  void adopt(std::unique_ptr<PeerConnection> connection, const wire::Header& header,
             std::span<const std::byte> body, const wire::HelloBody& hello);

 private:
  void on_peer_message(PeerConnection& connection, const wire::Header& header,
                       std::span<const std::byte> body, ring::BufferHandle payload) override;
  void on_peer_closed(PeerConnection& connection, ErrorCode reason) override;
  void on_connected(link::Connector&, int fd) override;
  void on_attempt_failed(link::Connector&, ErrorCode reason, Duration delay) override;
  void on_connector_stopped(link::Connector&) override;
  void on_turn_end() override;

  void take(std::unique_ptr<PeerConnection> connection);
  void lose_current();
  void leave(std::unique_ptr<PeerConnection> connection);
  void dial(bool soon);

  ShardContext shard_;
  PeerRouter& router_;
  PeerLinkOwner& owner_;
  PeerLinkPlan plan_;
  link::Connector connector_;
  std::size_t next_address_ = 0;
  bool wanted_ = false;
  bool undecided_ = true;
  bool shutting_down_ = false;
  core::LinkId link_ = 0;  // of current_
  std::unique_ptr<PeerConnection> current_;
  std::vector<std::unique_ptr<PeerConnection>> leaving_;  // closing; nobody listens to them
  std::vector<PeerConnection*> ended_;                    // of leaving_: may be destroyed
  std::string last_error_;
};

// The replication ports of a shard: accepts, waits for the hello, and hands the connection to its mirror.
class PeerRouter final : private ring::ListenerHandler, private PeerConnectionOwner, private TurnMember {
 public:
  explicit PeerRouter(const ShardContext& shard) : shard_{shard} {}
  ~PeerRouter() override;
  PeerRouter(const PeerRouter&) = delete;
  PeerRouter& operator=(const PeerRouter&) = delete;

  // Listens there unless it does already; several mirrors may share an address.
  Result<void> listen(const ring::Address& address);
  // Closes the listeners and the strangers; closed() becomes true in some later turn.
  void shut_down();
  [[nodiscard]] bool closed() const noexcept;

  void add(PeerLink& link) { links_[link.plan().mirror] = &link; }
  void remove(PeerLink& link) { links_.erase(link.plan().mirror); }
  [[nodiscard]] core::LinkId next_link_id() { return ++last_link_id_; }

 private:
  struct Stranger {
    std::unique_ptr<PeerConnection> connection;
    ring::Listener* listener = nullptr;
    bool gone = false;
  };

  void on_accept(ring::Listener& listener, int fd) override;
  void on_listener_closed(ring::Listener&) override { --open_listeners_; }
  void on_peer_message(PeerConnection& connection, const wire::Header& header,
                       std::span<const std::byte> body, ring::BufferHandle payload) override;
  void on_peer_closed(PeerConnection& connection, ErrorCode reason) override;
  void on_turn_end() override;
  void on_check();

  ShardContext shard_;
  std::map<std::string, PeerLink*> links_;
  std::vector<std::unique_ptr<ring::Listener>> listeners_;
  std::vector<std::string> listening_;  // as asked for, one per listener
  std::size_t open_listeners_ = 0;
  std::vector<Stranger> strangers_;
  core::LinkId last_link_id_ = 0;
  ring::MethodTimer<PeerRouter, &PeerRouter::on_check> check_timer_{this};
};

}  // namespace twinblock::engine
