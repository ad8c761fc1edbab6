// What all objects of one shard thread share, and how those that ran out of buffers or slots wait for more.
#pragma once

#include <deque>

#include "transport/ring/arena.hpp"
#include "transport/ring/loop.hpp"

namespace twinblock::engine {

class Waiter {
 public:
  virtual ~Waiter() = default;
  // Try again. May add itself to the list again.
  virtual void on_resources() = 0;

 private:
  friend class WaitList;
  bool waiting_ = false;
};

// First come, first asked; whoever still cannot go on waits again behind the others. Rejected: strict order,
// because one frozen mirror would then stop all others.
class WaitList {
 public:
  void add(Waiter& waiter);
  void remove(Waiter& waiter);
  // Something became free: wake() will ask.
  void note_freed() noexcept { freed_ = true; }
  // Called at the end of each turn.
  void wake();

 private:
  std::deque<Waiter*> waiters_;
  bool freed_ = false;
};

// Mirrors and servers that have work to do before the shard waits.
class TurnMember {
 public:
  virtual ~TurnMember() = default;
  virtual void on_turn_end() = 0;

 private:
  friend class TurnList;
  bool listed_ = false;
};

class TurnList {
 public:
  void add(TurnMember& member);
  void remove(TurnMember& member);
  // Runs until nobody asks any more.
  void run();
  [[nodiscard]] bool empty() const noexcept { return members_.empty(); }

 private:
  std::deque<TurnMember*> members_;
};

struct ShardContext {
  ring::Loop& loop;
  ring::Arena& arena;
  WaitList& waiters;
  TurnList& turn;
};

}  // namespace twinblock::engine
