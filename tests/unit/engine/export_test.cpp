#include "replicator/engine/export.hpp"

#include <gtest/gtest.h>

#include "replicator/engine/shard_context.hpp"

namespace {

using twinblock::engine::PieceTable;
using twinblock::engine::PieceVerb;
using twinblock::engine::WaitList;

TEST(PieceTable, IsBoundedAndForgetsFinishedIds) {
  PieceTable table{2};
  const auto a = table.take({nullptr, 1, PieceVerb::kRead});
  const auto b = table.take({nullptr, 2, PieceVerb::kWrite});
  ASSERT_TRUE(a && b);
  EXPECT_FALSE(table.take({nullptr, 3, PieceVerb::kFlush}));
  EXPECT_EQ(table.finish(*a).token, 1u);
  EXPECT_FALSE(table.is_taken(*a));
  const auto c = table.take({nullptr, 4, PieceVerb::kZero});
  ASSERT_TRUE(c);
  EXPECT_NE(*c, *a) << "a late cancel of the first must not hit the second";
  EXPECT_EQ(table.taken(), 2u);
}

struct Greedy final : twinblock::engine::Waiter {
  explicit Greedy(WaitList& l) : list{l} {}
  void on_resources() override {
    ++asked;
    if (other != nullptr) list.remove(*other);
    if (!satisfied) list.add(*this);
  }
  WaitList& list;
  Greedy* other = nullptr;
  bool satisfied = false;
  int asked = 0;
};

TEST(WaitList, AsksEachOnceAndOnlyAfterSomethingWasFreed) {
  WaitList list;
  Greedy a{list};
  Greedy b{list};
  list.add(a);
  list.add(b);
  list.add(a);
  list.wake();
  EXPECT_EQ(a.asked, 0);
  list.note_freed();
  list.wake();
  EXPECT_EQ(a.asked, 1);
  EXPECT_EQ(b.asked, 1);
  b.satisfied = true;
  list.note_freed();
  list.wake();
  list.note_freed();
  list.wake();
  EXPECT_EQ(a.asked, 3);
  EXPECT_EQ(b.asked, 2);
  list.remove(a);
}

TEST(WaitList, AWaiterMayRemoveAnother) {
  WaitList list;
  Greedy a{list};
  Greedy b{list};
  a.other = &b;
  a.satisfied = true;
  list.add(a);
  list.add(b);
  list.note_freed();
  list.wake();
  EXPECT_EQ(a.asked, 1);
  EXPECT_EQ(b.asked, 0);
}

}  // namespace
