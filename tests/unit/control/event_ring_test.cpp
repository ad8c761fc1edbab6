#include "replicator/control/event_ring.hpp"

#include <thread>

#include <gtest/gtest.h>

namespace twinblock::control {
namespace {

Event event_of(const char* kind) {
  Event event;
  event.kind = kind;
  return event;
}

TEST(EventRing, NumbersWithoutGapsAndKeepsTheNewest) {
  EventRing ring{3};
  for (int i = 0; i < 5; ++i) ring.append(event_of("x"));
  const EventBatch all = ring.since(0);
  ASSERT_EQ(all.events.size(), 3u);
  EXPECT_EQ(all.events.front().sequence, 3u);
  EXPECT_EQ(all.lost, 2u);
  EXPECT_EQ(all.next, 5u);
  EXPECT_GT(all.events.front().wall_time_ms, 0);
  EXPECT_EQ(ring.since(4).events.size(), 1u);
  EXPECT_EQ(ring.since(4).lost, 0u);
  EXPECT_TRUE(ring.since(5).events.empty());
  EXPECT_EQ(ring.since(5).next, 5u);
}

TEST(EventRing, NothingIsGreaterThanANumberFromTheFuture) {
  EventRing ring{8};
  EXPECT_EQ(ring.since(100).next, 0u);
  ring.append(event_of("x"));
  EXPECT_TRUE(ring.since(100).events.empty());
  EXPECT_EQ(ring.since(100).lost, 0u);
  // Whoever kept the number over a restart of the daemon sees it go back, and goes on from there.
  EXPECT_EQ(ring.since(100).next, 1u);
  ring.append(event_of("y"));
  EXPECT_EQ(ring.since(1).events.size(), 1u);
}

TEST(EventRing, LimitIsContinuedByNext) {
  EventRing ring{8};
  for (int i = 0; i < 5; ++i) ring.append(event_of("x"));
  const EventBatch first = ring.since(0, 2);
  EXPECT_EQ(first.next, 2u);
  EXPECT_EQ(ring.since(first.next, 2).events.front().sequence, 3u);
}

TEST(EventRing, ManyWritersGetDifferentNumbers) {
  EventRing ring{4096};
  std::vector<std::thread> writers;
  for (int t = 0; t < 4; ++t) {
    writers.emplace_back([&] {
      for (int i = 0; i < 200; ++i) ring.append(event_of("x"));
    });
  }
  for (auto& w : writers) w.join();
  const EventBatch batch = ring.since(0, 4096);
  ASSERT_EQ(batch.events.size(), 800u);
  for (std::size_t i = 0; i < 800; ++i) EXPECT_EQ(batch.events[i].sequence, i + 1);
}

}  // namespace
}  // namespace twinblock::control
