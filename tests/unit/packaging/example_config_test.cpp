// What an administrator copies must work: the example configuration as it stands, the same with each
// commented setting switched on, and the one in the README's tour.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <regex>
#include <sstream>
#include <string>

#include "replicator/control/config.hpp"

namespace twinblock::control {
namespace {

std::string read_source(const std::string& name) {
  std::ifstream file{std::string{TWINBLOCK_SOURCE_DIR} + "/" + name};
  EXPECT_TRUE(file.is_open()) << name;
  return {std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
}

std::string problems_of(const std::string& text) {
  std::string all;
  for (const Diagnostic& problem : parse_config(text, "example.toml", "alpha").problems) {
    all += problem.text() + "\n";
  }
  return all;
}

// `# key = value` becomes `key = value`; prose stays a comment.
std::string with_comments_switched_on(const std::string& text) {
  static const std::regex setting{"^# ([a-z_]+ = .*)$"};
  std::istringstream lines{text};
  std::string result;
  for (std::string line; std::getline(lines, line);) {
    result += std::regex_replace(line, setting, "$1") + "\n";
  }
  return result;
}

TEST(ExampleConfig, IsAccepted) {
  const std::string text = read_source("packaging/twinblock.toml.example");
  EXPECT_EQ(problems_of(text), "");
}

TEST(ExampleConfig, CommentedSettingsExistAndShowTheirDefaults) {
  const std::string text = read_source("packaging/twinblock.toml.example");
  const std::string whole = with_comments_switched_on(text);
  ASSERT_NE(whole, text);
  ASSERT_EQ(problems_of(whole), "");
  const MirrorConfig terse = parse_config(text, "example.toml", "alpha").config->mirrors.at(0);
  const MirrorConfig verbose = parse_config(whole, "example.toml", "alpha").config->mirrors.at(0);
  EXPECT_EQ(terse.write_alone, verbose.write_alone);
  EXPECT_EQ(terse.after_restart, verbose.after_restart);
  EXPECT_EQ(terse.hold_resync, verbose.hold_resync);
  EXPECT_EQ(terse.async_promote, verbose.async_promote);
  EXPECT_EQ(terse.queue_bytes_max, verbose.queue_bytes_max);
  EXPECT_EQ(terse.queue_age_max, verbose.queue_age_max);
  EXPECT_EQ(terse.queue_policy, verbose.queue_policy);
  EXPECT_EQ(terse.resync_rate_bytes_per_s_min, verbose.resync_rate_bytes_per_s_min);
  EXPECT_EQ(terse.resync_rate_bytes_per_s_max, verbose.resync_rate_bytes_per_s_max);
  EXPECT_EQ(terse.peer_timeout, verbose.peer_timeout);
  EXPECT_EQ(terse.disk_timeout, verbose.disk_timeout);
  EXPECT_EQ(terse.region_size, verbose.region_size);
  EXPECT_EQ(terse.hot_extents, verbose.hot_extents);
}

TEST(ExampleConfig, TheTourOfTheReadmeIsAccepted) {
  const std::string readme = read_source("README.md");
  const std::string fence = "```toml\n";
  const std::size_t begin = readme.find(fence);
  ASSERT_NE(begin, std::string::npos);
  const std::size_t end = readme.find("```", begin + fence.size());
  EXPECT_EQ(problems_of(readme.substr(begin + fence.size(), end - begin - fence.size())), "");
}

TEST(ExampleConfig, AMistakeInItIsFound) {
  const std::string text = std::regex_replace(read_source("packaging/twinblock.toml.example"),
                                              std::regex{"mode = \"sync\""}, "mode = \"synch\"");
  EXPECT_NE(problems_of(text), "");
}

}  // namespace
}  // namespace twinblock::control
