// The handshake, byte for byte.
#include <gtest/gtest.h>

#include "tests/unit/nbd/harness.hpp"

namespace twinblock::nbd::test {
namespace {

const std::string kGreeting = Bytes{}.text("NBDMAGICIHAVEOPT").u16(3).str();
// HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES, MULTI_CONN, CACHE, FAST_ZERO.
constexpr std::uint64_t kUsualFlags = 0x1 | 0x4 | 0x8 | 0x20 | 0x40 | 0x100 | 0x400 | 0x800;
constexpr std::uint64_t kDfFlag = 0x80;

std::string info_export(Option o, std::uint64_t size, std::uint64_t flags) {
  return option_reply(o, OptionReply::kInfo, Bytes{}.u16(0).u64(size).u16(flags).str());
}
std::string info_blocks(Option o, std::uint64_t min = 512) {
  return option_reply(o, OptionReply::kInfo, Bytes{}.u16(3).u32(min).u32(4096).u32(32u << 20).str());
}

class Handshake : public ::testing::Test {
 protected:
  Handshake() : catalog{exports()} {}
  static std::vector<ExportInfo> exports() {
    ExportInfo data = make_export("data");
    data.description = "first mirror";
    ExportInfo target = make_export("elsewhere");
    target.refusal = "this node is a target of mirror elsewhere; its source is alpha";
    return {data, target};
  }
  // The output after the greeting.
  std::string talk(std::string_view bytes) {
    Driver fresh{catalog, limits};
    EXPECT_EQ(fresh.log.output, kGreeting);
    fresh.log.output.clear();
    fresh.feed(bytes);
    log = fresh.log;
    done = fresh.session.handshake_done();
    return log.output;
  }
  std::string text_of(OptionReply type, Option o) {
    // 20 bytes of header, then a sentence.
    EXPECT_EQ(log.output.substr(8, 8),
              Bytes{}.u32(static_cast<std::uint32_t>(o)).u32(static_cast<std::uint32_t>(type)).str());
    return log.output.substr(20);
  }

  TestCatalog catalog;
  Limits limits;
  Transcript log;
  bool done = false;
};

TEST_F(Handshake, ExportNameEndsItWithSizeFlagsAndZeroes) {
  const std::string head = Bytes{}.u64(1u << 20).u16(kUsualFlags).str();
  EXPECT_EQ(talk(client_flags(3) + option(Option::kExportName, "data")), head);
  EXPECT_TRUE(done);
  EXPECT_EQ(talk(client_flags(1) + option(Option::kExportName, "data")), head + std::string(124, '\0'));
  EXPECT_EQ(talk(client_flags(0) + option(Option::kExportName, "")), head + std::string(124, '\0'));
  EXPECT_EQ(log.events, std::vector<std::string>{"opened data"});
}

TEST_F(Handshake, ExportNameThatCannotBeServedDrops) {
  for (const char* name : {"nobody", "elsewhere"}) {
    EXPECT_EQ(talk(client_flags() + option(Option::kExportName, name)), "");
    EXPECT_EQ(log.dropped, errc::kExportRefused);
    EXPECT_FALSE(done);
  }
  const std::string extended = client_flags() + option(Option::kExtendedHeaders);
  talk(extended + option(Option::kExportName, "data"));
  EXPECT_EQ(log.dropped, errc::kExportNameAfterExtendedHeaders);
}

TEST_F(Handshake, AbortIsAcknowledgedThenCloses) {
  EXPECT_EQ(talk(client_flags() + option(Option::kAbort)), option_reply(Option::kAbort, OptionReply::kAck));
  EXPECT_TRUE(log.disconnected);
}

TEST_F(Handshake, ListNamesEveryExportOpenOrNot) {
  EXPECT_EQ(
      talk(client_flags() + option(Option::kList)),
      option_reply(Option::kList, OptionReply::kServer, Bytes{}.string("data").text("first mirror").str()) +
          option_reply(Option::kList, OptionReply::kServer, Bytes{}.string("elsewhere").str()) +
          option_reply(Option::kList, OptionReply::kAck));
  talk(client_flags() + option(Option::kList, "x"));
  EXPECT_EQ(text_of(OptionReply::kErrInvalid, Option::kList), "LIST takes no data");
}

TEST_F(Handshake, GoWithoutWishesSendsExportAndBlockSizes) {
  EXPECT_EQ(talk(client_flags() + option(Option::kGo, go_data("data"))),
            info_export(Option::kGo, 1u << 20, kUsualFlags) + info_blocks(Option::kGo) +
                option_reply(Option::kGo, OptionReply::kAck));
  EXPECT_TRUE(done);
}

TEST_F(Handshake, InfoAnswersWishesAndStaysInHaggling) {
  const std::string info =
      info_export(Option::kInfo, 1u << 20, kUsualFlags) +
      option_reply(Option::kInfo, OptionReply::kInfo, Bytes{}.u16(1).text("data").str()) +
      option_reply(Option::kInfo, OptionReply::kInfo, Bytes{}.u16(2).text("first mirror").str()) +
      info_blocks(Option::kInfo) + option_reply(Option::kInfo, OptionReply::kAck);
  const std::string ask = option(Option::kInfo, go_data("", {1, 2, 3, 999}));
  EXPECT_EQ(talk(client_flags() + ask + ask), info + info);
  EXPECT_FALSE(done);
}

TEST_F(Handshake, UnknownAndClosedExportsAreRefusedWithAReason) {
  talk(client_flags() + option(Option::kGo, go_data("nobody")));
  EXPECT_EQ(text_of(OptionReply::kErrUnknown, Option::kGo), "no such export");
  talk(client_flags() + option(Option::kGo, go_data("elsewhere")));
  EXPECT_EQ(text_of(OptionReply::kErrPolicy, Option::kGo),
            "this node is a target of mirror elsewhere; its source is alpha");
  EXPECT_FALSE(done);
  // The connection goes on.
  EXPECT_FALSE(log.dropped);
  talk(client_flags() + option(Option::kInfo, go_data("elsewhere")));
  text_of(OptionReply::kErrPolicy, Option::kInfo);
}

TEST_F(Handshake, MalformedGoIsInvalid) {
  const std::string good = go_data("data", {1, 3});
  for (const std::string& data :
       {std::string{}, good.substr(0, 3), good.substr(0, 6), good.substr(0, 9),
        good.substr(0, good.size() - 1), good + "x", Bytes{}.u32(0xffffffff).u16(0).str(),
        Bytes{}.string(std::string(4097, 'n')).u16(0).str()}) {
    talk(client_flags() + option(Option::kGo, data));
    EXPECT_EQ(text_of(OptionReply::kErrInvalid, Option::kGo), "malformed INFO or GO");
  }
}

TEST_F(Handshake, StructuredRepliesTurnOnDf) {
  EXPECT_EQ(talk(client_flags() + option(Option::kStructuredReply) + option(Option::kGo, go_data("data"))),
            option_reply(Option::kStructuredReply, OptionReply::kAck) +
                info_export(Option::kGo, 1u << 20, kUsualFlags | kDfFlag) + info_blocks(Option::kGo) +
                option_reply(Option::kGo, OptionReply::kAck));
}

TEST_F(Handshake, ExtendedHeadersExcludeStructuredAfterwards) {
  const std::string ack = option_reply(Option::kExtendedHeaders, OptionReply::kAck);
  talk(client_flags() + option(Option::kExtendedHeaders) + option(Option::kStructuredReply));
  EXPECT_EQ(log.output.substr(0, ack.size()), ack);
  EXPECT_EQ(log.output.substr(ack.size() + 12, 4), Bytes{}.u32(0x8000000a).str());
  talk(client_flags() + option(Option::kStructuredReply) + option(Option::kExtendedHeaders));
  EXPECT_EQ(log.output, option_reply(Option::kStructuredReply, OptionReply::kAck) + ack);
  talk(client_flags() + option(Option::kExtendedHeaders, "x"));
  text_of(OptionReply::kErrInvalid, Option::kExtendedHeaders);
}

TEST_F(Handshake, UnknownOptionsAndStartTlsAreDeclinedAndSkipped) {
  talk(client_flags() + option(static_cast<Option>(77), "abcdef") + option(Option::kAbort));
  EXPECT_EQ(log.output.substr(8, 8), Bytes{}.u32(77).u32(0x80000001).str());
  EXPECT_TRUE(log.disconnected);
  talk(client_flags() + option(Option::kStartTls));
  text_of(OptionReply::kErrUnsupported, Option::kStartTls);
  limits.start_tls = StartTlsAnswer::kPolicy;
  talk(client_flags() + option(Option::kStartTls));
  text_of(OptionReply::kErrPolicy, Option::kStartTls);
}

TEST_F(Handshake, MetaContextsNeedStructuredReplies) {
  talk(client_flags() + option(Option::kSetMetaContext, context_data("data", {"base:allocation"})));
  text_of(OptionReply::kErrInvalid, Option::kSetMetaContext);
}

TEST_F(Handshake, ListMetaContextsWithWildcards) {
  const std::string ack = option_reply(Option::kStructuredReply, OptionReply::kAck);
  const auto list = [&](const std::vector<std::string>& queries) {
    talk(client_flags() + option(Option::kStructuredReply) +
         option(Option::kListMetaContext, context_data("data", queries)));
    return log.output.substr(ack.size());
  };
  const Option o = Option::kListMetaContext;
  const std::string allocation =
      option_reply(o, OptionReply::kMetaContext, Bytes{}.u32(0).text("base:allocation").str());
  const std::string dirty =
      option_reply(o, OptionReply::kMetaContext, Bytes{}.u32(0).text("x-twinblock:dirty").str());
  const std::string end = option_reply(o, OptionReply::kAck);
  EXPECT_EQ(list({}), allocation + dirty + end);
  EXPECT_EQ(list({"base:"}), allocation + end);
  EXPECT_EQ(list({"x-twinblock:", "x-twinblock:dirty"}), dirty + end);
  EXPECT_EQ(list({"qemu:dirty-bitmap:a"}), end);
}

TEST_F(Handshake, SetMetaContextSelectsExactNamesAndReplaces) {
  Driver driver{catalog};
  driver.feed(client_flags() + option(Option::kStructuredReply));
  driver.log = {};
  driver.feed(
      option(Option::kSetMetaContext, context_data("data", {"base:allocation", "x-twinblock:dirty"})));
  const Option o = Option::kSetMetaContext;
  EXPECT_EQ(driver.log.output,
            option_reply(o, OptionReply::kMetaContext, Bytes{}.u32(1).text("base:allocation").str()) +
                option_reply(o, OptionReply::kMetaContext, Bytes{}.u32(2).text("x-twinblock:dirty").str()) +
                option_reply(o, OptionReply::kAck));
  driver.log = {};
  driver.feed(option(o, context_data("data", {"base:", "x-twinblock:dirty"})));
  EXPECT_EQ(driver.log.output,
            option_reply(o, OptionReply::kMetaContext, Bytes{}.u32(2).text("x-twinblock:dirty").str()) +
                option_reply(o, OptionReply::kAck));
  driver.feed(option(Option::kGo, go_data("data")));
  EXPECT_FALSE(driver.session.contexts().contains(MetaContext::kAllocation));
  EXPECT_TRUE(driver.session.contexts().contains(MetaContext::kDirty));
}

TEST_F(Handshake, ContextsOfAnotherExportOrOfAFailedSelectionDoNotCount) {
  const TestCatalog two{{make_export("data"), make_export("other")}};
  const std::string set = option(Option::kSetMetaContext, context_data("other", {"base:allocation"}));
  const std::string fail = option(Option::kSetMetaContext, context_data("nobody", {"base:allocation"}));
  for (const auto& [name, extra, selected] :
       {std::tuple{"other", std::string{}, true}, std::tuple{"data", std::string{}, false},
        std::tuple{"other", fail, false}}) {
    Driver driver{two};
    driver.feed(client_flags() + option(Option::kStructuredReply) + set + extra);
    driver.feed(option(Option::kGo, go_data(name)));
    EXPECT_EQ(!driver.session.contexts().empty(), selected);
  }
}

TEST_F(Handshake, ResetForgetsEverythingAgreedInClearText) {
  Negotiation negotiation{catalog, limits};
  std::vector<std::byte> out(4 * kNegotiationOutputMax);
  ByteWriter writer{out};
  EXPECT_EQ(negotiation.option(11, {}, writer).next, Negotiation::Next::kOption);
  EXPECT_EQ(negotiation.form(), ReplyForm::kExtended);
  negotiation.reset();
  EXPECT_EQ(negotiation.form(), ReplyForm::kSimple);
  EXPECT_TRUE(negotiation.contexts().empty());
}

TEST_F(Handshake, FeaturesBecomeFlags) {
  ExportInfo info = make_export("data");
  info.features = {.read_only = true, .rotational = true};
  catalog = TestCatalog{{info}};
  EXPECT_EQ(talk(client_flags() + option(Option::kExportName, "data")),
            Bytes{}.u64(1u << 20).u16(0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x100 | 0x400).str());
}

TEST_F(Handshake, HostileFramingDrops) {
  talk(client_flags(4));
  EXPECT_EQ(log.dropped, errc::kUnknownClientFlags);
  talk(client_flags() + "GET / HTTP/1.1\r\n");
  EXPECT_EQ(log.dropped, errc::kBadOptionMagic);
  talk(client_flags() + Bytes{}.u64(kOptionMagic).u32(6).u32((1u << 20) + 1).str());
  EXPECT_EQ(log.dropped, errc::kOptionTooLong);
  std::string many = client_flags();
  for (int i = 0; i < 33; ++i) many += option(Option::kStructuredReply);
  EXPECT_EQ(talk(many).size(), 32 * 20u);
  EXPECT_EQ(log.dropped, errc::kTooManyOptions);
}

TEST_F(Handshake, LongOptionsAreSkippedAndAnswered) {
  talk(client_flags() + option(Option::kGo, std::string(100000, 'x')) + option(Option::kAbort));
  EXPECT_EQ(log.output.substr(8, 8), Bytes{}.u32(7).u32(0x80000009).str());
  EXPECT_TRUE(log.disconnected);
  talk(client_flags() + option(Option::kExportName, std::string(100000, 'x')));
  EXPECT_EQ(log.dropped, errc::kExportRefused);
}

TEST_F(Handshake, StoppingServerRefusesOptions) {
  Driver driver{catalog};
  driver.feed(client_flags());
  driver.session.stop();
  driver.log = {};
  driver.feed(option(Option::kGo, go_data("data")));
  EXPECT_EQ(driver.log.output.substr(8, 8), Bytes{}.u32(7).u32(0x80000007).str());
  driver.feed(option(Option::kAbort));
  EXPECT_TRUE(driver.log.disconnected);
}

TEST_F(Handshake, LongestTextsFitTheOutput) {
  ExportInfo info = make_export(std::string(4096, 'n'));
  info.description = std::string(9000, 'd');
  catalog = TestCatalog{{info}};
  const std::string got =
      talk(client_flags() + option(Option::kList) + option(Option::kGo, go_data(info.name, {1, 2})));
  EXPECT_TRUE(done);
  EXPECT_GT(got.size(), 4 * 4096u);
}

}  // namespace
}  // namespace twinblock::nbd::test
