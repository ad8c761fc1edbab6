#include "replicator/engine/shard_context.hpp"

#include <algorithm>

namespace twinblock::engine {

void WaitList::add(Waiter& waiter) {
  if (waiter.waiting_) return;
  waiter.waiting_ = true;
  waiters_.push_back(&waiter);
}

void WaitList::remove(Waiter& waiter) {
  if (!waiter.waiting_) return;
  waiter.waiting_ = false;
  waiters_.erase(std::find(waiters_.begin(), waiters_.end(), &waiter));
}

void WaitList::wake() {
  if (!freed_) return;
  freed_ = false;
  // A waiter may remove others (a connection that closes): no iterator is kept.
  for (std::size_t rest = waiters_.size(); rest > 0 && !waiters_.empty(); --rest) {
    Waiter* const waiter = waiters_.front();
    waiters_.pop_front();
    waiter->waiting_ = false;
    waiter->on_resources();
  }
}

void TurnList::add(TurnMember& member) {
  if (member.listed_) return;
  member.listed_ = true;
  members_.push_back(&member);
}

void TurnList::remove(TurnMember& member) {
  if (!member.listed_) return;
  member.listed_ = false;
  members_.erase(std::find(members_.begin(), members_.end(), &member));
}

void TurnList::run() {
  while (!members_.empty()) {
    TurnMember* const member = members_.front();
    members_.pop_front();
    member->listed_ = false;
    member->on_turn_end();
  }
}

}  // namespace twinblock::engine
