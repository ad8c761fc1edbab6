#include "replicator/engine/explain.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using testing::HasSubstr;
using testing::Not;
namespace bitmap = twinblock::bitmap;
namespace control = twinblock::control;
namespace core = twinblock::core;
using twinblock::GenerationId;
using twinblock::SequenceNumber;
using twinblock::engine::explain_text;

control::MirrorConfig config() {
  control::MirrorConfig c;
  c.name = "data";
  c.nodes.resize(2);
  c.nodes[0].name = "alpha";
  c.nodes[1].name = "beta";
  c.local = 0;
  return c;
}

bitmap::Superblock superblock() {
  bitmap::Superblock s;
  s.disk_state = bitmap::DiskState::consistent;
  s.push_generation(GenerationId{0x1111}, SequenceNumber{1}, bitmap::GenerationCause::created);
  s.push_generation(GenerationId{0x2222}, SequenceNumber{77}, bitmap::GenerationCause::degraded);
  s.peers[1].identity = 5;
  s.peers[1].data = bitmap::PeerData::lacks;
  s.peers[1].base_generation = GenerationId{0x1111};
  return s;
}

TEST(ExplainText, ShowsTheHistoryWhatThePeerLacksAndWhatACommandWouldDo) {
  core::MirrorSnapshot snapshot;
  snapshot.promote_refusal = core::Refusal::peer_may_have_more;
  snapshot.verdict_rule = 61;
  snapshot.would_lose_bytes = 3 << 20;
  const auto text = explain_text(superblock(), config(), snapshot, "no link to beta");
  EXPECT_THAT(text, HasSubstr("why         no link to beta"));
  EXPECT_LT(text.find("0000000000002222  degraded  #77"), text.find("0000000000001111  created  #1"));
  EXPECT_THAT(text, HasSubstr("beta        lacks writes that are here"));
  EXPECT_THAT(text, HasSubstr("row 61"));
  EXPECT_THAT(text, HasSubstr("3.00 MiB at most"));
  EXPECT_THAT(text, HasSubstr("twinblock promote data --confirm-dead beta"));
  snapshot.promote_refusal = core::Refusal::none;
  EXPECT_THAT(explain_text(superblock(), config(), snapshot, ""),
              HasSubstr("allowed: twinblock promote data"));
}

TEST(ExplainText, ShowsWhatThePeerSaidOfItself) {
  twinblock::wire::StateBody said;
  said.disk_state = static_cast<std::uint8_t>(bitmap::DiskState::consistent);
  said.term_own = 513;
  said.dirty_regions = 3;
  said.history.count = 1;
  said.history.entries[0] = {0x3333, 0x1111, 99,
                             static_cast<std::uint8_t>(bitmap::GenerationCause::degraded)};
  core::MirrorSnapshot snapshot;
  snapshot.peer_said_at = twinblock::Instant{1'000'000'000};
  snapshot.verdict_rule = 62;
  const twinblock::Instant now{201'500'000'000};
  const auto text = explain_text(superblock(), config(), snapshot, "", &said, now);
  EXPECT_THAT(text,
              HasSubstr("beta said   3m20s ago, at the handshake: copy consistent, own term 513; it would "
                        "have lost 192 KiB at most"));
  EXPECT_THAT(text, HasSubstr("the last one, 3m20s ago, was judged by row 62"));
  EXPECT_THAT(text, HasSubstr("to copy     now 0 B may differ from beta"));
  EXPECT_THAT(text, HasSubstr("to lose     now 0 B at most"));
  EXPECT_THAT(text, HasSubstr("0000000000003333  degraded  #99"));
  const auto json =
      twinblock::engine::explain_json(superblock(), twinblock::NodeIndex{1}, snapshot, &said, now);
  EXPECT_THAT(json, HasSubstr("\"peer_said\":{\"age_s\":200,"));
  EXPECT_THAT(json, HasSubstr("\"would_lose_bytes\":196608"));
}

TEST(ExplainText, OfAMirrorThatIsDownOrWasNeverFilled) {
  const auto text = explain_text(bitmap::Superblock{}, config(), std::nullopt, "it is not up");
  EXPECT_THAT(text, HasSubstr("never filled"));
  EXPECT_THAT(text, HasSubstr("never met"));
  EXPECT_THAT(text, HasSubstr("not while the mirror is not up"));
  EXPECT_THAT(text, Not(HasSubstr("handshake")));
}

}  // namespace
