#include "transport/ring/arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <numeric>

#include "base/assert.hpp"
#include "transport/ring/loop.hpp"

namespace twinblock::ring {
namespace {

constexpr std::size_t kHugePage = 2u << 20;
constexpr std::size_t kRegisteredMax = 1u << 30;  // the kernel's limit for one fixed buffer
constexpr std::uint32_t kIndexBits = 18;
constexpr std::uint32_t kIndexMask = (1u << kIndexBits) - 1;
constexpr std::uint32_t kGenerationMask = (1u << (32 - kIndexBits)) - 1;

std::size_t index(BufferUser user) {
  return static_cast<std::size_t>(user);
}

}  // namespace

ArenaOptions ArenaOptions::of_size(ByteCount bytes) {
  const std::uint64_t total = std::max<std::uint64_t>(bytes.value(), 8u << 20);
  // Small requests are the many, large ones the bytes.
  constexpr std::array<std::uint64_t, kSizeClassCount> kShareOf16{3, 3, 4, 6};
  ArenaOptions options;
  for (std::size_t i = 0; i < kSizeClassCount; ++i) {
    auto count = std::max<std::uint64_t>(1, total * kShareOf16[i] / 16 / kSizeClasses[i].value());
    count = std::min<std::uint64_t>(count, kIndexMask / kSizeClassCount);
    options.classes[i].count = static_cast<std::uint32_t>(count);
    options.classes[i].reserved.fill(static_cast<std::uint32_t>(count / 8));
  }
  return options;
}

Result<std::unique_ptr<Arena>> Arena::create(const ArenaOptions& options) {
  std::uint64_t bytes = 0;
  std::uint64_t buffers = 0;
  for (std::size_t i = 0; i < kSizeClassCount; ++i) {
    const SizeClassOptions& c = options.classes[i];
    TB_ASSERT(std::accumulate(c.reserved.begin(), c.reserved.end(), std::uint64_t{0}) <= c.count);
    bytes += c.count * kSizeClasses[i].value();
    buffers += c.count;
  }
  TB_ASSERT(buffers > 0 && buffers < kIndexMask);
  std::unique_ptr<Arena> arena{new Arena};
  if (auto mapped = arena->map(bytes, options.huge_pages); !mapped) return mapped.error();
  arena->buffers_.resize(buffers);
  arena->lay_out(options);
  return arena;
}

Arena::~Arena() {
  TB_ASSERT(in_use() == 0);
  if (memory_ != nullptr) munmap(memory_, mapped_);
}

Result<void> Arena::map(std::size_t bytes, bool huge_pages) {
  mapped_ = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  constexpr int kProtection = PROT_READ | PROT_WRITE;
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS;
  void* memory = MAP_FAILED;
  if (huge_pages) {
    memory = mmap(nullptr, mapped_, kProtection, kFlags | MAP_HUGETLB, -1, 0);
    if (memory != MAP_FAILED) backing_ = Backing::kHugePages;
  }
  if (memory == MAP_FAILED) {
    memory = mmap(nullptr, mapped_, kProtection, kFlags, -1, 0);
    if (memory == MAP_FAILED) {
      const int error = errno;
      mapped_ = 0;
      return system_error(error);
    }
    if (huge_pages && madvise(memory, mapped_, MADV_HUGEPAGE) == 0) backing_ = Backing::kTransparentHugePages;
  }
  memory_ = static_cast<std::byte*>(memory);
  // A child (a hook script) must not share the pages that a disk writes from.
  madvise(memory_, mapped_, MADV_DONTFORK);
  return {};
}

void Arena::lay_out(const ArenaOptions& options) {
  // Largest class first: then every buffer is aligned to its own size as far as the mapping is.
  std::byte* at = memory_;
  std::uint32_t next = 0;
  for (std::size_t i = kSizeClassCount; i-- > 0;) {
    SizeClass& c = classes_[i];
    c.base = at;
    c.first_index = next;
    c.count = c.free = options.classes[i].count;
    c.reserved = options.classes[i].reserved;
    for (std::uint32_t k = c.count; k > 0; --k) {
      Buffer& buffer = buffers_[next + k - 1];
      buffer.size_class = static_cast<std::uint8_t>(i);
      buffer.next_free = c.first_free;
      c.first_free = next + k;
    }
    next += c.count;
    at += c.count * kSizeClasses[i].value();
  }
}

Result<void> Arena::register_with(Loop& loop) {
  std::vector<iovec> vectors;
  for (std::size_t at = 0; at < mapped_; at += kRegisteredMax) {
    vectors.push_back(iovec{memory_ + at, std::min(kRegisteredMax, mapped_ - at)});
  }
  auto registered = loop.register_buffers(vectors);
  if (!registered) {
    loop.add_note("buffers not registered (" + registered.error().message() +
                  "): raise LimitMEMLOCK; I/O works, with more CPU");
  }
  return registered;
}

std::uint32_t Arena::room(const SizeClass& c, BufferUser user) {
  // What the others have not used of their shares is not ours.
  std::uint32_t kept = 0;
  for (std::size_t u = 0; u < kBufferUserCount; ++u) {
    if (u != index(user)) kept += c.reserved[u] - std::min(c.reserved[u], c.used[u]);
  }
  const std::uint32_t shared = c.free - std::min(c.free, kept);
  const std::uint32_t mine = c.reserved[index(user)] - std::min(c.reserved[index(user)], c.used[index(user)]);
  return std::max(shared, std::min(c.free, mine));
}

bool Arena::may_take(std::size_t size_class, BufferUser user, BufferOwner owner) const {
  const std::uint32_t left = room(classes_[size_class], user);
  if (left == 0 || owner == BufferOwner{} || active_owners_ < 2) return left > 0;
  const std::uint32_t used = owners_[owner.value() - 1u].used[size_class];
  if (used == 0) return true;
  const auto without = std::count_if(owners_.begin(), owners_.end(),
                                     [&](const Owner& o) { return o.active && o.used[size_class] == 0; });
  const auto kept = static_cast<std::uint32_t>(without);
  return left > kept && used < kOwnerShare * (left - kept);
}

BufferOwner Arena::add_owner() {
  const auto idle = [](const Owner& o) {
    return !o.active && std::all_of(o.used.begin(), o.used.end(), [](std::uint32_t n) { return n == 0; });
  };
  auto found = std::find_if(owners_.begin(), owners_.end(), idle);
  if (found == owners_.end()) found = owners_.insert(owners_.end(), Owner{});
  found->active = true;
  ++active_owners_;
  TB_ASSERT(owners_.size() < UINT16_MAX);
  return BufferOwner{static_cast<std::uint16_t>(found - owners_.begin() + 1)};
}

void Arena::remove_owner(BufferOwner owner) {
  Owner& o = owners_[owner.value() - 1u];
  TB_ASSERT(o.active);
  o.active = false;
  --active_owners_;
  if (on_free_ != nullptr) on_free_(on_free_context_);  // a lone one may take more now
}

BufferHandle Arena::allocate(ByteCount size, BufferUser user, BufferOwner owner) {
  TB_ASSERT(size > ByteCount{} && size <= kBufferSizeMax);
  TB_ASSERT(owner == BufferOwner{} || user == BufferUser::kApplication);
  std::size_t fit = 0;
  while (kSizeClasses[fit] < size) ++fit;
  // One class larger at most: many small requests must not use up the few large buffers.
  for (std::size_t i = fit; i < std::min(fit + 2, kSizeClassCount); ++i) {
    if (may_take(i, user, owner)) return take(i, user, owner);
  }
  return kNoBuffer;
}

BufferHandle Arena::take(std::size_t size_class, BufferUser user, BufferOwner owner) {
  SizeClass& c = classes_[size_class];
  const std::uint32_t at = c.first_free - 1;
  Buffer& buffer = buffers_[at];
  TB_ASSERT(buffer.references == 0);
  c.first_free = buffer.next_free;
  --c.free;
  ++c.used[index(user)];
  if (owner != BufferOwner{}) ++owners_[owner.value() - 1u].used[size_class];
  buffer.references = 1;
  buffer.user = user;
  buffer.owner = owner;
  return BufferHandle{(buffer.generation & kGenerationMask) << kIndexBits | (at + 1)};
}

std::uint32_t Arena::index_of(BufferHandle handle) const {
  const std::uint32_t at = (handle.value() & kIndexMask) - 1;
  TB_ASSERT(handle != kNoBuffer && at < buffers_.size());
  TB_ASSERT(buffers_[at].references > 0);
  TB_ASSERT((buffers_[at].generation & kGenerationMask) == handle.value() >> kIndexBits);
  return at;
}

void Arena::add_ref(BufferHandle handle) {
  ++buffers_[index_of(handle)].references;
}

void Arena::release(BufferHandle handle) {
  const std::uint32_t at = index_of(handle);
  Buffer& buffer = buffers_[at];
  if (--buffer.references > 0) return;
  SizeClass& c = classes_[buffer.size_class];
  ++buffer.generation;
  buffer.next_free = c.first_free;
  c.first_free = at + 1;
  ++c.free;
  --c.used[index(buffer.user)];
  if (buffer.owner != BufferOwner{}) --owners_[buffer.owner.value() - 1u].used[buffer.size_class];
  if (on_free_ != nullptr) on_free_(on_free_context_);
}

std::span<std::byte> Arena::bytes(BufferHandle handle) {
  const std::uint32_t at = index_of(handle);
  const std::size_t i = buffers_[at].size_class;
  const std::size_t size = kSizeClasses[i].value();
  return {classes_[i].base + (at - classes_[i].first_index) * size, size};
}

std::uint32_t Arena::references(BufferHandle handle) const {
  return buffers_[index_of(handle)].references;
}

std::uint32_t Arena::in_use(BufferUser user) const noexcept {
  std::uint32_t sum = 0;
  for (const SizeClass& c : classes_) sum += c.used[index(user)];
  return sum;
}

std::uint32_t Arena::in_use() const noexcept {
  std::uint32_t sum = 0;
  for (const SizeClass& c : classes_) sum += c.count - c.free;
  return sum;
}

std::uint32_t Arena::free_count(std::size_t size_class) const noexcept {
  return classes_[size_class].free;
}

void Arena::set_on_free(void (*callback)(void*), void* context) noexcept {
  on_free_ = callback;
  on_free_context_ = context;
}

}  // namespace twinblock::ring
