#include "transport/ring/arena.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "base/assert.hpp"
#include "base/random.hpp"
#include "transport/ring/loop.hpp"

namespace twinblock::ring {
namespace {

ArenaOptions small_options() {
  ArenaOptions options;
  options.huge_pages = false;
  options.classes[0] = {.count = 16, .reserved = {2, 2, 2, 4}};
  options.classes[1] = {.count = 8, .reserved = {1, 1, 1, 1}};
  options.classes[2] = {.count = 4, .reserved = {0, 1, 0, 0}};
  options.classes[3] = {.count = 3, .reserved = {1, 1, 1, 0}};
  return options;
}

std::size_t class_of(std::size_t bytes) {
  for (std::size_t i = 0;; ++i) {
    if (kSizeClasses[i].value() == bytes) return i;
  }
}

TEST(Arena, gives_aligned_buffers_of_at_least_the_size) {
  auto arena = Arena::create(ArenaOptions::of_size(ByteCount{16u << 20}));
  ASSERT_TRUE(arena);
  for (const std::uint64_t size : {1u, 4096u, 4097u, 65536u, 200'000u, 300'000u, 1u << 20}) {
    const BufferHandle handle = (*arena)->allocate(ByteCount{size}, BufferUser::kApplication);
    ASSERT_NE(handle, kNoBuffer);
    const auto bytes = (*arena)->bytes(handle);
    EXPECT_GE(bytes.size(), size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bytes.data()) % 4096, 0u);
    std::memset(bytes.data(), 0xaa, bytes.size());
    (*arena)->release(handle);
  }
  EXPECT_EQ((*arena)->in_use(), 0u);
}

TEST(Arena, the_share_of_a_user_cannot_be_taken_by_the_others) {
  auto arena = Arena::create(small_options());
  ASSERT_TRUE(arena);
  std::vector<BufferHandle> taken;
  for (const BufferUser user : {BufferUser::kApplication, BufferUser::kPeer, BufferUser::kResync}) {
    for (;;) {
      const BufferHandle handle = (*arena)->allocate(ByteCount{4096}, user);
      if (handle == kNoBuffer) break;
      taken.push_back(handle);
    }
  }
  // 4 KiB: 16, 4 of them only for metadata; one class up: 8, 1 of them.
  EXPECT_EQ(taken.size(), 12u + 7u);
  for (int i = 0; i < 5; ++i) {
    const BufferHandle handle = (*arena)->allocate(ByteCount{4096}, BufferUser::kMetadata);
    ASSERT_NE(handle, kNoBuffer) << i;
    taken.push_back(handle);
  }
  EXPECT_EQ((*arena)->allocate(ByteCount{4096}, BufferUser::kMetadata), kNoBuffer);
  for (const BufferHandle handle : taken) (*arena)->release(handle);
}

// A random history against the obvious model: a map of what is held, with its content.
TEST(Arena, agrees_with_a_model_over_random_histories) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    auto made = Arena::create(small_options());
    ASSERT_TRUE(made);
    Arena& arena = **made;
    Random random{seed};
    struct Held {
      std::uint32_t references;
      std::byte mark;
      BufferUser user;
      std::size_t size_class;
    };
    std::map<std::uint32_t, Held> model;
    for (int step = 0; step < 3000; ++step) {
      if (model.empty() || random.chance(500)) {
        const auto user = static_cast<BufferUser>(random.below(kBufferUserCount));
        const ByteCount size{1 + random.below(kSizeClasses[random.below(kSizeClassCount)].value())};
        const BufferHandle handle = arena.allocate(size, user);
        if (handle == kNoBuffer) continue;
        ASSERT_FALSE(model.contains(handle.value()));
        const auto bytes = arena.bytes(handle);
        ASSERT_GE(bytes.size(), size.value());
        const auto mark = static_cast<std::byte>(random.next());
        std::fill(bytes.begin(), bytes.end(), mark);
        model[handle.value()] = {1, mark, user, class_of(bytes.size())};
      } else {
        auto at = std::next(model.begin(), static_cast<std::ptrdiff_t>(random.below(model.size())));
        const BufferHandle handle{at->first};
        const auto bytes = arena.bytes(handle);
        ASSERT_EQ(bytes.front(), at->second.mark);
        ASSERT_EQ(bytes.back(), at->second.mark);
        if (random.chance(300)) {
          arena.add_ref(handle);
          ++at->second.references;
        } else {
          arena.release(handle);
          if (--at->second.references == 0) model.erase(at);
        }
      }
      ASSERT_EQ(arena.in_use(), model.size());
    }
    const ArenaOptions options = small_options();
    for (std::size_t c = 0; c < kSizeClassCount; ++c) {
      const auto held = std::count_if(model.begin(), model.end(),
                                      [c](const auto& entry) { return entry.second.size_class == c; });
      EXPECT_EQ(arena.free_count(c), options.classes[c].count - static_cast<std::uint32_t>(held));
    }
    for (auto& [handle, held] : model) {
      for (; held.references > 0; --held.references) arena.release(BufferHandle{handle});
    }
  }
}

// A mirror that is frozen keeps what its clients wrote for as long as that takes.
TEST(Arena, owners_that_give_nothing_back_leave_some_to_the_others) {
  ArenaOptions options;
  options.huge_pages = false;
  options.classes[3] = {.count = 60, .reserved = {0, 10, 0, 0}};
  auto arena = Arena::create(options);
  ASSERT_TRUE(arena);
  std::vector<BufferHandle> held;
  const auto take = [&](BufferOwner owner) {
    const BufferHandle handle = (*arena)->allocate(kBufferSizeMax, BufferUser::kApplication, owner);
    if (handle != kNoBuffer) held.push_back(handle);
    return handle != kNoBuffer;
  };
  const auto take_all = [&](BufferOwner owner) {
    std::size_t count = 0;
    while (take(owner)) ++count;
    return count;
  };
  const auto give_back = [&] {
    for (const BufferHandle handle : held) (*arena)->release(handle);
    held.clear();
  };
  std::vector<BufferOwner> owners{(*arena)->add_owner()};
  EXPECT_EQ(take_all(owners[0]), 50u) << "a lone one";
  give_back();
  for (int i = 0; i < 4; ++i) owners.push_back((*arena)->add_owner());
  EXPECT_EQ(take_all(owners[0]), 37u) << "four fifths of all but one for each of the others";
  give_back();
  for (const BufferOwner owner : owners) EXPECT_GT(take_all(owner), 0u) << "all are greedy";
  give_back();
  EXPECT_EQ((*arena)->in_use(), 0u);

  ASSERT_TRUE(take(owners[1]));
  (*arena)->remove_owner(owners[1]);
  (*arena)->remove_owner(owners[2]);
  const BufferOwner successor = (*arena)->add_owner();
  EXPECT_EQ(successor, owners[2]) << "the other one still has a buffer out";
  give_back();
  EXPECT_EQ((*arena)->add_owner(), owners[1]);
}

TEST(Arena, tells_who_waits_that_a_buffer_became_free) {
  auto arena = Arena::create(small_options());
  int freed = 0;
  (*arena)->set_on_free([](void* c) { ++*static_cast<int*>(c); }, &freed);
  const BufferHandle handle = (*arena)->allocate(ByteCount{1}, BufferUser::kPeer);
  (*arena)->add_ref(handle);
  (*arena)->release(handle);
  EXPECT_EQ(freed, 0);
  { const BufferRef last{**arena, handle}; }
  EXPECT_EQ(freed, 1);
}

TEST(ArenaDeaths, a_handle_used_after_its_release_aborts) {
  auto arena = Arena::create(small_options());
  const BufferHandle handle = (*arena)->allocate(ByteCount{1}, BufferUser::kPeer);
  (*arena)->release(handle);
  const BufferHandle successor = (*arena)->allocate(ByteCount{1}, BufferUser::kPeer);
  ASSERT_NE(successor, handle);
  EXPECT_DEATH((*arena)->release(handle), "assertion failed");
  (*arena)->release(successor);
}

}  // namespace
}  // namespace twinblock::ring
