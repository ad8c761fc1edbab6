// The buffers of a shard: one mapping, four size classes, handles instead of pointers. A payload is received
// straight into a buffer, and the same buffer goes to the disk and to the peer; each holder counts as one
// reference. Nothing grows: no buffer means that the caller stops reading its socket.
//
// So that the pool cannot deadlock (all buffers held by writes that wait for a metadata write that waits for
// a buffer), each user class has a share that the others cannot take. Among owners of one class (the mirrors)
// nobody takes the rest: each may hold a few times what it leaves free, and the last ones are for those who
// have none, so that who holds his for ever (a mirror that is frozen by policy) does not stop the others.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/error.hpp"
#include "base/units.hpp"

namespace twinblock::ring {

class Loop;

// 0: none. The upper bits are a generation, so that a handle kept past its last release is caught.
using BufferHandle = Quantity<struct BufferHandleTag, std::uint32_t>;
inline constexpr BufferHandle kNoBuffer{};

enum class BufferUser : std::uint8_t { kApplication, kPeer, kResync, kMetadata };
inline constexpr std::size_t kBufferUserCount = 4;
// Whose application buffers these are; 0: nobody's in particular, and bounded by the class alone.
using BufferOwner = Quantity<struct BufferOwnerTag, std::uint16_t>;
// An owner gets one more while it holds less than so many times what is left.
inline constexpr std::uint32_t kOwnerShare = 4;
inline constexpr std::size_t kSizeClassCount = 4;
inline constexpr std::array<ByteCount, kSizeClassCount> kSizeClasses{
    ByteCount{4u << 10}, ByteCount{64u << 10}, ByteCount{256u << 10}, ByteCount{1u << 20}};
inline constexpr ByteCount kBufferSizeMax = kSizeClasses.back();

struct SizeClassOptions {
  std::uint32_t count = 0;
  // Out of `count`, what only this user may take. REQUIRES: the sum is at most `count`.
  std::array<std::uint32_t, kBufferUserCount> reserved{};
};
struct ArenaOptions {
  std::array<SizeClassOptions, kSizeClassCount> classes{};
  bool huge_pages = true;
  // About `bytes` in all, spread over the classes, an eighth of each reserved per user. At least 8 MiB.
  [[nodiscard]] static ArenaOptions of_size(ByteCount bytes);
};

class Arena {
 public:
  enum class Backing : std::uint8_t { kHugePages, kTransparentHugePages, kSmallPages };

  [[nodiscard]] static Result<std::unique_ptr<Arena>> create(const ArenaOptions& options);
  // REQUIRES: nothing is allocated: a buffer is never freed under a disk or a socket.
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Makes the whole arena fixed buffers of the loop. On an error (RLIMIT_MEMLOCK) everything works without;
  // the loop's notes say so.
  Result<void> register_with(Loop& loop);

  // A buffer of at least `size` with one reference, of the smallest class that fits or the next larger one;
  // kNoBuffer when the user's share is used up. 4 KiB aligned, content undefined.
  // REQUIRES: 0 < size <= kBufferSizeMax; an owner only for kApplication.
  [[nodiscard]] BufferHandle allocate(ByteCount size, BufferUser user, BufferOwner owner = {});
  // A lone owner may take all. Buffers of an owner that was removed may come back later.
  [[nodiscard]] BufferOwner add_owner();
  void remove_owner(BufferOwner owner);
  void add_ref(BufferHandle handle);
  // Gives one reference back; with the last one the buffer is free.
  void release(BufferHandle handle);
  // The whole buffer (its class's size).
  [[nodiscard]] std::span<std::byte> bytes(BufferHandle handle);
  [[nodiscard]] std::uint32_t references(BufferHandle handle) const;

  [[nodiscard]] std::uint32_t in_use(BufferUser user) const noexcept;
  [[nodiscard]] std::uint32_t in_use() const noexcept;
  [[nodiscard]] std::uint32_t free_count(std::size_t size_class) const noexcept;
  [[nodiscard]] ByteCount size() const noexcept { return ByteCount{mapped_}; }
  [[nodiscard]] Backing backing() const noexcept { return backing_; }

  // Called (if set) from release() whenever a buffer became free: who ran out tries again at its turn's end.
  void set_on_free(void (*callback)(void*), void* context) noexcept;

 private:
  struct Buffer {
    std::uint32_t references = 0;
    std::uint32_t next_free = 0;  // index + 1
    std::uint16_t generation = 0;
    std::uint8_t size_class = 0;
    BufferUser user{};
    BufferOwner owner;
  };
  struct Owner {
    bool active = false;
    std::array<std::uint32_t, kSizeClassCount> used{};
  };
  struct SizeClass {
    std::byte* base = nullptr;
    std::uint32_t first_index = 0;
    std::uint32_t count = 0;
    std::uint32_t first_free = 0;  // index + 1
    std::uint32_t free = 0;
    std::array<std::uint32_t, kBufferUserCount> reserved{};
    std::array<std::uint32_t, kBufferUserCount> used{};
  };

  Arena() = default;
  [[nodiscard]] Result<void> map(std::size_t bytes, bool huge_pages);
  void lay_out(const ArenaOptions& options);
  // How many more of the class the user may take.
  [[nodiscard]] static std::uint32_t room(const SizeClass& c, BufferUser user);
  [[nodiscard]] bool may_take(std::size_t size_class, BufferUser user, BufferOwner owner) const;
  [[nodiscard]] BufferHandle take(std::size_t size_class, BufferUser user, BufferOwner owner);
  [[nodiscard]] std::uint32_t index_of(BufferHandle handle) const;

  std::byte* memory_ = nullptr;
  std::size_t mapped_ = 0;
  Backing backing_ = Backing::kSmallPages;
  std::array<SizeClass, kSizeClassCount> classes_{};
  std::vector<Buffer> buffers_;
  std::vector<Owner> owners_;  // owner - 1
  std::uint32_t active_owners_ = 0;
  void (*on_free_)(void*) = nullptr;
  void* on_free_context_ = nullptr;
};

// One reference, given back at the end of its scope.
class BufferRef {
 public:
  BufferRef() = default;
  // Takes over a reference that the caller holds.
  BufferRef(Arena& arena, BufferHandle handle) noexcept : arena_{&arena}, handle_{handle} {}
  BufferRef(const BufferRef&) = delete;
  BufferRef& operator=(const BufferRef&) = delete;
  BufferRef(BufferRef&& other) noexcept : arena_{other.arena_}, handle_{other.detach()} {}
  BufferRef& operator=(BufferRef&& other) noexcept {
    if (this == &other) return *this;
    reset();
    arena_ = other.arena_;
    handle_ = other.detach();
    return *this;
  }
  ~BufferRef() { reset(); }
  void reset() {
    if (handle_ != kNoBuffer) arena_->release(detach());
  }
  // The caller becomes the holder of the reference.
  [[nodiscard]] BufferHandle detach() noexcept {
    const BufferHandle handle = handle_;
    handle_ = kNoBuffer;
    return handle;
  }
  [[nodiscard]] BufferHandle get() const noexcept { return handle_; }
  explicit operator bool() const noexcept { return handle_ != kNoBuffer; }

 private:
  Arena* arena_ = nullptr;
  BufferHandle handle_;
};

}  // namespace twinblock::ring
