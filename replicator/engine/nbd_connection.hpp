// One NBD client: carries out what nbd::ServerSession asks for. Payload goes from the socket straight into
// arena buffers, replies leave in one gather. A request is cut into pieces for the export and answered when
// the last one is done.
//
// Back-pressure: without a buffer, a piece slot or a free request the socket is not read. The connection
// outlives its socket until the export has answered every piece.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "replicator/engine/export.hpp"
#include "replicator/engine/shard_context.hpp"
#include "transport/nbd/server_session.hpp"
#include "transport/ring/stream.hpp"

namespace twinblock::engine {

class NbdConnection;

class NbdConnectionOwner {
 public:
  // The export behind a negotiated name; null if it has gone.
  virtual BlockExport* export_of(const nbd::ExportInfo& info) = 0;
  // Nothing is in flight any more: may be destroyed, though not from inside this call.
  virtual void on_connection_finished(NbdConnection& connection) = 0;

 protected:
  ~NbdConnectionOwner() = default;
};

class NbdConnection final : private ring::StreamHandler, private PieceClient, private Waiter {
 public:
  NbdConnection(const ShardContext& shard, NbdConnectionOwner& owner, const nbd::ExportCatalog& catalog,
                const nbd::Limits& limits, int fd);
  ~NbdConnection() override;
  NbdConnection(const NbdConnection&) = delete;
  NbdConnection& operator=(const NbdConnection&) = delete;

  // Finishes what is outstanding, refuses the rest, closes.
  void stop();
  // Closes now; pieces that have not started are dropped.
  void abort();
  // Closes a client that does not get through the handshake, that does not take its answers, or that stops in
  // the middle of a write.
  void check_deadlines(Instant now, Duration handshake_max, Duration stall_max);
  [[nodiscard]] bool finished() const noexcept { return finished_; }
  // The client chose the export and has not said goodbye.
  [[nodiscard]] bool serving() const noexcept { return export_ != nullptr && !draining_ && !finished_; }

 private:
  static constexpr std::size_t kRequestCount = 128;
  static constexpr std::size_t kPiecesMax = 48;    // 32 MiB in pieces of 1 MiB, cut at extents
  static constexpr std::uint32_t kZeroWindow = 4;  // pieces of one zeroing request at once

  struct PieceRef {
    PieceId id = 0;
    bool running = false;
    ring::BufferHandle buffer;  // of reads, once answered
    std::uint32_t length = 0;
  };
  struct ClientRequest {
    nbd::Request request;
    bool used = false;
    bool whole = false;  // all pieces are submitted
    nbd::Status status{};
    std::uint32_t pending = 0;  // pieces not answered
    std::uint32_t piece_count = 0;
    std::uint32_t submitted = 0;  // of piece_count
    std::uint64_t done = 0;       // bytes submitted as pieces
    std::array<PieceRef, kPiecesMax> pieces;
  };
  enum class Start : std::uint8_t { kStarted, kBlocked };

  void on_data(ring::StreamSocket&) override;
  void on_received(ring::StreamSocket&) override;
  void on_end(ring::StreamSocket& socket, bool truncated) override;
  void on_closed(ring::StreamSocket&, ErrorCode reason) override;
  void on_piece_done(std::uint32_t token, core::Status status, ring::BufferHandle buffer) override;
  void on_resources() override;

  void pump();
  // Handles one event; false: stop for now.
  bool handle(const nbd::Event& event);
  bool feed_session();
  bool send_output();
  bool admit(const nbd::Request& request);
  Start start(std::uint32_t index);
  Start start_read(std::uint32_t index);
  void submit_zeroes(std::uint32_t index);
  bool receive_payload();
  bool submit_write_piece();
  void block(std::uint32_t index);
  void update_pause();
  [[nodiscard]] bool client_hung_up() const;

  bool submit_piece(std::uint32_t index, std::uint32_t at, const Piece& piece);
  void complete_if_done(std::uint32_t index);
  void answer(std::uint32_t index);
  void answer_read(std::uint32_t index);
  void answer_status(std::uint32_t index);
  void answer_waiting();
  void refuse(const nbd::Refused& refused);
  void send_reply(std::uint32_t index, std::span<const std::byte> bytes);
  void release_payload();
  void retire(std::uint32_t index);
  static void sent_callback(void* context, std::uint64_t token, bool taken);
  void item_sent(std::uint64_t token);
  void check_drained();
  void check_finished();
  void cancel_pieces();
  [[nodiscard]] std::uint32_t free_request();

  ShardContext shard_;
  NbdConnectionOwner& owner_;
  nbd::ServerSession session_;
  ring::StreamSocket socket_;
  BlockExport* export_ = nullptr;
  Instant opened_;
  bool pumping_ = false;
  bool output_in_flight_ = false;
  bool draining_ = false;  // the client said goodbye, or we stop
  bool gone_ = false;      // no answer can be sent any more
  bool finished_ = false;
  bool busy_ = false;  // the session wants no more requests for now
  std::size_t output_size_ = 0;

  std::unique_ptr<std::array<ClientRequest, kRequestCount>> requests_;
  std::vector<std::uint32_t> free_requests_;
  std::deque<std::uint32_t> waiting_answers_;  // no room in the send queue
  std::deque<std::uint32_t> starved_zeroes_;   // no slot for their next piece
  std::uint32_t pieces_pending_ = 0;
  std::uint32_t sending_ = 0;  // requests whose answer is queued

  // What is being started and could not go on yet, or whose payload arrives.
  static constexpr std::uint32_t kNone = UINT32_MAX;
  std::uint32_t blocked_ = kNone;
  std::uint32_t writing_ = kNone;
  ring::BufferHandle payload_;
  std::uint32_t payload_size_ = 0;
  std::uint32_t payload_filled_ = 0;
  bool payload_direct_ = false;  // the socket receives into payload_
};

}  // namespace twinblock::engine
