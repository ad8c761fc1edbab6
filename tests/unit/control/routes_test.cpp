// What each request means, without a socket.
#include "replicator/control/http_routes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/control/control_fixture.hpp"

namespace twinblock::control::test {
namespace {

using ::testing::HasSubstr;

Route route_of(std::string_view method, std::string_view target, std::string_view body = {},
               bool read_only = false) {
  return route_request({method, target, body, read_only}, {"alpha", "0.1.0"});
}

TEST(Routes, EveryResource) {
  EXPECT_EQ(route_of("GET", "/v1/status").kind, RouteKind::kStatus);
  EXPECT_EQ(route_of("GET", "/v1/status/data").command.mirror, "data");
  EXPECT_EQ(route_of("GET", "/metrics").kind, RouteKind::kMetrics);
  EXPECT_EQ(route_of("GET", "/v1/explain/data").command.verb, Verb::kExplain);
  EXPECT_EQ(route_of("GET", "/v1/metadata/data").command.verb, Verb::kMetadataDump);
  const Route events = route_of("GET", "/v1/events?since=18446744073709551615&wait_s=60");
  EXPECT_EQ(events.kind, RouteKind::kEvents);
  EXPECT_EQ(events.since, UINT64_MAX);
  EXPECT_EQ(events.wait_s, 60u);
  const Route promote = route_of("POST", "/v1/mirrors/data/promote", R"({"confirm_dead":"beta"})");
  EXPECT_EQ(promote.kind, RouteKind::kExecute);
  EXPECT_EQ(promote.command.verb, Verb::kPromote);
  EXPECT_EQ(promote.command.options.confirm_dead, "beta");
  EXPECT_THAT(route_of("GET", "/v1/version").response.body, HasSubstr(R"("daemon_version":"0.1.0")"));
}

TEST(Routes, WhatIsRefusedSaysWhy) {
  struct Case {
    const char* method;
    const char* target;
    const char* body;
    unsigned status;
  };
  const Case cases[] = {
      {"GET", "/", "", 404},
      {"GET", "", "", 404},
      {"GET", "http://evil/v1/status", "", 404},
      {"GET", "/v2/status", "", 404},
      {"GET", "/v1", "", 404},
      {"GET", "/v1/status/", "", 400},
      {"GET", "/v1/status/..", "", 400},
      {"GET", "/v1/status/a%2fb", "", 400},
      {"GET", "/v1/status/a/b", "", 404},
      {"GET", "/v1/status?x=1", "", 400},
      {"GET", "/v1/events?since=-1", "", 400},
      {"GET", "/v1/events?since=1x", "", 400},
      {"GET", "/v1/events?since=", "", 400},
      {"GET", "/v1/events?wait_s=61", "", 400},
      {"GET", "/v1/events?until=1", "", 400},
      {"POST", "/v1/status", "", 405},
      {"DELETE", "/metrics", "", 405},
      {"GET", "/v1/mirrors/data/promote", "", 405},
      {"POST", "/v1/mirrors/data/explode", "", 404},
      {"POST", "/v1/mirrors/da ta/up", "", 400},
      {"POST", "/v1/mirrors/data/up", "{", 400},
      {"POST", "/v1/mirrors/data/up", "[1]", 400},
      {"POST", "/v1/mirrors/data/promote", R"({"frce":true})", 400},
      {"POST", "/v1/mirrors/data", "", 404},
  };
  for (const auto& c : cases) {
    const Route route = route_of(c.method, c.target, c.body);
    EXPECT_EQ(route.kind, RouteKind::kRespond) << c.method << " " << c.target;
    EXPECT_EQ(route.response.status, c.status) << c.method << " " << c.target << route.response.body;
    const auto error = from_json<CommandResult>(route.response.body);
    ASSERT_TRUE(error) << route.response.body;
    EXPECT_FALSE(error->message.empty() || error->what_is_safe.empty() || error->next_step.empty());
  }
}

TEST(Routes, TheTcpPortOnlyReads) {
  EXPECT_EQ(route_of("GET", "/v1/status", "", true).kind, RouteKind::kStatus);
  EXPECT_EQ(route_of("POST", "/v1/mirrors/data/demote", "", true).response.status, 403u);
}

TEST(Routes, OutcomesHaveTheirHttpStatus) {
  EXPECT_EQ(answer_command({Outcome::kDone, "", "", "", ""}).status, 200u);
  EXPECT_EQ(answer_command({Outcome::kFailed, "", "", "", ""}).status, 500u);
  EXPECT_EQ(answer_command({Outcome::kUsage, "", "", "", ""}).status, 400u);
  EXPECT_EQ(answer_command({Outcome::kRefused, "", "", "", ""}).status, 409u);
  EXPECT_EQ(answer_command({Outcome::kNoSuchMirror, "", "", "", ""}).status, 404u);
}

TEST(Routes, MetricsCarryTheNumbersOfTheStatus) {
  const std::string text = prometheus_text({"alpha", "0.1.0", 5, {sample_mirror()}});
  constexpr const char* kInfo =
      "twinblock_mirror_info{mirror=\"data\",role=\"source\",state=\"Resyncing\",replica=\"uptodate\","
      "mode=\"memsync\"} 1\n";
  for (const char* line :
       {"# TYPE twinblock_peer_dirty_bytes gauge\n",
        "twinblock_peer_dirty_bytes{mirror=\"data\",peer=\"beta\"} 3221225472\n",
        "twinblock_peer_rpo_seconds{mirror=\"data\",peer=\"beta\"} 0.25\n",
        "twinblock_writes_total{mirror=\"data\"} 2\n", "twinblock_uptime_seconds 5\n", kInfo}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

}  // namespace
}  // namespace twinblock::control::test
