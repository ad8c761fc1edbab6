#include "transport/ring/mailbox.hpp"

#include <thread>

#include "tests/unit/ring/fixture.hpp"

namespace twinblock::ring::test {
namespace {

using Mailboxes = LoopTest;
TB_BOTH_ENGINES(Mailboxes);

struct Message {
  int sender = 0;
  int number = 0;
};

TEST_P(Mailboxes, messages_of_many_threads_arrive_once_and_in_each_senders_order) {
  constexpr int kSenders = 4;
  constexpr int kMessages = 5000;
  Mailbox<Message> box{64};
  std::array<int, kSenders> next{};
  struct Context {
    Mailbox<Message>& box;
    std::array<int, kSenders>& next;
    int received = 0;
  } context{box, next};
  EventWatch watch{*loop_,
                   [](void* c) {
                     auto& x = *static_cast<Context*>(c);
                     while (auto message = x.box.take()) {
                       EXPECT_EQ(message->number, x.next[static_cast<std::size_t>(message->sender)]++);
                       ++x.received;
                     }
                   },
                   &context};
  watch.start(box.event_fd());
  std::vector<std::thread> threads;
  for (int sender = 0; sender < kSenders; ++sender) {
    threads.emplace_back([&box, sender] {
      for (int i = 0; i < kMessages; ++i) {
        while (!box.post(Message{sender, i})) std::this_thread::yield();
      }
    });
  }
  EXPECT_TRUE(run_until([&] { return context.received == kSenders * kMessages; }));
  for (std::thread& thread : threads) thread.join();
  watch.stop();
  loop_->drain();
  EXPECT_FALSE(watch.active());
}

TEST(MailboxBounds, a_full_box_refuses_and_leaves_the_message) {
  Mailbox<std::unique_ptr<int>> box{2};
  EXPECT_TRUE(box.post(std::make_unique<int>(1)));
  EXPECT_TRUE(box.post(std::make_unique<int>(2)));
  auto third = std::make_unique<int>(3);
  EXPECT_FALSE(box.post(std::move(third)));
  ASSERT_TRUE(third);
  EXPECT_EQ(**box.take(), 1);
  EXPECT_TRUE(box.post(std::move(third)));
  EXPECT_EQ(**box.take(), 2);
  EXPECT_EQ(**box.take(), 3);
  EXPECT_FALSE(box.take());
}

TEST(MailboxBounds, only_the_first_message_signals) {
  Mailbox<int> box{8};
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(box.post(int{i}));
  std::uint64_t count = 0;
  ASSERT_EQ(read(box.event_fd(), &count, sizeof count), 8);
  EXPECT_EQ(count, 1u);
}

}  // namespace
}  // namespace twinblock::ring::test
