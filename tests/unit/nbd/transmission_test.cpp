// The transmission phase of a session: admission, payloads, drains, limits, goodbyes.
#include <gtest/gtest.h>

#include "tests/unit/nbd/harness.hpp"

namespace twinblock::nbd::test {
namespace {

Request make(Command command, std::uint64_t cookie, std::uint64_t offset, std::uint64_t length,
             ReplyForm form = ReplyForm::kSimple, std::uint16_t flags = 0) {
  return {command, flags, cookie, ByteOffset{offset}, ByteCount{length}, form};
}

class Transmission : public ::testing::Test {
 protected:
  TestCatalog catalog{{make_export("data", 64u << 20)}};
};

TEST_F(Transmission, RequestsComeOutAsSent) {
  for (const ReplyForm form : {ReplyForm::kSimple, ReplyForm::kStructured, ReplyForm::kExtended}) {
    Driver driver{catalog};
    driver.open(form);
    EXPECT_EQ(driver.session.form(), form);
    const std::vector<Request> sent = {make(Command::kRead, 0xfedcba9876543210, 4096, 8192, form),
                                       make(Command::kFlush, 2, 0, 0, form, kCommandFua),
                                       make(Command::kTrim, 3, 512, 1024, form),
                                       make(Command::kWriteZeroes, 3, 512, 64u << 19, form, kCommandNoHole),
                                       make(Command::kCache, 3, 512, 1024, form)};
    for (const Request& r : sent) driver.feed(header(r));
    EXPECT_EQ(driver.log.admitted, sent);
    EXPECT_TRUE(driver.log.refused.empty());
    EXPECT_TRUE(driver.log.output.empty());
  }
}

TEST_F(Transmission, PayloadGoesFromStashAndSocketInOrder) {
  for (const ReplyForm form : {ReplyForm::kSimple, ReplyForm::kExtended}) {
    Driver driver{catalog};
    driver.open(form);
    const std::uint16_t flags = form == ReplyForm::kExtended ? kCommandPayloadLen : 0;
    const std::string small = pattern(512, 1);
    const std::string large = pattern(3u << 20, 2);
    driver.feed(header(make(Command::kWrite, 1, 0, small.size(), form, flags)) + small +
                    header(make(Command::kWrite, 2, 4096, large.size(), form, flags)) + large +
                    header(make(Command::kFlush, 3, 0, 0, form)),
                100'000);
    ASSERT_EQ(driver.log.payloads.size(), 2u);
    EXPECT_TRUE(driver.log.payloads[0] == small);
    EXPECT_TRUE(driver.log.payloads[1] == large);
    EXPECT_EQ(driver.log.admitted.size(), 3u);
  }
}

TEST_F(Transmission, PayloadMayBeTakenInSegments) {
  Driver driver{catalog};
  driver.open(ReplyForm::kSimple);
  ServerSession& session = driver.session;
  const std::string data = pattern(1024);
  const std::string sent = header(make(Command::kWrite, 1, 0, 1024)) + data.substr(0, 700);
  std::memcpy(session.receive_space().data(), sent.data(), sent.size());
  session.received(sent.size());
  ASSERT_TRUE(std::holds_alternative<Admitted>(session.next()));
  EXPECT_EQ(session.payload_remaining(), ByteCount{1024});
  std::vector<std::byte> buffer(1024);
  EXPECT_EQ(session.take_payload(std::span{buffer}.first(512)), 512u);
  EXPECT_EQ(session.take_payload(std::span{buffer}.subspan(512)), 188u);
  EXPECT_EQ(session.take_payload(std::span{buffer}.subspan(700)), 0u);
  EXPECT_EQ(std::get<NeedPayload>(session.next()).remaining, ByteCount{324});
  session.payload_received(324);
  EXPECT_TRUE(std::holds_alternative<NeedBytes>(session.next()));
  EXPECT_EQ(to_string(buffer).substr(0, 700), data.substr(0, 700));
}

// A refused WRITE is drained, answered after its payload, and the next request is found.
TEST_F(Transmission, RefusedWritesAreDrained) {
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{5000}, SIZE_MAX}) {
    Driver driver{catalog};
    driver.open(ReplyForm::kSimple);
    const Request past_end = make(Command::kWrite, 1, 64u << 20, 4096);
    // The payload looks like requests; none of it may be taken for one.
    std::string payload;
    while (payload.size() < 4096) payload += header(make(Command::kFlush, 99, 0, 0));
    payload.resize(4096);
    driver.feed(header(past_end) + payload.substr(0, 4000), piece);
    EXPECT_TRUE(driver.log.refused.empty());
    driver.feed(payload.substr(4000) + header(make(Command::kFlush, 2, 0, 0)), piece);
    ASSERT_EQ(driver.log.refused.size(), 1u);
    EXPECT_EQ(driver.log.refused[0].request, past_end);
    EXPECT_EQ(driver.log.refused[0].status, Status::kNoSpace);
    ASSERT_EQ(driver.log.admitted.size(), 1u);
    EXPECT_EQ(driver.log.admitted[0].cookie, 2u);
  }
}

TEST_F(Transmission, PayloadOfAnUnknownExtendedCommandIsDrained) {
  Driver driver{catalog};
  driver.open(ReplyForm::kExtended);
  const Request odd = make(static_cast<Command>(55), 1, 0, 1000, ReplyForm::kExtended, kCommandPayloadLen);
  driver.feed(header(odd) + pattern(1000) + header(make(Command::kFlush, 2, 0, 0, ReplyForm::kExtended)), 9);
  ASSERT_EQ(driver.log.refused.size(), 1u);
  EXPECT_EQ(driver.log.refused[0].status, Status::kInvalid);
  EXPECT_EQ(driver.log.admitted.size(), 1u);
}

TEST_F(Transmission, RefusalsKeepTheConnection) {
  Driver driver{catalog};
  driver.open(ReplyForm::kSimple);
  driver.feed(header(make(Command::kRead, 1, 1, 512)) + header(make(static_cast<Command>(9), 2, 0, 512)) +
              header(make(Command::kRead, 3, 0, 512, ReplyForm::kSimple, 0x4000)) +
              header(make(Command::kBlockStatus, 4, 0, 512)) + header(make(Command::kRead, 5, 0, 512)));
  ASSERT_EQ(driver.log.refused.size(), 4u);
  for (const Refused& refused : driver.log.refused) EXPECT_EQ(refused.status, Status::kInvalid);
  EXPECT_EQ(driver.log.admitted.size(), 1u);
  EXPECT_FALSE(driver.log.dropped);
}

TEST_F(Transmission, BrokenFramingDrops) {
  const auto drop_reason = [&](ReplyForm form, const std::string& bytes) {
    Driver driver{catalog};
    driver.open(form);
    driver.feed(bytes);
    EXPECT_TRUE(driver.log.admitted.empty() && driver.log.refused.empty());
    return driver.log.dropped;
  };
  EXPECT_EQ(drop_reason(ReplyForm::kSimple, std::string(28, 'x')), errc::kBadRequestMagic);
  EXPECT_EQ(drop_reason(ReplyForm::kExtended, header(make(Command::kRead, 1, 0, 512)) + "abcd"),
            errc::kBadRequestMagic);
  EXPECT_EQ(drop_reason(ReplyForm::kSimple, header(make(Command::kWrite, 1, 0, (32u << 20) + 512))),
            errc::kPayloadTooLong);
  EXPECT_EQ(drop_reason(ReplyForm::kExtended, header(make(Command::kWrite, 1, 0, 512, ReplyForm::kExtended))),
            errc::kWriteWithoutPayloadFlag);
}

TEST_F(Transmission, AtMostInFlightMaxAreOutstanding) {
  Limits limits;
  limits.in_flight_max = 3;
  Driver driver{catalog, limits};
  driver.open(ReplyForm::kSimple);
  driver.answer_at_once = false;
  std::string bytes;
  // Refusals count as well: a client that reads no answers cannot pile them up.
  for (std::uint64_t i = 0; i < 5; ++i) bytes += header(make(Command::kRead, i, i % 2, 512));
  driver.feed(bytes);
  EXPECT_TRUE(driver.log.busy);
  EXPECT_EQ(driver.session.outstanding(), 3u);
  EXPECT_EQ(driver.log.events.size(), 3u);
  driver.session.request_done();
  driver.run();
  EXPECT_EQ(driver.log.events.size(), 4u);
  EXPECT_TRUE(driver.log.busy);
  driver.session.request_done();
  driver.session.request_done();
  driver.run();
  EXPECT_EQ(driver.log.events.size(), 5u);
  EXPECT_EQ(driver.session.outstanding(), 2u);
  EXPECT_FALSE(driver.log.busy);
}

TEST_F(Transmission, DisconnectLeavesOutstandingRequestsToFinish) {
  Driver driver{catalog};
  driver.open(ReplyForm::kSimple);
  driver.answer_at_once = false;
  driver.feed(header(make(Command::kRead, 1, 0, 512)) + header(make(Command::kDisconnect, 2, 0, 0)) +
              header(make(Command::kRead, 3, 0, 512)));
  EXPECT_TRUE(driver.log.disconnected);
  EXPECT_EQ(driver.log.admitted.size(), 1u);
  EXPECT_EQ(driver.session.outstanding(), 1u);
  driver.session.request_done();
  EXPECT_TRUE(std::holds_alternative<Disconnect>(driver.session.next()));
}

TEST_F(Transmission, AfterStopRequestsAreRefusedAndStillDrained) {
  Driver driver{catalog};
  driver.open(ReplyForm::kSimple);
  driver.feed(header(make(Command::kWrite, 1, 0, 512)) + pattern(100));
  driver.session.stop();
  // What was admitted goes on.
  driver.feed(pattern(412) + header(make(Command::kWrite, 2, 0, 512)) + pattern(512) +
              header(make(Command::kRead, 3, 0, 512)) + header(make(Command::kDisconnect, 4, 0, 0)));
  EXPECT_EQ(driver.log.payloads.at(0).size(), 512u);
  ASSERT_EQ(driver.log.refused.size(), 2u);
  for (const Refused& refused : driver.log.refused) EXPECT_EQ(refused.status, Status::kShutdown);
  EXPECT_TRUE(driver.log.disconnected);
}

TEST_F(Transmission, ShellMayGiveUpAWriteMidway) {
  Driver driver{catalog};
  driver.open(ReplyForm::kSimple);
  driver.answer_at_once = false;
  driver.feed(header(make(Command::kWrite, 1, 0, 2048)) + pattern(1000));
  driver.session.discard_payload(Status::kIo, "no longer the source");
  EXPECT_EQ(driver.session.payload_remaining(), ByteCount{0});
  driver.run();
  driver.feed(pattern(1048) + header(make(Command::kFlush, 2, 0, 0)));
  ASSERT_EQ(driver.log.refused.size(), 1u);
  EXPECT_EQ(driver.log.refused[0].status, Status::kIo);
  EXPECT_EQ(driver.log.refused[0].text, "no longer the source");
  EXPECT_EQ(driver.session.outstanding(), 2u);
}

TEST_F(Transmission, BlockStatusNeedsAContext) {
  Driver with{catalog};
  with.open(ReplyForm::kStructured, "data", {"base:allocation"});
  with.feed(header(make(Command::kBlockStatus, 1, 0, 4096, ReplyForm::kStructured)));
  EXPECT_EQ(with.log.admitted.size(), 1u);
  Driver without{catalog};
  without.open(ReplyForm::kStructured);
  without.feed(header(make(Command::kBlockStatus, 1, 0, 4096, ReplyForm::kStructured)));
  EXPECT_EQ(without.log.refused.size(), 1u);
}

TEST_F(Transmission, GrowthIsSeenByTheNextRequest) {
  Driver driver{catalog};
  driver.open(ReplyForm::kSimple);
  driver.feed(header(make(Command::kRead, 1, 64u << 20, 512)));
  driver.session.set_size(ByteCount{65u << 20});
  driver.feed(header(make(Command::kRead, 1, 64u << 20, 512)));
  EXPECT_EQ(driver.log.refused.size(), 1u);
  EXPECT_EQ(driver.log.admitted.size(), 1u);
}

}  // namespace
}  // namespace twinblock::nbd::test
