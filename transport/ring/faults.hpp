// The fault layer: between the Loop and its engine, it makes real I/O of a running daemon fail, come late,
// come short, get lost, or end in the death of the process. It exists because the data path is io_uring,
// which no LD_PRELOAD sees. Made only when TWINBLOCKD_FAULTS is set; without it the Loop holds a null pointer
// and asks nothing more than whether it is null. Never for production: docs/internals/faults.md says what
// shows it.
//
// Held operations are simply submitted later: what completes late completes by the real path, into the
// real buffer. Everything runs on the loop's thread.
#pragma once

#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/random.hpp"
#include "base/units.hpp"
#include "transport/ring/fault_rules.hpp"
#include "transport/ring/loop.hpp"

namespace twinblock::ring {

class FaultLayer {
 public:
  // errc::kBadFaults, and the reason on stderr: a daemon that was asked to break and misunderstood must not
  // run.
  [[nodiscard]] static Result<std::unique_ptr<FaultLayer>> create(Loop& loop, std::string_view text);
  // REQUIRES: nothing held.
  ~FaultLayer();
  FaultLayer(const FaultLayer&) = delete;
  FaultLayer& operator=(const FaultLayer&) = delete;

  // Before each submission, also that of the rest of a short transfer. True: taken, do not submit.
  [[nodiscard]] bool intercept(Op& op);
  // The result that the owner of an operation marked by intercept() shall see.
  [[nodiscard]] int completed(Op& op, int result);
  // Whether it was held; it then completes with -ECANCELED. Only sockets are ever cancelled.
  [[nodiscard]] bool cancel(Op& op);
  // The rules in force, for the log.
  [[nodiscard]] std::string describe() const;

 private:
  struct Held {
    Op* op;
    Instant due;       // never: until the rule goes
    std::string rule;  // text
  };
  struct Watched {
    Op* op;
    FaultAction action;
    int error;
  };
  FaultLayer(Loop& loop, FaultPlan plan);
  [[nodiscard]] FaultRule* find_rule(FileRole role, FaultOp verb, const Op& op);
  [[nodiscard]] bool apply(const FaultRule& rule, Op& op);
  void hold(Op& op, Instant due, const FaultRule& rule);
  void watch(Op& op, const FaultRule& rule);
  void release_due();
  void release_hung();
  void rearm();
  void on_timer();
  void look_at_file();
  void load(std::string_view text);
  void write_state();

  Loop& loop_;
  std::vector<FaultRule> fixed_;  // of the environment
  std::vector<FaultRule> rules_;  // of the file
  std::string file_;
  std::string id_;
  std::string problem_;  // with the file's present content; the rules before it stay
  struct stat file_seen_ {};
  Random random_;
  std::vector<Held> held_;
  std::vector<Watched> watched_;
  std::array<std::array<std::uint64_t, kFaultOpCount>, kFileRoleCount> counts_{};
  bool state_changed_ = true;
  Instant next_look_;
  MethodTimer<FaultLayer, &FaultLayer::on_timer> timer_{this};
};

}  // namespace twinblock::ring
