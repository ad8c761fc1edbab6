#include "replicator/engine/refusal_text.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>

namespace {

namespace core = twinblock::core;
using twinblock::engine::for_mirror;
using twinblock::engine::refusal_text;

constexpr auto kLast = static_cast<int>(core::Refusal::source_discards);

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
                            (text.by_safety_rule ? "3" : "1") + " |";
    EXPECT_NE(document.find(row), std::string::npos) << row;
  }
}

TEST(RefusalText, NamesOfMirrorAndPeerAreFilledIn) {
  EXPECT_EQ(for_mirror("promote MIRROR --confirm-dead PEER; MIRROR", "data", "beta"),
            "promote data --confirm-dead beta; data");
  EXPECT_EQ(for_mirror("MIRROR", "MIRROR", "PEER"), "MIRROR") << "a mirror of that name must not loop";
}

}  // namespace
