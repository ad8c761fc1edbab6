// A replica's creation and opening, on files in a directory of its own.
#include "replicator/engine/backing.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "replicator/engine/metadata_file.hpp"

namespace {

using twinblock::ByteCount;
using twinblock::NodeIndex;
namespace bitmap = twinblock::bitmap;
namespace engine = twinblock::engine;

constexpr std::uint64_t kSize = 8u << 20;

class BackingTest : public testing::Test {
 protected:
  void SetUp() override {
    // Below the run's own directory, if there is one (tests/leftovers.py); never on tmpfs.
    const char* const run = std::getenv("TWINBLOCK_TEST_RUN");
    std::string name = std::string{run != nullptr ? run : "/var/tmp"} + "/tb-backing-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    plan_.mirror = "data";
    plan_.disk = folder_ + "/disk";
    plan_.metadata = folder_ + "/meta";
    plan_.node = NodeIndex{0};
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  engine::CreateOptions with_size() const {
    engine::CreateOptions options;
    options.size = ByteCount{kSize};
    return options;
  }
  void poke(const std::string& path, std::uint64_t at, const std::string& bytes) const {
    std::fstream file{path, std::ios::in | std::ios::out | std::ios::binary};
    file.seekp(static_cast<std::streamoff>(at));
    file << bytes;
  }

  std::string folder_;
  engine::BackingPlan plan_;
};

TEST_F(BackingTest, ATargetIsMadeOnceAndAgainWithoutHarm) {
  ASSERT_TRUE(engine::create_backing(plan_, with_size()));
  const auto first = engine::read_superblock(plan_);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->mirror_id, 0u);
  EXPECT_EQ(first->disk_state, bitmap::DiskState::inconsistent);
  EXPECT_EQ(first->geometry.size, ByteCount{kSize});
  const auto again = engine::create_backing(plan_, with_size());
  ASSERT_TRUE(again);
  EXPECT_NE(again->find("created before"), std::string::npos);
  EXPECT_EQ(engine::read_superblock(plan_)->area_id, first->area_id);
}

TEST_F(BackingTest, ASourceKeepsItsDataAndHasAGeneration) {
  std::vector<char> content(kSize, 'x');
  std::ofstream{plan_.disk, std::ios::binary}.write(content.data(),
                                                    static_cast<std::streamsize>(content.size()));
  engine::CreateOptions options;
  options.source = true;
  ASSERT_TRUE(engine::create_backing(plan_, options));
  const auto superblock = engine::read_superblock(plan_);
  ASSERT_TRUE(superblock);
  EXPECT_NE(superblock->mirror_id, 0u);
  EXPECT_EQ(superblock->generation_count, 1u);
  EXPECT_EQ(superblock->disk_state, bitmap::DiskState::consistent);
  std::ifstream in{plan_.disk, std::ios::binary};
  EXPECT_TRUE(std::equal(content.begin(), content.end(), std::istreambuf_iterator<char>{in}));
}

TEST_F(BackingTest, AHalfMadeAreaIsFinished) {
  ASSERT_TRUE(engine::create_backing(plan_, with_size()));
  poke(plan_.metadata, 0,
       std::string(2 * bitmap::kBlockSize, '\0'));  // as a crash before the superblocks leaves it
  EXPECT_FALSE(engine::open_backing(plan_));
  ASSERT_TRUE(engine::create_backing(plan_, with_size()));
  EXPECT_TRUE(engine::open_backing(plan_));
}

TEST_F(BackingTest, SomebodyElsesFileIsNotOverwritten) {
  ASSERT_TRUE(engine::create_backing(plan_, with_size()));
  poke(plan_.metadata, 0, std::string(2 * bitmap::kBlockSize, 'q'));
  const auto refused = engine::create_backing(plan_, with_size());
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().refused);
  auto force = with_size();
  force.force = true;
  EXPECT_TRUE(engine::create_backing(plan_, force));
}

TEST_F(BackingTest, ASignatureOnATargetNeedsForce) {
  std::filesystem::resize_file((std::ofstream{plan_.disk}, plan_.disk), kSize);
  poke(plan_.disk, 0, "XFSB");
  const auto refused = engine::create_backing(plan_, {});
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("xfs"), std::string::npos);
  engine::CreateOptions force;
  force.force = true;
  EXPECT_TRUE(engine::create_backing(plan_, force));
}

TEST_F(BackingTest, PlacesThatCannotBe) {
  auto same = plan_;
  same.metadata = same.disk;
  EXPECT_FALSE(engine::create_backing(same, with_size()));
  auto fleeting = plan_;
  fleeting.metadata = "/dev/shm/tb-backing-test.meta";
  if (std::filesystem::exists("/dev/shm")) {
    const auto refused = engine::create_backing(fleeting, with_size());
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("tmpfs"), std::string::npos);
  }
}

TEST_F(BackingTest, OpeningIsExclusiveAndSaysThatItMayBeTriedAgain) {
  ASSERT_TRUE(engine::create_backing(plan_, with_size()));
  const auto first = engine::open_backing(plan_);
  ASSERT_TRUE(first);
  const auto second = engine::open_backing(plan_);
  ASSERT_FALSE(second);
  EXPECT_TRUE(second.error().retry);
  EXPECT_TRUE(engine::check_backing(plan_)) << "looking needs no lock";
}

TEST_F(BackingTest, MetadataOfAnotherNodeOrDiskIsRefused) {
  ASSERT_TRUE(engine::create_backing(plan_, with_size()));
  auto other_node = plan_;
  other_node.node = NodeIndex{1};
  ASSERT_FALSE(engine::open_backing(other_node));
  std::filesystem::copy_file(plan_.disk, folder_ + "/copy");
  auto other_disk = plan_;
  other_disk.disk = folder_ + "/copy";
  const auto refused = engine::open_backing(other_disk);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("another disk"), std::string::npos);
}

TEST_F(BackingTest, ADiskThatShrankIsRefused) {
  ASSERT_TRUE(engine::create_backing(plan_, with_size()));
  std::filesystem::resize_file(plan_.disk, kSize / 2);
  ASSERT_FALSE(engine::open_backing(plan_));
}

TEST_F(BackingTest, ASealedDiskThatChangedIsRefused) {
  ASSERT_TRUE(engine::create_backing(plan_, with_size()));
  ASSERT_FALSE(engine::seal_clean(plan_));
  ASSERT_TRUE(engine::open_backing(plan_));
  poke(plan_.disk, 100, "changed");
  const auto refused = engine::open_backing(plan_);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("changed while"), std::string::npos);
}

// The rows of "Set-up problems" in docs/internals/errors.md.
class ProblemTable {
 public:
  ProblemTable() {
    std::ifstream in{std::string{TWINBLOCK_SOURCE_DIR} + "/docs/internals/errors.md"};
    bool inside = false;
    static const std::regex row{R"(\| `([^`]+)` \| ([0-9]) \|)"};
    for (std::string line; std::getline(in, line);) {
      if (line.starts_with("## ")) inside = line == "## Set-up problems";
      std::smatch parts;
      if (inside && std::regex_match(line, parts, row)) rows_.push_back({parts[1], std::stoi(parts[2])});
    }
  }

  // The row is the longest pattern that fits: the others say less of what happened.
  template <class T>
  void expect(const engine::Outcome<T>& outcome) {
    ASSERT_FALSE(outcome);
    const engine::Problem& problem = outcome.error();
    Row* best = nullptr;
    for (Row& row : rows_) {
      const bool longer = best == nullptr || row.pattern.size() > best->pattern.size();
      if (longer && std::regex_match(problem.message, std::regex{expression(row.pattern)})) best = &row;
    }
    ASSERT_NE(best, nullptr) << "not in the document: " << problem.message;
    EXPECT_EQ(best->exit, problem.refused ? 3 : 1) << problem.message;
    best->seen = true;
  }

  std::set<std::string> unseen() const {
    std::set<std::string> patterns;
    for (const Row& row : rows_) {
      if (!row.seen) patterns.insert(row.pattern);
    }
    return patterns;
  }

 private:
  struct Row {
    std::string pattern;
    int exit;
    bool seen = false;
  };
  static std::string expression(const std::string& pattern) {
    static const std::regex special{R"([()\[\]{}.*+?^$|\\])"};
    static const std::regex words{"WHAT|PATH|USE|WHY|MIRROR|NUMBER|KIND"};
    return std::regex_replace(std::regex_replace(pattern, special, R"(\$&)"), words, ".+");
  }
  std::vector<Row> rows_;
};

TEST_F(BackingTest, EveryProblemIsInTheDocumentWithItsExitCode) {
  ProblemTable table;
  const auto with = [this](auto change) {
    engine::BackingPlan plan = plan_;
    change(plan);
    return plan;
  };
  engine::CreateOptions source;
  source.source = true;
  table.expect(engine::open_backing(plan_));        // no metadata
  table.expect(engine::create_backing(plan_, {}));  // no disk
  auto tiny = with_size();
  tiny.size = ByteCount{1};
  table.expect(engine::create_backing(plan_, tiny));
  table.expect(engine::create_backing(with([&](auto& p) { p.disk = folder_ + "/no/disk"; }), with_size()));
  table.expect(engine::create_backing(with([](auto& p) { p.metadata = p.disk; }), with_size()));
  table.expect(engine::create_backing(with([](auto& p) { p.logical_block_size = 100; }), with_size()));
  table.expect(engine::create_backing(with([&](auto& p) { p.metadata = folder_; }), with_size()));
  ASSERT_TRUE(engine::create_backing(plan_, with_size()));
  auto larger = with_size();
  larger.size = ByteCount{2 * kSize};
  table.expect(engine::create_backing(plan_, larger));
  table.expect(engine::create_backing(plan_, source));
  table.expect(engine::open_backing(with([](auto& p) { p.node = NodeIndex{1}; })));
  std::filesystem::copy_file(plan_.disk, folder_ + "/copy");
  table.expect(engine::open_backing(with([&](auto& p) { p.disk = folder_ + "/copy"; })));
  {
    const auto holder = engine::open_backing(plan_);
    table.expect(engine::open_backing(plan_));  // locked
  }
  std::filesystem::resize_file(plan_.disk, kSize / 2);
  table.expect(engine::open_backing(plan_));
  std::filesystem::resize_file(plan_.disk, kSize);
  ASSERT_FALSE(engine::seal_clean(plan_));
  poke(plan_.disk, 100, "changed");
  table.expect(engine::open_backing(plan_));
  poke(plan_.metadata, 0, std::string(2 * bitmap::kBlockSize, 'q'));
  table.expect(engine::open_backing(plan_));
  table.expect(engine::create_backing(plan_, {}));
  std::filesystem::remove(plan_.metadata);
  poke(plan_.disk, 0, "XFSB");
  table.expect(engine::create_backing(plan_, {}));
  const std::string on_tmpfs = "the metadata PATH lies on a file system that a reboot empties (tmpfs)";
  if (std::filesystem::exists("/dev/shm"))
    table.expect(engine::create_backing(with([](auto& p) { p.metadata = "/dev/shm/tb.meta"; }), with_size()));
  auto unseen = table.unseen();
  unseen.erase(on_tmpfs);
  // Block devices, which need root: tests/system/bad_input_test.py, blockdev_test.py.
  EXPECT_EQ(unseen, (std::set<std::string>{
                        "WHAT PATH is USE", "the metadata PATH lies on the mirrored disk itself",
                        "the disk PATH has blocks of NUMBER bytes, the mirror was created with NUMBER"}));
}

}  // namespace
