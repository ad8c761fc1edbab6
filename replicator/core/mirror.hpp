// One node's half of a mirror: the whole engine as one state machine without I/O (docs/ARCHITECTURE.md).
//
// Life: construct from recovered metadata → start() → step()s, with turn_end() after each batch of steps →
// drop the object (a crash) or Command{stop} until EventKind::stopped (a clean end).
#pragma once

#include <memory>

#include "bitmap/codec.hpp"
#include "replicator/core/io.hpp"
#include "replicator/core/status.hpp"

namespace twinblock::core {

class Mirror {
 public:
  // `recovered` comes from bitmap::recover() of this node's metadata area.
  Mirror(Config config, bitmap::Recovered recovered);
  ~Mirror();
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;

  // Begins: counts the attach durably, turns hot extents into bits, then asks for a link (SetLinkWanted).
  void start(Instant now, Outputs& out);
  // REQUIRES: now never goes back. Appends to `out`.
  void step(Instant now, const Input& in, Outputs& out);
  // Ends a batch of steps: emits what is collected over a turn (acknowledgements, intent records, pages).
  // Must be called after every batch, before waiting.
  void turn_end(Instant now, Outputs& out);
  // When Tick is due at the latest.
  [[nodiscard]] Instant next_deadline() const;

  [[nodiscard]] MirrorSnapshot snapshot() const;
  [[nodiscard]] const bitmap::Superblock& superblock() const;
  // What the peer last said of itself in a handshake; nullptr: nothing since the start.
  [[nodiscard]] const wire::StateBody* peer_state() const;
  // Regions the peer may differ in, hot extents not counted.
  [[nodiscard]] const bitmap::DirtyMap& dirty() const;
  // Extents named by the intent log as of the newest durable record or later.
  [[nodiscard]] bool is_hot(ExtentIndex extent) const;

  // For tests: aborts when an invariant does not hold. step() runs the cheap part itself.
  void check_invariants() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace twinblock::core
