// P7 to P10 over every path of the model (generations_model.hpp), and proof that the model can fail: every
// duty of the core that is broken on purpose must be caught.
#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>

#include "tests/unit/core/generations_model.hpp"

namespace twinblock::core::model {
namespace {

constexpr std::size_t kNoLimit = 100;
constexpr std::size_t kStatesMax = 6'000'000;

void report(const Search& s) {
  std::string rows;
  for (const int row : s.rows) rows += " " + std::to_string(row);
  std::printf("[ explored ] %zu states, %zu transitions, depth %zu%s; rows%s\n", s.states, s.transitions,
              s.depth, s.complete ? ", complete" : "", rows.c_str());
}

Search expect_safe(const Conditions& conditions, std::size_t depth = kNoLimit) {
  Search s = search(conditions, depth, kStatesMax);
  report(s);
  EXPECT_EQ(s.counterexample, "");
  EXPECT_TRUE(s.complete || depth < kNoLimit);
  EXPECT_GT(s.states, 10'000u) << "the budgets leave nothing to search";
  return s;
}

bool fired(const Search& s, std::initializer_list<int> rows) {
  return std::all_of(rows.begin(), rows.end(), [&](int row) { return s.rows.contains(row); });
}

// Crashes, partitions and failovers by operators who are right. Nothing acknowledged is missing on a source,
// and nobody ends in split-brain.
TEST(GenerationsModel, FailoverWithRightConfirmations) {
  Conditions conditions;
  conditions.budget.demotions = 0;
  const Search s = expect_safe(conditions);
  EXPECT_TRUE(fired(s, {52, 61, 62, 63, 70, 71}));
  EXPECT_FALSE(s.rows.contains(82));
}

TEST(GenerationsModel, SwitchoverHandsTheRoleOver) {
  Conditions conditions;
  conditions.budget.crashes = 2;
  expect_safe(conditions, 20);
  conditions.budget.promotions = 2;
  expect_safe(conditions);
}

TEST(GenerationsModel, FencedSourceWritesAloneOnlyWithTheRight) {
  Conditions conditions;
  conditions.budget.crashes = 2;
  conditions.write_alone_free = false;
  expect_safe(conditions);
}

TEST(GenerationsModel, PowerCutsLoseCaches) {
  Conditions conditions;
  conditions.budget.crashes = 2;
  conditions.budget.promotions = 2;
  conditions.power_cuts = true;
  expect_safe(conditions);
}

TEST(GenerationsModel, FirstResyncInterrupted) {
  Conditions conditions;
  conditions.budget.crashes = 2;
  conditions.budget.demotions = 0;
  conditions.fresh_target = true;
  EXPECT_TRUE(expect_safe(conditions).rows.contains(12));
}

TEST(GenerationsModel, DiskFailuresOfEitherSide) {
  Conditions conditions;
  conditions.budget.crashes = 2;
  conditions.budget.demotions = 0;
  conditions.budget.disk_failures = 1;
  EXPECT_TRUE(fired(expect_safe(conditions), {52, 53}));
}

// Operators who are wrong, and --force: writes may be lost to a decision, never to an automatism (P10).
TEST(GenerationsModel, WrongConfirmationsEndInSplitBrain) {
  Conditions conditions;
  conditions.wrong_confirms = true;
  conditions.budget.crashes = 2;
  conditions.budget.promotions = 2;
  EXPECT_TRUE(fired(expect_safe(conditions), {72, 73, 82}));
}

TEST(GenerationsModel, OperatorResolvesSplitBrain) {
  Conditions conditions;
  conditions.wrong_confirms = true;
  conditions.budget.crashes = 2;
  conditions.budget.promotions = 2;
  conditions.budget.demotions = 0;
  conditions.budget.resolutions = 1;
  EXPECT_TRUE(fired(expect_safe(conditions), {73, 80, 82, 84}));
  conditions.budget.disk_failures = 1;
  expect_safe(conditions, 18);
}

// ---------------------------------------------------------------------- the model notices what is broken

struct Seeded {
  Fault fault;
  const char* name;
  const char* caught_by;
};
void PrintTo(const Seeded& seeded, std::ostream* out) {
  *out << seeded.name;
}
class SeededFault : public testing::TestWithParam<Seeded> {};

TEST_P(SeededFault, IsCaught) {
  Conditions conditions;
  conditions.fault = GetParam().fault;
  if (conditions.fault == Fault::newest_wins) conditions.wrong_confirms = true;
  const Search s = search(conditions, kNoLimit, kStatesMax);
  report(s);
  EXPECT_EQ(s.counterexample.substr(0, s.counterexample.find(',')), GetParam().caught_by) << s.counterexample;
}

constexpr const char* kMissing = "P1: an acknowledged write is missing on the source";
constexpr const char* kDiffer = "P8: up to date";
INSTANTIATE_TEST_SUITE_P(
    GenerationsModel, SeededFault,
    testing::Values(Seeded{Fault::bump_after_ack, "BumpAfterAck", kMissing},
                    Seeded{Fault::no_bump, "NoBump", kMissing},
                    Seeded{Fault::promote_without_proof, "PromoteWithoutProof", kMissing},
                    Seeded{Fault::lone_boot_if_was_source, "LoneBootIfWasSource", kMissing},
                    Seeded{Fault::promote_inconsistent, "PromoteInconsistent", "a bad replica is source"},
                    Seeded{Fault::mark_cleared_too_late, "MarkClearedTooLate", kMissing},
                    Seeded{Fault::resync_before_inconsistent, "ResyncBeforeInconsistent", kMissing},
                    Seeded{Fault::follower_bits_ignored, "FollowerBitsIgnored", kDiffer},
                    Seeded{Fault::hot_extents_forgotten, "HotExtentsForgotten", "in sync"},
                    Seeded{Fault::newest_wins, "NewestWins",
                           "P10: acknowledged writes would be overwritten silently"},
                    Seeded{Fault::ack_before_peer, "AckBeforePeer", kDiffer},
                    Seeded{Fault::handover_outlives_term, "HandoverOutlivesTerm", kMissing},
                    Seeded{Fault::lacks_before_follower, "LacksBeforeFollower", kMissing},
                    Seeded{Fault::bump_at_handshake, "BumpAtHandshake", kMissing}),
    [](const auto& seeded) { return std::string{seeded.param.name}; });

}  // namespace
}  // namespace twinblock::core::model
