// A connected stream socket on the Loop. Headers are received into a stash of 64 KiB, many per system call;
// payloads go straight into the caller's buffer. What is sent is queued in items (an owned small header and
// a borrowed span) and leaves in one gathering sendmsg at a time, by class, whole messages only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "base/units.hpp"
#include "transport/ring/loop.hpp"

namespace twinblock::ring {

// In order of precedence: a class goes first whenever a message has ended.
enum class SendClass : std::uint8_t { kUrgent, kNormal, kBulk };
inline constexpr std::size_t kSendClassCount = 3;
inline constexpr std::size_t kSendHeaderMax = 256;

struct SendItem {
  std::span<const std::byte> header{};   // copied; at most kSendHeaderMax
  std::span<const std::byte> payload{};  // borrowed until `sent`
  // May be null. Called once: the kernel has taken the payload (true) or it never will (false: closed).
  void (*sent)(void* context, std::uint64_t token, bool taken) = nullptr;
  void* context = nullptr;
  std::uint64_t token = 0;
  bool more = false;  // the next item of this class continues the message
};

struct StreamOptions {
  std::array<std::uint32_t, kSendClassCount> queue_items{64, 256, 32};  // per class; powers of two
  std::uint32_t user_timeout_ms = 0;                                    // TCP_USER_TIMEOUT; 0: the kernel's
  std::uint32_t keepalive_s = 0;        // TCP: asks a silent peer whether it lives after so long; 0: never
  std::uint32_t unsent_bytes_max = 0;   // TCP_NOTSENT_LOWAT; 0: the kernel's
  std::uint32_t send_buffer_bytes = 0;  // SO_SNDBUF; 0: the kernel's
  FileRole role = FileRole::kOther;
};

class StreamSocket;

class StreamHandler {
 public:
  virtual ~StreamHandler() = default;
  // Bytes arrived: look at stash(), consume() what is whole, receive_into() a payload. What is left is shown
  // again together with more.
  virtual void on_data(StreamSocket& socket) = 0;
  // The span of receive_into() is full.
  virtual void on_received(StreamSocket& socket) = 0;
  // A queue that refused an item has room again.
  virtual void on_writable(StreamSocket&) {}
  // The peer will send nothing more, at the end of a message or inside one; it may still read. The default
  // closes.
  virtual void on_end(StreamSocket& socket, bool truncated);
  // Once per open(), never from inside a call of the owner: nothing is in flight, all items were given back,
  // the descriptor is closed. The socket may be opened again or destroyed.
  virtual void on_closed(StreamSocket& socket, ErrorCode reason) = 0;
};

class StreamSocket {
 public:
  static constexpr std::size_t kStashBytes = 64u << 10;

  StreamSocket(Loop& loop, StreamHandler& handler, const StreamOptions& options);
  // REQUIRES: closed.
  ~StreamSocket();
  StreamSocket(const StreamSocket&) = delete;
  StreamSocket& operator=(const StreamSocket&) = delete;

  // Takes over a connected descriptor and begins to receive. `early`: bytes that a handshake elsewhere has
  // read already, at most kStashBytes; they are shown first. REQUIRES: is_idle().
  void open(int fd, std::span<const std::byte> early = {});
  // Ends the connection now; on_closed follows in a later turn with `reason`. The first call decides.
  void close(ErrorCode reason);
  // Closes (kClosed) once everything queued has been taken by the kernel.
  void close_when_sent();
  // Half-close: no more sending once the queue is empty; receiving goes on.
  void shutdown_when_sent();
  [[nodiscard]] bool is_open() const noexcept { return state_ == State::kOpen; }
  [[nodiscard]] bool is_idle() const noexcept { return state_ == State::kIdle; }
  [[nodiscard]] int fd() const noexcept { return file_.fd; }

  // --- receiving ---
  [[nodiscard]] std::span<const std::byte> stash() const noexcept {
    return std::span{stash_.get(), kStashBytes}.subspan(stash_begin_, stash_end_ - stash_begin_);
  }
  void consume(std::size_t count);
  // The next `into.size()` bytes of the stream go there (those in the stash first); then on_received, which
  // may come from inside this call when it is made outside of a handler. The span stays the socket's until
  // on_received or on_closed. REQUIRES: none pending, not empty.
  void receive_into(std::span<std::byte> into);
  [[nodiscard]] bool receiving_into() const noexcept { return !direct_.empty(); }
  // Back-pressure: no handler is called and nothing is read (beyond a receive under way) until resume.
  void pause_receive() noexcept { paused_ = true; }
  void resume_receive();
  [[nodiscard]] bool receive_paused() const noexcept { return paused_; }

  // --- sending ---
  // False: the queue of the class is full (on_writable will follow) or the socket is closing; `sent` is not
  // called then. Nothing is written before the end of the turn, so that many items share one system call.
  [[nodiscard]] bool send(SendClass send_class, const SendItem& item);
  [[nodiscard]] std::size_t free_items(SendClass send_class) const noexcept;
  [[nodiscard]] std::uint64_t queued_bytes() const noexcept { return queued_bytes_; }
  [[nodiscard]] std::uint64_t sent_bytes() const noexcept { return sent_bytes_; }
  [[nodiscard]] std::uint64_t received_bytes() const noexcept { return received_bytes_; }
  // For limits on progress: the last time that the kernel took or gave a byte.
  [[nodiscard]] Instant last_sent() const noexcept { return last_sent_; }
  [[nodiscard]] Instant last_received() const noexcept { return last_received_; }

 private:
  // kIdle -> kOpen -> kClosing -> kIdle; nothing else.
  enum class State : std::uint8_t { kIdle, kOpen, kClosing };
  static constexpr std::size_t kVectorsMax = 64;

  struct Queued {
    std::array<std::byte, kSendHeaderMax> header;
    std::uint32_t header_size;
    bool more;
    std::span<const std::byte> payload;
    void (*sent)(void*, std::uint64_t, bool);
    void* context;
    std::uint64_t token;
  };
  struct Queue {
    std::unique_ptr<Queued[]> items;
    std::uint32_t capacity = 0;
    std::uint64_t head = 0;      // oldest item; counts up, index is modulo capacity
    std::uint64_t gathered = 0;  // items before this are in the sendmsg under way
    std::uint64_t tail = 0;
    bool refused = false;
    Queued& at(std::uint64_t position) { return items[position & (capacity - 1)]; }
  };

  void set_options(int fd) const;
  void pump();
  void start_receive();
  void fill_direct_from_stash();
  void on_receive(int result);
  void show_end();
  void schedule_turn_end();
  void on_turn_end(int result);
  void start_send();
  [[nodiscard]] Queue* next_queue();
  void gather(Queue& queue);
  void on_sent(int result);
  void retire_sent();
  void all_sent();
  void finish_close();
  void on_finish(int result);

  Loop& loop_;
  StreamHandler& handler_;
  StreamOptions options_;
  State state_ = State::kIdle;
  File file_;
  ErrorCode reason_;

  std::unique_ptr<std::byte[]> stash_;
  std::size_t stash_begin_ = 0;
  std::size_t stash_end_ = 0;
  std::span<std::byte> direct_;  // whole
  std::size_t direct_filled_ = 0;
  std::array<iovec, 2> receive_vectors_{};
  std::size_t receiving_direct_ = 0;  // bytes of direct_ in the receive under way
  bool fresh_ = false;                // the stash holds bytes that on_data has not seen
  bool ended_ = false;                // the peer has sent its last byte
  bool end_shown_ = false;
  bool paused_ = false;
  bool pumping_ = false;

  std::array<Queue, kSendClassCount> queues_;
  Queue* open_message_ = nullptr;  // its last gathered item said `more`
  std::array<iovec, kVectorsMax> vectors_{};
  std::size_t vector_count_ = 0;
  std::uint64_t gathered_bytes_ = 0;
  std::uint64_t queued_bytes_ = 0;
  std::uint64_t sent_bytes_ = 0;
  std::uint64_t received_bytes_ = 0;
  Instant last_sent_;
  Instant last_received_;
  bool close_when_sent_ = false;
  bool shutdown_when_sent_ = false;

  MethodOp<&StreamSocket::on_receive> receive_op_{this};
  MethodOp<&StreamSocket::on_sent> send_op_{this};
  MethodOp<&StreamSocket::on_turn_end> turn_end_op_{this};
  MethodOp<&StreamSocket::on_finish> finish_op_{this};
};

}  // namespace twinblock::ring
