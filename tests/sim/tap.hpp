// What a script may watch and bend in a running world. The random runs have none.
#pragma once

#include <cstdint>

#include "replicator/core/io.hpp"

namespace twinblock::sim {

class Tap {
 public:
  // Instead of an errno: the completion does not come until the script lets it.
  static constexpr int kHold = -1;

  Tap() = default;
  Tap(const Tap&) = delete;
  Tap& operator=(const Tap&) = delete;
  virtual ~Tap() = default;
  // An I/O is about to complete: 0, an errno to fail with, or kHold.
  virtual int disk_done(int node, std::uint32_t slot) = 0;
  virtual int meta_done(int node, std::uint32_t slot) = 0;
  // A message is about to be queued. False: the network loses it.
  virtual bool sent(int node, const core::Send& send) = 0;
  virtual void event(int node, const core::Event& event) = 0;
  virtual void replied(int node, const core::Reply& reply) = 0;
  virtual void command_done(int node, const core::CommandDone& done) = 0;
};

}  // namespace twinblock::sim
