#include "replicator/engine/refusal_text.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>

namespace {

namespace control = twinblock::control;
namespace core = twinblock::core;
using twinblock::engine::for_mirror;
using twinblock::engine::refusal_text;

constexpr auto kLast = static_cast<int>(core::Refusal::paused);

TEST(RefusalText, EachSaysWhatHappenedWhatIsSafeAndWhatToType) {
  std::set<std::string_view> words;
  for (int i = 1; i <= kLast; ++i) {
    const auto& text = refusal_text(static_cast<core::Refusal>(i));
    EXPECT_TRUE(words.insert(text.word).second) << text.word;
    EXPECT_FALSE(text.message.empty()) << text.word;
    EXPECT_FALSE(text.what_is_safe.empty()) << text.word;
    EXPECT_FALSE(text.next_step.empty()) << text.word;
  }
}

TEST(RefusalText, TheDocumentListsEachOneWithItsMessage) {
  std::ifstream in{std::string{TWINBLOCK_SOURCE_DIR} + "/docs/internals/errors.md"};
  std::stringstream all;
  all << in.rdbuf();
  const std::string document = all.str();
  ASSERT_FALSE(document.empty());
  for (int i = 1; i <= kLast; ++i) {
    const auto& text = refusal_text(static_cast<core::Refusal>(i));
    const std::string row = "| `" + std::string{text.word} + "` | " + std::string{text.message} + " | " +
                            std::to_string(static_cast<int>(text.outcome)) + " |";
    EXPECT_NE(document.find(row), std::string::npos) << row;
  }
  const std::size_t begin = document.find("## Refusals");
  const std::string section = document.substr(begin, document.find("\n## ", begin + 1) - begin);
  int rows = 0;
  for (std::size_t at = section.find("\n| `"); at != std::string::npos; at = section.find("\n| `", at + 1))
    ++rows;
  EXPECT_EQ(rows, kLast) << "a row of a refusal that does not exist";
}

// What each one is, spelled out once more: a change of an exit code breaks scripts.
TEST(RefusalText, WhatASafetyRuleRefusesEndsWithThree) {
  using R = core::Refusal;
  const std::set<R> failures{R::protocol_version,
                             R::required_feature,
                             R::bad_message,
                             R::peer_disk_failed,
                             R::not_source,
                             R::already_source,
                             R::replica_failed,
                             R::link_lost,
                             R::not_connected,
                             R::busy,
                             R::no_split_brain,
                             R::stopping,
                             R::timeout,
                             R::peer_refused,
                             R::metadata_failed,
                             R::unsupported,
                             R::paused};
  for (int i = 1; i <= kLast; ++i) {
    const auto refusal = static_cast<R>(i);
    const auto expected = refusal == R::wrong_node     ? control::Outcome::kUsage
                          : failures.contains(refusal) ? control::Outcome::kFailed
                                                       : control::Outcome::kRefused;
    EXPECT_EQ(refusal_text(refusal).outcome, expected) << refusal_text(refusal).word;
  }
}

TEST(RefusalText, NamesOfMirrorAndPeerAreFilledIn) {
  EXPECT_EQ(for_mirror("promote MIRROR --confirm-dead PEER; MIRROR", "data", "beta"),
            "promote data --confirm-dead beta; data");
  EXPECT_EQ(for_mirror("MIRROR", "MIRROR", "PEER"), "MIRROR") << "a mirror of that name must not loop";
}

}  // namespace
