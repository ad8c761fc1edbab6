// A queue whose bound is known at the start.
#pragma once

#include <cstddef>
#include <vector>

#include "base/assert.hpp"

namespace twinblock::core {

// Bounded first-in first-out queue without allocation after construction.
template <class T>
class Fifo {
 public:
  explicit Fifo(std::size_t capacity) : items_(capacity + 1) {}
  [[nodiscard]] bool empty() const { return head_ == tail_; }
  [[nodiscard]] bool full() const { return (tail_ + 1) % items_.size() == head_; }
  [[nodiscard]] std::size_t size() const { return (tail_ + items_.size() - head_) % items_.size(); }
  void push(const T& v) {
    TB_ASSERT(!full());
    items_[tail_] = v;
    tail_ = (tail_ + 1) % items_.size();
  }
  [[nodiscard]] T& front() { return items_[head_]; }
  [[nodiscard]] T& operator[](std::size_t i) { return items_[(head_ + i) % items_.size()]; }
  [[nodiscard]] const T& operator[](std::size_t i) const { return items_[(head_ + i) % items_.size()]; }
  void pop() {
    TB_ASSERT(!empty());
    head_ = (head_ + 1) % items_.size();
  }
  void clear() { head_ = tail_ = 0; }

 private:
  std::vector<T> items_;
  std::size_t head_ = 0;
  std::size_t tail_ = 0;
};

}  // namespace twinblock::core
