// A configuration that is right is understood; one that is wrong is explained: line, key, allowed values.
#include "replicator/control/config.hpp"

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "replicator/control/protocol_text.hpp"
#include "tests/unit/control/control_fixture.hpp"

namespace twinblock::control::test {
namespace {

using ::testing::HasSubstr;

constexpr const char* kGood = R"([node]
name = "alpha"
state_dir = "/var/lib/twinblock"
control = "/run/twinblock/control.sock"

[[mirror]]
name = "data"
mode = "sync"
nbd = "unix:/run/twinblock/data.nbd"
[[mirror.node]]
name = "alpha"
disk = "/dev/disk/by-id/a"
metadata = "/var/lib/twinblock/data.meta"
replication = ["127.0.0.1:7789"]
[[mirror.node]]
name = "beta"
disk = "/dev/disk/by-id/a"
replication = ["127.0.0.2:7789"]
)";

std::string replaced(std::string text, std::string_view what, std::string_view with) {
  const std::size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return text.replace(at, what.size(), with);
}

// kGood with one more line in the mirror table (line 8 of the file).
std::string with_line(const std::string& line) {
  return replaced(kGood, "mode = \"sync\"", line);
}

std::string all_text(const ConfigCheck& check) {
  std::string text;
  for (const auto& p : check.problems) text += p.text() + "\n";
  return text;
}

TEST(Config, TheExampleOfTheDesign) {
  const auto check = parse_config(kGood, "t.toml", "somehost");
  ASSERT_TRUE(check.config) << all_text(check);
  const Config& config = *check.config;
  EXPECT_EQ(config.node_name, "alpha");
  ASSERT_EQ(config.mirrors.size(), 1u);
  const MirrorConfig& mirror = config.mirrors[0];
  EXPECT_EQ(mirror.region_size, ByteCount{65536});
  EXPECT_EQ(mirror.hot_extents, 256u);
  EXPECT_EQ(mirror.queue_bytes_max, ByteCount{256u << 20});
  EXPECT_EQ(mirror.peer_timeout, Duration::seconds(5));
  EXPECT_EQ(mirror.local_node().name, "alpha");
  EXPECT_EQ(mirror.peer_node().metadata, "/var/lib/twinblock/data.meta");
  EXPECT_EQ(mirror.local_nbd().unix_path, "/run/twinblock/data.nbd");
}

TEST(Config, EveryKeyIsRead) {
  const auto check = parse_config(with_line(R"(mode = "async"
queue_bytes_max = "1GiB"
queue_age_max_s = 12.5
queue_policy = "block"
write_alone = "quorum"
after_restart = "target"
hold_resync = true
async_promote = "allow"
resync_rate_bytes_per_s_min = 1048576
resync_rate_bytes_per_s_max = "100MiB"
peer_timeout_s = 0.5
disk_timeout_s = 7
insecure = true
region_size = "4KiB"
hot_extents = 8
logical_block_size = 4096)"),
                                  "t.toml");
  ASSERT_TRUE(check.config) << all_text(check);
  const MirrorConfig& m = check.config->mirrors[0];
  EXPECT_EQ(m.mode, Mode::kAsync);
  EXPECT_EQ(m.queue_bytes_max, ByteCount{1u << 30});
  EXPECT_EQ(m.queue_age_max, Duration::milliseconds(12'500));
  EXPECT_EQ(m.queue_policy, QueuePolicy::kBlock);
  EXPECT_EQ(m.write_alone, WriteAlone::kQuorum);
  EXPECT_EQ(m.after_restart, AfterRestart::kTarget);
  EXPECT_TRUE(m.hold_resync);
  EXPECT_EQ(m.async_promote, AsyncPromote::kAllow);
  EXPECT_EQ(m.resync_rate_bytes_per_s_min, ByteCount{1u << 20});
  EXPECT_EQ(m.resync_rate_bytes_per_s_max, ByteCount{100u << 20});
  EXPECT_EQ(m.peer_timeout, Duration::milliseconds(500));
  EXPECT_EQ(m.disk_timeout, Duration::seconds(7));
  EXPECT_TRUE(m.insecure);
  EXPECT_EQ(m.region_size, ByteCount{4096});
  EXPECT_EQ(m.hot_extents, 8u);
  EXPECT_EQ(m.logical_block_size, 4096u);
}

TEST(Config, NodeOverridesAndHostName) {
  std::string text = replaced(kGood, "name = \"alpha\"\nstate_dir", "state_dir");
  text += "mode = \"memsync\"\nnbd = \"tcp:127.0.0.1:0\"\n";
  const auto check = parse_config(text, "t.toml", "beta");
  ASSERT_TRUE(check.config) << all_text(check);
  const MirrorConfig& m = check.config->mirrors[0];
  EXPECT_EQ(m.local_node().name, "beta");
  EXPECT_EQ(m.mode_towards(m.local_node()), Mode::kMemsync);
  EXPECT_EQ(m.mode_towards(m.peer_node()), Mode::kSync);
  EXPECT_EQ(m.local_nbd().text(), "tcp:127.0.0.1:0");
}

struct BadCase {
  const char* what;
  std::string text;
  std::vector<const char*> parts;  // of one diagnostic's text
};

std::vector<BadCase> bad_values() {
  return {
      {"mode", with_line("mode = \"snyc\""), {"t.toml:8: mirror.mode:", "\"snyc\"", "\"memsync\""}},
      {"mode type", with_line("mode = 1"), {"t.toml:8: mirror.mode:", "1 is not", "\"async\""}},
      {"region",
       with_line("region_size = \"48KiB\""),
       {":8: mirror.region_size", "power of two", "\"4KiB\""}},
      {"region big", with_line("region_size = \"2MiB\""), {":8: mirror.region_size", "\"1MiB\""}},
      {"hot", with_line("hot_extents = 7"), {":8: mirror.hot_extents: 7", "8 to 768"}},
      {"hot big", with_line("hot_extents = 769"), {":8: mirror.hot_extents", "8 to 768"}},
      {"block", with_line("logical_block_size = 513"), {":8: mirror.logical_block_size", "512, 1024"}},
      {"size unit",
       with_line("queue_bytes_max = \"64MB\""),
       {":8: mirror.queue_bytes_max: \"64MB\"", "\"1MiB\""}},
      {"negative", with_line("queue_bytes_max = -1"), {":8: mirror.queue_bytes_max: -1"}},
      {"bool", with_line("hold_resync = \"yes\""), {":8: mirror.hold_resync", "true, false"}},
      {"alone", with_line("write_alone = \"always\""), {":8: mirror.write_alone", "\"fenced\", \"quorum\""}},
      {"restart",
       with_line("after_restart = \"source\""),
       {":8: mirror.after_restart", "\"resume\", \"target\""}},
      {"timeout", with_line("peer_timeout_s = 0"), {":8: mirror.peer_timeout_s: 0", "0.1 to 600"}},
      {"nan", with_line("peer_timeout_s = nan"), {":8: mirror.peer_timeout_s"}},
      {"rates",
       with_line("resync_rate_bytes_per_s_max = \"1MiB\""),
       {":8: mirror.resync_rate_bytes_per_s_max", "below resync_rate_bytes_per_s_min",
        "at least the minimum"}},
      {"typo",
       with_line("write_allone = \"free\""),
       {":8: mirror.write_allone: unknown key", "did you mean \"write_alone\"?"}},
      {"typo unit",
       with_line("peer_timeout = 5"),
       {":8: mirror.peer_timeout", "did you mean \"peer_timeout_s\"?"}},
      {"array", with_line("mode = [\"sync\"]"), {":8: mirror.mode"}},
      // toml++ 3.3 asserts on this one.
      {"brackets", with_line("[[[mirror.node]]"), {"t.toml:8: ", "syntax error: malformed table header"}},
      {"odd blank", with_line("mode\xc2\xae = 1"), {"t.toml:8: ", "syntax error"}},
      {"syntax", with_line("mode = sync"), {"t.toml:8: ", "syntax error"}},
      {"double key", with_line("mode = \"sync\"\nmode = \"async\""), {"t.toml:9: ", "syntax error"}},
  };
}

std::vector<BadCase> bad_structure() {
  const std::string good = kGood;
  const std::string third =
      "[[mirror.node]]\nname = \"gamma\"\ndisk = \"/d\"\nreplication = [\"127.0.0.3:1\"]\n";
  const std::string again = good.substr(good.find("[[mirror]]"));
  return {
      {"root key", "mirrors = 1\n", {"t.toml:1: mirrors: unknown key", "did you mean \"mirror\"?"}},
      {"single bracket", "[mirror]\nname = \"x\"\n", {"t.toml:1: mirror: ", "[[mirror]]"}},
      {"node key",
       replaced(good, "state_dir", "statedir"),
       {"t.toml:3: node.statedir: unknown key", "did you mean \"state_dir\"?"}},
      {"realtime",
       replaced(good, "[node]\n", "[node]\nrealtime = \"yes\"\n"),
       {"t.toml:2: node.realtime: must be true or false", "true, false"}},
      {"no name", replaced(good, "name = \"data\"\n", ""), {"t.toml:6: mirror.name: is missing"}},
      {"bad name", replaced(good, "\"data\"", "\"da/ta\""), {"t.toml:7: mirror.name: \"da/ta\"", "letters"}},
      {"no nbd",
       replaced(good, "nbd = \"unix:/run/twinblock/data.nbd\"\n", ""),
       {":6: mirror.nbd: is missing", "unix:"}},
      {"nbd form",
       replaced(good, "unix:/run/twinblock/data.nbd", "unix:data.nbd"),
       {":9: mirror.nbd", "\"tcp:HOST:PORT\""}},
      {"nbd plain",
       replaced(good, "unix:/run/twinblock/data.nbd", "tcp:10.0.0.1:10809"),
       {":9: mirror.nbd", "insecure = true"}},
      {"no disk",
       replaced(good, "disk = \"/dev/disk/by-id/a\"\nreplication", "replication"),
       {":15: mirror.node.disk: is missing"}},
      {"relative",
       replaced(good, "\"/dev/disk/by-id/a\"", "\"disk.img\""),
       {":12: mirror.node.disk", "an absolute path"}},
      {"no address",
       replaced(good, "replication = [\"127.0.0.2:7789\"]\n", ""),
       {":15: mirror.node.replication: is missing"}},
      {"no port",
       replaced(good, "127.0.0.2:7789", "127.0.0.2"),
       {":18: mirror.node.replication", "HOST:PORT"}},
      {"port 0", replaced(good, "127.0.0.2:7789", "127.0.0.2:0"), {":18: mirror.node.replication"}},
      {"bad ip", replaced(good, "127.0.0.2:7789", "127.0.0.256:7789"), {":18: mirror.node.replication"}},
      {"plain tcp",
       replaced(good, "127.0.0.2:7789", "10.5.2.12:7789"),
       {":18: mirror.node.replication: 10.5.2.12:7789 is beyond loopback", "insecure = true"}},
      {"same address",
       replaced(good, "127.0.0.2:7789", "127.0.0.1:7789"),
       {"also an address of the other node"}},
      {"one node",
       good.substr(0, good.rfind("[[mirror.node]]")),
       {":6: mirror.node", "has 1 nodes", "exactly two"}},
      {"three nodes", good + third, {":19: mirror.node", "has 3 nodes", "not supported yet"}},
      {"same node",
       replaced(good, "\"beta\"", "\"alpha\""),
       {":15: mirror.node.name", "two different names"}},
      {"stranger",
       replaced(good, "name = \"alpha\"", "name = \"gamma\""),
       {"node.name: \"gamma\" is no node of mirror \"data\"", "\"alpha\", \"beta\""}},
      {"metadata on disk",
       replaced(good, "/var/lib/twinblock/data.meta", "/dev/disk/by-id/../by-id/a"),
       {":10: mirror.node.metadata", "is the data disk"}},
      {"same mirror", good + again, {":19: mirror.name: \"data\" is already the mirror of line 6"}},
      {"same disk",
       good + replaced(again, "\"data\"", "\"logs\""),
       {"mirror.node.disk: \"/dev/disk/by-id/a\" on node \"alpha\" is already the disk of mirror \"data\""}},
      {"same nbd",
       good + replaced(again, "\"data\"", "\"logs\""),
       {":19: mirror.nbd", "already used by mirror \"data\""}},
      {"control",
       replaced(good, "/run/twinblock/control.sock", "/" + std::string(120, 'x')),
       {":4: node.control", "107 characters"}},
      {"http", replaced(good, "[node]", "[node]\nhttp = \"9090\""), {":2: node.http", "HOST:PORT"}},
      {"binary", std::string{"\x00\xff\xfe junk", 8}, {"t.toml:1", "syntax error"}},
  };
}

void expect_explained(const std::vector<BadCase>& cases) {
  for (const auto& c : cases) {
    const auto check = parse_config(c.text, "t.toml", "alpha");
    EXPECT_FALSE(check.config) << c.what;
    bool found = false;
    for (const auto& problem : check.problems) {
      const std::string text = problem.text();
      const bool all = std::all_of(c.parts.begin(), c.parts.end(),
                                   [&](const char* part) { return text.find(part) != std::string::npos; });
      found = found || all;
    }
    EXPECT_TRUE(found) << c.what << "\n" << all_text(check);
  }
}

TEST(Config, BadValuesAreExplained) {
  expect_explained(bad_values());
}
TEST(Config, BadStructureIsExplained) {
  expect_explained(bad_structure());
}

TEST(Config, AllProblemsAtOnceInFileOrder) {
  std::string text = with_line("mode = \"x\"\nhot_extents = 1\nbogus = 1");
  text = replaced(text, "127.0.0.2:7789", "nowhere");
  const auto check = parse_config(text, "t.toml", "alpha");
  ASSERT_EQ(check.problems.size(), 4u) << all_text(check);
  EXPECT_TRUE(std::is_sorted(check.problems.begin(), check.problems.end(),
                             [](const auto& a, const auto& b) { return a.line < b.line; }));
}

TEST(Config, UnreadableFiles) {
  TempDir dir;
  EXPECT_THAT(all_text(check_config(dir.file("missing.toml"))), HasSubstr("cannot be opened: No such file"));
  EXPECT_THAT(all_text(check_config(dir.file(""))), HasSubstr("is a directory"));
  std::ofstream{dir.file("big.toml")} << std::string(kConfigFileBytesMax + 1, '#');
  EXPECT_THAT(all_text(check_config(dir.file("big.toml"))), HasSubstr("larger than 1 MiB"));
  std::ofstream{dir.file("good.toml")} << kGood;
  EXPECT_TRUE(check_config(dir.file("good.toml")).config);
}

TEST(Config, TheControlSocketIsFoundInABrokenConfig) {
  TempDir dir;
  std::ofstream{dir.file("c.toml")} << "[node]\ncontrol = \"/x/y.sock\"\n[[mirror]]\nbogus = 1\n";
  EXPECT_EQ(control_socket_of(dir.file("c.toml")), "/x/y.sock");
  EXPECT_EQ(control_socket_of(dir.file("missing")), kDefaultControlSocket);
  std::ofstream{dir.file("bad.toml")} << "[node\n";
  EXPECT_FALSE(control_socket_of(dir.file("bad.toml")));
}

TEST(ConfigDigest, ADifferenceNamesTheField) {
  const MirrorConfig here = parse_config(kGood, "t", "alpha").config->mirrors[0];
  MirrorConfig there = parse_config(replaced(kGood, "\"alpha\"", "\"beta\""), "t").config->mirrors[0];
  // Local things may differ.
  there.nodes[0].disk = "/elsewhere";
  there.nbd.unix_path = "/other.nbd";
  EXPECT_EQ(config_digest(mirror_wide_fields(here)), config_digest(mirror_wide_fields(there)));
  EXPECT_TRUE(config_differences(mirror_wide_fields(here), mirror_wide_fields(there)).empty());
  there.mode = Mode::kAsync;
  there.region_size = ByteCount{4096};
  const auto differences = config_differences(mirror_wide_fields(here), mirror_wide_fields(there));
  EXPECT_NE(config_digest(mirror_wide_fields(here)), config_digest(mirror_wide_fields(there)));
  EXPECT_THAT(differences, ::testing::Contains("mode: here \"sync\", there \"async\""));
  EXPECT_THAT(differences, ::testing::Contains("region_size: here \"64KiB\", there \"4KiB\""));
  EXPECT_THAT(config_differences(mirror_wide_fields(here), {}),
              ::testing::Contains("name: here \"data\", there nothing"));
}

TEST(ConfigDigest, ADifferenceIsNamedOnce) {
  const MirrorConfig here = parse_config(kGood, "t", "alpha").config->mirrors[0];
  MirrorConfig there = here;
  there.mode = Mode::kAsync;  // of the mirror, and so towards both nodes
  using ::testing::ElementsAre;
  EXPECT_THAT(config_differences(mirror_wide_fields(here), mirror_wide_fields(there)),
              ElementsAre("mode: here \"sync\", there \"async\""));
  there.nodes[1].mode = Mode::kMemsync;  // a difference of its own
  EXPECT_THAT(
      config_differences(mirror_wide_fields(here), mirror_wide_fields(there)),
      ElementsAre("mode: here \"sync\", there \"async\"", "node[1].mode: here \"sync\", there \"memsync\""));
  there.mode = Mode::kSync;
  EXPECT_THAT(config_differences(mirror_wide_fields(here), mirror_wide_fields(there)),
              ElementsAre("node[1].mode: here \"sync\", there \"memsync\""));
}

TEST(ConfigSet, AppliesByTheRulesOfTheFile) {
  MirrorConfig mirror = parse_config(kGood, "t", "alpha").config->mirrors[0];
  EXPECT_FALSE(apply_settings(mirror, {{"mode", "async"}}));
  EXPECT_EQ(mirror.mode, Mode::kAsync);
  EXPECT_FALSE(apply_settings(mirror, {{"queue_age_max_s", "2.5"}}));
  EXPECT_EQ(mirror.queue_age_max, Duration::milliseconds(2500));
  EXPECT_FALSE(apply_settings(mirror, {{"resync_rate_bytes_per_s_max", "50MiB"}}));
  EXPECT_FALSE(apply_settings(mirror, {{"hold_resync", "true"}}));
  EXPECT_TRUE(mirror.hold_resync);
  const auto bad = apply_settings(mirror, {{"mode", "fast"}});
  ASSERT_TRUE(bad);
  EXPECT_THAT(bad->text(), HasSubstr("\"memsync\""));
  EXPECT_EQ(mirror.mode, Mode::kAsync);
  EXPECT_THAT(apply_settings(mirror, {{"region_size", "4KiB"}})->text(), HasSubstr("cannot be changed"));
  EXPECT_THAT(apply_settings(mirror, {{"mod", "sync"}})->text(), HasSubstr("did you mean \"mode\"?"));
  EXPECT_THAT(apply_settings(mirror, {{"resync_rate_bytes_per_s_min", "60MiB"}})->text(), HasSubstr("below"));
  EXPECT_EQ(mirror.resync_rate_bytes_per_s_min, ByteCount{10u << 20});
  // In whatever order: they belong together.
  EXPECT_FALSE(apply_settings(
      mirror, {{"resync_rate_bytes_per_s_min", "60MiB"}, {"resync_rate_bytes_per_s_max", "70MiB"}}));
  EXPECT_FALSE(apply_settings(
      mirror, {{"resync_rate_bytes_per_s_max", "4MiB"}, {"resync_rate_bytes_per_s_min", "1MiB"}}));
}

TEST(ConfigAddress, Forms) {
  EXPECT_EQ(parse_tcp_address("[::1]:7789")->text(), "[::1]:7789");
  EXPECT_TRUE(parse_tcp_address("[::1]:7789")->loopback());
  EXPECT_TRUE(parse_tcp_address("127.9.9.9:1")->loopback());
  EXPECT_TRUE(parse_tcp_address("localhost:1")->loopback());
  EXPECT_FALSE(parse_tcp_address("127.evil.example:1")->loopback());
  EXPECT_FALSE(parse_tcp_address("db.example:1")->loopback());
  for (const char* bad : {"", ":1", "host", "host:", "host:65536", "host:-1", "::1:7789", "[::1:7789",
                          "a b:1", "host:1x", "1.2.3:1", "[1.2.3.4]:1"}) {
    EXPECT_FALSE(parse_tcp_address(bad)) << bad;
  }
}

}  // namespace
}  // namespace twinblock::control::test
