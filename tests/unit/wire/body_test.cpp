#include <gtest/gtest.h>

#include <cstring>
#include <memory>

#include "bitmap/superblock.hpp"
#include "tests/unit/wire/wire_samples.hpp"
#include "transport/wire/messages.hpp"

namespace twinblock::wire {
namespace {

using test::Bytes;

// One description of each body, so that every property is checked for all of them.
struct Hello {
  using Body = HelloBody;
  static Body random(Random& r) { return test::random_hello(r); }
  static Result<Body> decode(std::span<const std::byte> in) { return decode_hello(in); }
};
struct State {
  using Body = StateBody;
  static Body random(Random& r) { return test::random_state(r); }
  static Result<Body> decode(std::span<const std::byte> in) { return decode_state(in); }
};
struct Verdict {
  using Body = VerdictBody;
  static Body random(Random& r) { return test::random_verdict(r); }
  static Result<Body> decode(std::span<const std::byte> in) { return decode_verdict(in); }
};
struct SessionStart {
  using Body = SessionStartBody;
  static Body random(Random& r) { return test::random_session_start(r); }
  static Result<Body> decode(std::span<const std::byte> in) { return decode_session_start(in); }
};
struct SessionReady {
  using Body = SessionReadyBody;
  static Body random(Random& r) { return test::random_session_ready(r); }
  static Result<Body> decode(std::span<const std::byte> in) { return decode_session_ready(in); }
};
struct HistoryOnly {
  using Body = HistoryBody;
  static Body random(Random& r) { return test::random_history_body(r); }
  static Result<Body> decode(std::span<const std::byte> in) { return decode_history(in); }
};
struct Degrade {
  using Body = DegradeBody;
  static Body random(Random& r) { return test::random_degrade(r); }
  static Result<Body> decode(std::span<const std::byte> in) { return decode_degrade(in); }
};

template <class T>
class Body : public testing::Test {};
using AllBodies = testing::Types<Hello, State, Verdict, SessionStart, SessionReady, HistoryOnly, Degrade>;
TYPED_TEST_SUITE(Body, AllBodies);

TYPED_TEST(Body, RandomOnesRoundTrip) {
  Random random{11};
  for (int i = 0; i < 2000; ++i) {
    const auto body = TypeParam::random(random);
    const Bytes bytes = test::encoded(body);
    const auto decoded = TypeParam::decode(bytes);
    ASSERT_TRUE(decoded);
    EXPECT_EQ(*decoded, body);
    EXPECT_EQ(test::encoded(*decoded), bytes);
  }
}

// Each prefix lives in an allocation of its exact size, where a sanitizer sees a read beyond its end.
TYPED_TEST(Body, EveryTruncationIsRefused) {
  Random random{12};
  for (int i = 0; i < 20; ++i) {
    const Bytes bytes = test::encoded(TypeParam::random(random));
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      const auto prefix = std::make_unique<std::byte[]>(size);
      if (size != 0) std::memcpy(prefix.get(), bytes.data(), size);
      const auto decoded = TypeParam::decode({prefix.get(), size});
      ASSERT_FALSE(decoded) << size << " of " << bytes.size();
      ASSERT_EQ(decoded.error(), errc::bad_body);
    }
  }
}

TYPED_TEST(Body, FieldsOfALaterVersionAreIgnored) {
  Random random{13};
  for (int i = 0; i < 100; ++i) {
    const auto body = TypeParam::random(random);
    Bytes bytes = test::encoded(body);
    const Bytes more = test::random_bytes(random, 1 + random.below(64));
    bytes.insert(bytes.end(), more.begin(), more.end());
    const auto decoded = TypeParam::decode(bytes);
    ASSERT_TRUE(decoded);
    EXPECT_EQ(*decoded, body);
  }
}

TYPED_TEST(Body, RandomBytesNeverCrashAndDecodeOnlyToWhatEncodes) {
  Random random{14};
  for (int i = 0; i < 20000; ++i) {
    Bytes bytes = test::random_bytes(random, random.below(300));
    for (std::byte& b : bytes) {
      if (random.one_in(3)) b &= std::byte{1};
    }
    if (const auto decoded = TypeParam::decode(bytes)) {
      const Bytes again = test::encoded(*decoded);
      ASSERT_LE(again.size(), bytes.size());
      EXPECT_TRUE(std::equal(again.begin(), again.end(), bytes.begin()));
    }
  }
}

TYPED_TEST(Body, DamageNeverCrashesAndDecodesOnlyToWhatEncodes) {
  Random random{15};
  for (int i = 0; i < 2000; ++i) {
    Bytes bytes = test::encoded(TypeParam::random(random));
    bytes[random.below(bytes.size())] = static_cast<std::byte>(random.next() & 0xff);
    if (const auto decoded = TypeParam::decode(bytes)) {
      const Bytes again = test::encoded(*decoded);
      ASSERT_LE(again.size(), bytes.size());
      EXPECT_TRUE(std::equal(again.begin(), again.end(), bytes.begin()));
    }
  }
}

TYPED_TEST(Body, FitsTheLimitEvenAtItsLargest) {
  Random random{16};
  std::size_t size_max = 0;
  for (int i = 0; i < 2000; ++i) {
    size_max = std::max(size_max, test::encoded(TypeParam::random(random)).size());
  }
  EXPECT_LE(size_max, kBodySizeMax);
}

// Sets one byte of an encoded default body; true if it still decodes.
template <class T>
bool decodes_with(const typename T::Body& body, std::size_t at, unsigned value) {
  Bytes bytes = test::encoded(body);
  bytes.at(at) = static_cast<std::byte>(value);
  return T::decode(bytes).has_value();
}

TEST(StateBodyRanges, EachEnumerationHasItsBound) {
  struct Field {
    std::size_t at;
    unsigned max;
  };
  // Offsets of docs/internals/wire_protocol.md.
  for (const Field f : {Field{8, 1},
                        {9, 1},
                        {10, 3},
                        {11, 1},
                        {12, 1},
                        {13, 2},
                        {38, 3},
                        {39, 1},
                        {96, 1},
                        {97, kNodeCountMax - 1u},
                        {106, 2},
                        {131, 0}}) {
    for (unsigned v = 0; v < 256; ++v) {
      EXPECT_EQ(decodes_with<State>({}, f.at, v), v <= f.max) << "byte " << f.at << " value " << v;
    }
  }
}

TEST(StateBodyRanges, BoundsAreThoseOfTheSuperblock) {
  StateBody body;
  body.disk_state = static_cast<std::uint8_t>(bitmap::DiskState::failed);
  body.data_of_you = static_cast<std::uint8_t>(bitmap::PeerData::handed_over);
  body.resolution = static_cast<std::uint8_t>(bitmap::Resolution::discard);
  body.history.count = kHistoryMax;
  for (HistoryEntry& e : body.history.entries) {
    e = {1, 0, 0, static_cast<std::uint8_t>(bitmap::GenerationCause::rewind)};
  }
  EXPECT_TRUE(decode_state(test::encoded(body)));
  EXPECT_EQ(std::size_t{kHistoryMax}, bitmap::Superblock{}.generations.size());
  EXPECT_FALSE(decodes_with<State>(body, 10, body.disk_state + 1u));
  EXPECT_FALSE(decodes_with<State>(body, 38, body.data_of_you + 1u));
  EXPECT_FALSE(decodes_with<State>(body, 106, body.resolution + 1u));
  EXPECT_FALSE(decodes_with<State>(body, 132 + 24, body.history.entries[0].cause + 1u));
}

TEST(HistoryRanges, CountIsBounded) {
  HistoryBody body;
  body.history.count = kHistoryMax;
  for (HistoryEntry& e : body.history.entries) e.id = 7;
  Bytes bytes = test::encoded(body);
  bytes.resize(bytes.size() + 256 * 25);
  EXPECT_TRUE(decode_history(bytes));
  for (unsigned count = kHistoryMax + 1; count < 256; ++count) {
    bytes[0] = static_cast<std::byte>(count);
    EXPECT_FALSE(decode_history(bytes)) << count;
  }
}

TEST(HistoryRanges, GenerationZeroIsNone) {
  HistoryBody body;
  body.history.count = 1;
  body.history.entries[0].id = 1;
  EXPECT_TRUE(decodes_with<HistoryOnly>(body, 1, 1));
  EXPECT_FALSE(decodes_with<HistoryOnly>(body, 1, 0));
}

TEST(HelloRanges, VersionsNodeAndText) {
  HelloBody hello;
  hello.mirror_name = "data";
  hello.config_text = "mode=sync\n";
  EXPECT_FALSE(decodes_with<Hello>(hello, 0, 0));                  // versions begin at 1
  EXPECT_FALSE(decodes_with<Hello>(hello, 0, kProtocolMax + 1u));  // min above max
  EXPECT_TRUE(decodes_with<Hello>(hello, 2, 200));                 // a newer peer still introduces itself
  EXPECT_TRUE(decodes_with<Hello>(hello, 28, kNodeCountMax - 1u));
  EXPECT_FALSE(decodes_with<Hello>(hello, 28, kNodeCountMax));
  for (const unsigned control : {0u, 9u, 10u, 27u, 127u}) {
    EXPECT_FALSE(decodes_with<Hello>(hello, 67, control)) << control;
  }
  EXPECT_TRUE(decodes_with<Hello>(hello, 73, '\n'));
  EXPECT_FALSE(decodes_with<Hello>(hello, 73, 27));
}

TEST(HelloRanges, TextLengthsAreBounded) {
  HelloBody hello;
  hello.mirror_name = std::string(kNameMax, 'n');
  hello.config_text = std::string(kConfigTextMax, 'c');
  Bytes bytes = test::encoded(hello);
  ASSERT_TRUE(decode_hello(bytes));
  bytes.resize(bytes.size() + 8);
  bytes[65] = std::byte{kNameMax + 1};
  EXPECT_FALSE(decode_hello(bytes));
  bytes[65] = std::byte{kNameMax};
  bytes[67 + kNameMax] = std::byte{1};  // 4097
  EXPECT_FALSE(decode_hello(bytes));
}

TEST(BodyDeathTest, OurOwnInvalidBodyIsABug) {
  Bytes out(kBodySizeMax);
  HelloBody hello;
  hello.mirror_name = std::string(kNameMax + 1, 'n');
  EXPECT_DEATH(encode(hello, out), "assertion failed");
  VerdictBody verdict;
  verdict.leader = kNodeCountMax;
  EXPECT_DEATH(encode(verdict, out), "assertion failed");
  EXPECT_DEATH(encode(SessionReadyBody{}, std::span{out}.first(7)), "assertion failed");
}

TEST(ReasonText, IsSafeForALog) {
  EXPECT_EQ(reason_text(test::bytes_of("sizes differ")), "sizes differ");
  EXPECT_EQ(reason_text(test::bytes_of("a\x1b[2J\nb\x7f")), "a?[2J?b?");
  EXPECT_EQ(reason_text({}), "");
  EXPECT_EQ(reason_text(Bytes(kReasonMax + 1, std::byte{'x'})).size(), kReasonMax);
}

}  // namespace
}  // namespace twinblock::wire
