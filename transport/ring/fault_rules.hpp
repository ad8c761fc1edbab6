// What a fault layer shall do, as text: TWINBLOCKD_FAULTS and its rules file (docs/internals/faults.md).
// Pure.
//
//   seed=7; file=/tmp/rules; data.write@nth:3=fail:EIO; peer.write@1in:100=delay:5-50; metadata.flush=hang
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.hpp"
#include "transport/ring/op.hpp"

namespace twinblock::ring {

enum class FaultOp : std::uint8_t { kRead, kWrite, kFlush, kZero, kNone };
inline constexpr std::size_t kFaultOpCount = 4;

enum class FaultAction : std::uint8_t {
  kFail,        // an error; nothing was done
  kFailAfter,   // done, and an error all the same
  kDelay,       // done later
  kHang,        // done when the rule is taken away
  kShort,       // at most so many bytes of it, as the kernel may
  kDrop,        // not done, and a success: a lost write, a flush that lies
  kTorn,        // only the first bytes of a write, then the process dies
  kCrash,       // not done; the process dies
  kCrashAfter,  // done; the process dies before it knows
};

struct FaultRule {
  std::string text;              // as written; rules of equal text are the same rule
  std::optional<FileRole> role;  // none: data and metadata, nbd and peer
  std::optional<FaultOp> op;
  // Which of the operations that match. All given ones must hold.
  std::uint64_t first = 1;              // from the n-th on
  std::uint64_t hits_max = UINT64_MAX;  // so many at most
  std::uint64_t one_in = 1;             // by chance
  std::uint64_t offset_begin = 0;       // bytes; an operation that touches [begin, end)
  std::uint64_t offset_end = UINT64_MAX;
  FaultAction action = FaultAction::kFail;
  int error = 0;                 // kFail, kFailAfter: errno
  std::uint64_t amount = 0;      // kDelay: least milliseconds; kShort, kTorn: bytes
  std::uint64_t amount_max = 0;  // kDelay: most milliseconds

  // What has happened so far.
  std::uint64_t seen = 0;
  std::uint64_t hits = 0;

  // Whether the rule is about this operation at all.
  [[nodiscard]] bool matches(FileRole r, FaultOp o, std::uint64_t offset, std::uint64_t length) const;
  // Counts a matching operation, and says whether it is hit. `random` is drawn from only by rules with 1in.
  [[nodiscard]] bool strikes(Random& random);
};

struct FaultPlan {
  std::optional<std::uint64_t> seed;
  std::string file;  // rules that may change at run time
  std::string id;    // a word that the state file repeats
  std::vector<FaultRule> rules;
};

struct FaultPlanParsed {
  std::optional<FaultPlan> plan;
  std::string problem;  // a sentence, if there is no plan
};

// Items separated by `;` or newlines; empty ones and lines that begin with # count for nothing.
[[nodiscard]] FaultPlanParsed parse_fault_plan(std::string_view text);

[[nodiscard]] std::string_view fault_role_word(FileRole role);
[[nodiscard]] std::string_view fault_op_word(FaultOp op);

}  // namespace twinblock::ring
