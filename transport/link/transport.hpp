// What a replication session needs of the bytes' way, and no more: the seam under which TLS slips in. The
// contracts are those of ring::StreamSocket; a TLS transport keeps them with buffers of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.hpp"
#include "base/units.hpp"
#include "transport/ring/stream.hpp"

namespace twinblock::link {

class Transport;

class TransportHandler {
 public:
  virtual ~TransportHandler() = default;
  virtual void on_data(Transport& transport) = 0;
  virtual void on_received(Transport& transport) = 0;
  virtual void on_writable(Transport&) {}
  virtual void on_closed(Transport& transport, ErrorCode reason) = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;
  // Takes over a connected descriptor; may be called again after on_closed.
  virtual void open(int fd) = 0;
  virtual void close(ErrorCode reason) = 0;
  [[nodiscard]] virtual bool is_open() const noexcept = 0;
  [[nodiscard]] virtual bool is_idle() const noexcept = 0;

  [[nodiscard]] virtual std::span<const std::byte> stash() const noexcept = 0;
  virtual void consume(std::size_t count) = 0;
  virtual void receive_into(std::span<std::byte> into) = 0;
  virtual void pause_receive() noexcept = 0;
  virtual void resume_receive() = 0;

  [[nodiscard]] virtual bool send(ring::SendClass send_class, const ring::SendItem& item) = 0;
  [[nodiscard]] virtual std::size_t free_items(ring::SendClass send_class) const noexcept = 0;
  [[nodiscard]] virtual std::uint64_t queued_bytes() const noexcept = 0;
  [[nodiscard]] virtual std::uint64_t sent_bytes() const noexcept = 0;
  [[nodiscard]] virtual std::uint64_t received_bytes() const noexcept = 0;
  [[nodiscard]] virtual Instant last_sent() const noexcept = 0;
  [[nodiscard]] virtual Instant last_received() const noexcept = 0;
};

}  // namespace twinblock::link
