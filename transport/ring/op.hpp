// One asynchronous operation, embedded in the object that owns it: no allocation, no lookup, and a
// completion that can never meet a freed object, because an Op asserts that it is not in flight when it dies.
// The request is kept in the Op itself, so that a short transfer is continued and a full queue retried
// without the owner, and so that both engines carry out the same thing.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "base/assert.hpp"

namespace twinblock::ring {

// What a descriptor is for; only the fault layer asks.
enum class FileRole : std::uint8_t { kOther, kData, kMetadata, kNbd, kPeer };
inline constexpr std::size_t kFileRoleCount = 5;

// A file descriptor and, where registered with the loop, its slot in the ring's file table.
struct File {
  int fd = -1;
  int slot = -1;
  FileRole role = FileRole::kOther;
  [[nodiscard]] bool valid() const noexcept { return fd >= 0; }
};

enum class OpKind : std::uint8_t {
  kNone,
  kRead,
  kWrite,
  kFdatasync,
  kFallocate,
  kReceive,
  kSend,
  kAccept,
  kConnect,
  kPoll,
  kReadEvent,
  kClose,
  kCall,
  kDefer,
};

class Op {
 public:
  // `result` is a count or 0, or a negative errno. The Op is idle again when it is called, so that the
  // handler may submit it again or destroy its owner.
  using Done = void (*)(Op* op, int result, std::uint32_t flags);

  Op() = default;
  explicit Op(Done handler) noexcept : done{handler} {}
  Op(const Op&) = delete;
  Op& operator=(const Op&) = delete;
  ~Op() { TB_ASSERT(state_ == State::kIdle); }

  [[nodiscard]] bool in_flight() const noexcept { return state_ != State::kIdle; }

  Done done = nullptr;

 private:
  friend class Loop;
  friend class OpQueue;
  friend class UringEngine;
  friend class EpollEngine;
  friend class BlockingPool;
  friend class FaultLayer;
  enum class State : std::uint8_t { kIdle, kSubmitted, kReady };

  State state_ = State::kIdle;
  OpKind kind_ = OpKind::kNone;
  bool cancelled_ = false;  // cancel() was asked: do not continue
  bool faulted_ = false;    // the fault layer wants to see the result
  std::uint16_t retries_ = 0;
  int result_ = 0;
  std::uint32_t result_flags_ = 0;
  std::uint32_t flags_ = 0;  // RWF_*, fallocate mode, poll mask
  Op* next_ = nullptr;
  File file_{};
  std::byte* data_ = nullptr;      // kRead, kWrite
  std::uint64_t length_ = 0;       // whole request
  std::uint64_t transferred_ = 0;  // so far
  std::uint64_t offset_ = 0;
  std::uint32_t chunk_ = 0;  // of this submission: at most what is left
  msghdr message_{};         // kReceive, kSend
  iovec vector_{};           // kReceive into one span; kReadEvent
  std::uint64_t event_ = 0;  // kReadEvent
  const sockaddr* address_ = nullptr;
  socklen_t address_length_ = 0;
  int (*call_)(void*) = nullptr;
  void* call_argument_ = nullptr;
};

// Intrusive queue of operations, first in first out.
class OpQueue {
 public:
  [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }
  void push(Op* op) noexcept {
    op->next_ = nullptr;
    (tail_ != nullptr ? tail_->next_ : head_) = op;
    tail_ = op;
  }
  // Returns nullptr when empty.
  Op* pop() noexcept {
    Op* op = head_;
    if (op == nullptr) return nullptr;
    head_ = op->next_;
    if (head_ == nullptr) tail_ = nullptr;
    op->next_ = nullptr;
    return op;
  }
  [[nodiscard]] Op* front() const noexcept { return head_; }
  // Returns false when `op` is not in the queue.
  bool remove(const Op* op) noexcept {
    Op* previous = nullptr;
    for (Op* at = head_; at != nullptr; previous = at, at = at->next_) {
      if (at != op) continue;
      (previous != nullptr ? previous->next_ : head_) = at->next_;
      if (tail_ == at) tail_ = previous;
      at->next_ = nullptr;
      return true;
    }
    return false;
  }

 private:
  Op* head_ = nullptr;
  Op* tail_ = nullptr;
};

namespace detail {
template <class M>
struct MemberOwner;
template <class O>
struct MemberOwner<void (O::*)(int)> {
  using type = O;
};
}  // namespace detail

// An Op whose completion is a member function `void Owner::on_x(int result)` of the object that embeds it.
template <auto Method>
class MethodOp : public Op {
 public:
  using Owner = typename detail::MemberOwner<decltype(Method)>::type;
  explicit MethodOp(Owner* owner) noexcept : Op{&call}, owner_{owner} {}

 private:
  static void call(Op* op, int result, std::uint32_t) {
    (static_cast<MethodOp*>(op)->owner_->*Method)(result);
  }
  Owner* owner_;
};

}  // namespace twinblock::ring
