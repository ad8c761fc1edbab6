// A Transport over the bare socket: loopback, or where the admin has said `insecure = true`.
#pragma once

#include "transport/link/transport.hpp"

namespace twinblock::link {

class PlainTransport final : public Transport, private ring::StreamHandler {
 public:
  PlainTransport(ring::Loop& loop, TransportHandler& handler, const ring::StreamOptions& options)
      : handler_{handler}, socket_{loop, *this, options} {}

  void open(int fd) override { socket_.open(fd); }
  void close(ErrorCode reason) override { socket_.close(reason); }
  bool is_open() const noexcept override { return socket_.is_open(); }
  bool is_idle() const noexcept override { return socket_.is_idle(); }

  std::span<const std::byte> stash() const noexcept override { return socket_.stash(); }
  void consume(std::size_t count) override { socket_.consume(count); }
  void receive_into(std::span<std::byte> into) override { socket_.receive_into(into); }
  void pause_receive() noexcept override { socket_.pause_receive(); }
  void resume_receive() override { socket_.resume_receive(); }

  bool send(ring::SendClass send_class, const ring::SendItem& item) override {
    return socket_.send(send_class, item);
  }
  std::size_t free_items(ring::SendClass c) const noexcept override { return socket_.free_items(c); }
  std::uint64_t queued_bytes() const noexcept override { return socket_.queued_bytes(); }
  std::uint64_t sent_bytes() const noexcept override { return socket_.sent_bytes(); }
  std::uint64_t received_bytes() const noexcept override { return socket_.received_bytes(); }
  Instant last_sent() const noexcept override { return socket_.last_sent(); }
  Instant last_received() const noexcept override { return socket_.last_received(); }

 private:
  void on_data(ring::StreamSocket& socket) override;
  void on_received(ring::StreamSocket& socket) override;
  void on_writable(ring::StreamSocket& socket) override;
  void on_closed(ring::StreamSocket& socket, ErrorCode reason) override;

  TransportHandler& handler_;
  ring::StreamSocket socket_;
};

}  // namespace twinblock::link
