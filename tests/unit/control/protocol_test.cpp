// The API's structs survive their own JSON, and what is not theirs is refused with words.
#include "replicator/control/protocol.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "replicator/control/protocol_text.hpp"
#include "tests/unit/control/control_fixture.hpp"

namespace twinblock::control::test {
namespace {

using ::testing::HasSubstr;

TEST(Protocol, StatusRoundTrip) {
  StatusReply status{"alpha", "0.1.0", 5, {sample_mirror(), MirrorStatus{}}};
  status.mirrors[1].name = "empty";
  status.mirrors[1].frozen = true;
  status.mirrors[1].frozen_reason = "no quorum \"yet\"\n";
  status.mirrors[0].peers[0].resync->eta_s.reset();
  status.mirrors[1].resolution = Resolution::kKeep;
  status.mirrors[0].peers[0].resolution = Resolution::kDiscard;
  const auto back = from_json<StatusReply>(to_json(status));
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, status);
}

TEST(Protocol, StatusHasTheNamesThatUsersParse) {
  const std::string json = to_json(StatusReply{"alpha", "0.1.0", 5, {sample_mirror()}});
  for (const char* part :
       {R"("version":1)", R"("state":"Resyncing")", R"("generation":"0123456789abcdef")",
        R"("role":"source")",
        R"("resync":{"done_bytes":1073741824,"total_bytes":4294967296,"rate":314572800,"eta_s":10,)"
        R"("sent_bytes":943718400,"zero_bytes":130023424})",
        R"("resync_sent_bytes":6,"resync_zero_bytes":7)", R"("link":"resyncing")",
        R"("promotion_score":1000)", R"("redundancy":1)", R"("queue_bytes":65536)"}) {
    EXPECT_THAT(json, HasSubstr(part));
  }
}

TEST(Protocol, MirrorRoundTripKeepsExtremeNumbers) {
  MirrorStatus mirror = sample_mirror();
  mirror.size = UINT64_MAX;
  mirror.generation = UINT64_MAX;
  mirror.promotion_score = INT32_MIN;
  const auto back = from_json<MirrorStatus>(to_json(mirror));
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, mirror);
}

TEST(Protocol, CommandRoundTripForEveryVerb) {
  for (int i = 0; i <= static_cast<int>(Verb::kMetadataDump); ++i) {
    Command command{static_cast<Verb>(i), "data", {}};
    command.options.confirm_dead = "beta";
    command.options.force = command.options.full = command.options.source = true;
    command.options.size_bytes = 1u << 30;
    command.options.resolution = Resolution::kDiscard;
    command.options.node = "beta";
    command.options.settings = {{"mode", "async"}, {"queue_age_max_s", "5"}};
    command.options.timeout_s = 9;
    const auto back = from_json<Command>(to_json(command));
    ASSERT_TRUE(back) << to_json(command);
    EXPECT_EQ(*back, command);
    EXPECT_EQ(parse_word<Verb>(to_string(command.verb)), command.verb);
  }
}

TEST(Protocol, ResultAndEventsRoundTrip) {
  const CommandResult result{Outcome::kRefused, "no", "beta is uptodate", "twinblock status",
                             R"({"a":[1,2]})"};
  const auto result_back = from_json<CommandResult>(to_json(result));
  ASSERT_TRUE(result_back);
  EXPECT_EQ(*result_back, result);

  const EventBatch batch{
      {{7, 1700000000123, "data", "link.down", Severity::kWarning, "gone", {{"peer", "beta"}}}}, 7, 3};
  const auto batch_back = from_json<EventBatch>(to_json(batch));
  ASSERT_TRUE(batch_back);
  EXPECT_EQ(*batch_back, batch);
  const auto event_back = from_json<Event>(to_json(batch.events[0]));
  ASSERT_TRUE(event_back);
  EXPECT_EQ(*event_back, batch.events[0]);
}

TEST(Protocol, DataThatIsNotJsonArrivesAsText) {
  const CommandResult result{Outcome::kDone, "", "", "", "half { json"};
  EXPECT_THAT(to_json(result), HasSubstr(R"("data":"half { json")"));
}

TEST(Protocol, BytesThatAreNoUtf8DoNotSpoilTheAnswer) {
  const CommandResult result{Outcome::kFailed, "a\x8a\xc3\xa4\xed\xa0\x80\xf0\x9f\x98\x80\xe2\x82", "", "",
                             "{\"\xff"};
  const auto back = from_json<CommandResult>(to_json(result));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->message, "a?\xc3\xa4???\xf0\x9f\x98\x80??");
}

TEST(Protocol, BadOptionsAreRefusedWithTheField) {
  struct Case {
    const char* text;
    errc code;
    const char* part;
  };
  const Case cases[] = {
      {"{", errc::kBadJson, "not JSON"},
      {"[]", errc::kBadJson, "not an object"},
      {"nonsense", errc::kBadJson, "not JSON"},
      {"{} {}", errc::kBadJson, "not JSON"},
      {R"({"confirm_daed":"beta"})", errc::kUnknownField, "confirm_daed"},
      {R"({"force":"yes"})", errc::kBadField, "force must be true or false"},
      {R"({"size_bytes":-1})", errc::kBadField, "size_bytes"},
      {R"({"size_bytes":1.5})", errc::kBadField, "size_bytes"},
      {R"({"timeout_s":99999999999})", errc::kBadField, "timeout_s"},
      {R"({"resolution":"merge"})", errc::kBadField, "merge"},
      {R"({"settings":["mode"]})", errc::kBadField, "settings"},
      {R"({"settings":{"mode":1}})", errc::kBadField, "settings"},
  };
  for (const auto& c : cases) {
    std::string problem;
    const auto options = from_json<CommandOptions>(c.text, &problem);
    ASSERT_FALSE(options) << c.text;
    EXPECT_EQ(options.error(), make_error_code(c.code)) << c.text;
    EXPECT_THAT(problem, HasSubstr(c.part)) << c.text;
  }
  EXPECT_TRUE(from_json<CommandOptions>(" \n"));
  EXPECT_FALSE(from_json<CommandOptions>(std::string(100'000, '[')));
}

TEST(Protocol, AnotherVersionIsNotGuessedAt) {
  std::string problem;
  EXPECT_EQ(from_json<StatusReply>(R"({"version":2,"node":"a"})", &problem).error(),
            make_error_code(errc::kWrongVersion));
  EXPECT_EQ(from_json<StatusReply>(R"({"node":"a"})").error(), make_error_code(errc::kMissingField));
}

TEST(Protocol, ProblemsNameTheElement) {
  std::string json = to_json(StatusReply{"alpha", "0.1.0", 5, {sample_mirror()}});
  json.replace(json.find("\"inconsistent\""), 14, "\"perhaps\"");
  std::string problem;
  EXPECT_FALSE(from_json<StatusReply>(json, &problem));
  EXPECT_THAT(problem, HasSubstr("mirrors[0].peers[0].replica"));
}

TEST(Protocol, ValidNames) {
  for (const char* good : {"data", "a", "db-1.main_2"}) EXPECT_TRUE(valid_name(good)) << good;
  for (const char* bad : {"", ".", "..", "-x", "a/b", "a b", "a\"", "\xc3\xa4"})
    EXPECT_FALSE(valid_name(bad)) << bad;
  EXPECT_FALSE(valid_name(std::string(65, 'a')));
}

TEST(ProtocolText, Sizes) {
  EXPECT_EQ(parse_size("0"), 0u);
  EXPECT_EQ(parse_size("64KiB"), 65536u);
  EXPECT_EQ(parse_size("256 MiB"), 256u << 20);
  EXPECT_EQ(parse_size("1.5GiB"), 3ull << 29);
  EXPECT_EQ(parse_size("2TiB"), 2ull << 40);
  for (const char* bad : {"", "KiB", "1.", ".5KiB", "-1", "64KB", "64kib", "1.3B", "0x10", "99999999999TiB",
                          "1 2", "1.0.0", "9223372036854775808"}) {
    EXPECT_FALSE(parse_size(bad)) << bad;
  }
  for (const std::uint64_t size : {0ull, 1ull, 1000ull, 65536ull, 3ull << 29, 5ull << 40}) {
    EXPECT_EQ(parse_size(exact_size(size)), size);
  }
  EXPECT_EQ(exact_size(65536), "64KiB");
  EXPECT_EQ(human_size(1'572'864'000), "1.46 GiB");
  EXPECT_EQ(human_size(512), "512 B");
  EXPECT_EQ(human_seconds(3 * 3600 + 5 * 60), "3h05m");
}

}  // namespace
}  // namespace twinblock::control::test
