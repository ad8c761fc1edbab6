#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/unit/wire/wire_samples.hpp"
#include "transport/wire/messages.hpp"

namespace twinblock::wire {
namespace {

using test::Bytes;

Result<Header> decode(const Bytes& bytes) {
  return decode_header(std::span<const std::byte>{bytes}.first<kHeaderSize>());
}

ErrorCode error_of(const Bytes& bytes) {
  const auto decoded = decode(bytes);
  return decoded ? ErrorCode{} : decoded.error();
}

// The header of a peer that hashes correctly but breaks a rule.
Bytes forged(const Header& valid, std::size_t at, std::initializer_list<unsigned> values) {
  Bytes bytes = test::header_bytes(valid);
  for (const unsigned v : values) bytes[at++] = static_cast<std::byte>(v);
  test::rehash(bytes);
  return bytes;
}

Header bare(Type type) {
  Header h;
  h.type = type;
  return h;
}

Header ranged(Type type, std::uint64_t offset, std::uint32_t length) {
  Header h;
  h.type = type;
  h.offset = offset;
  h.length = length;
  if (type == Type::write || type == Type::read_reply) h.wire_length = length;
  return h;
}

TEST(Header, EveryTypeRoundTrips) {
  Random random{1};
  for (const Type type : test::kAllTypes) {
    for (int i = 0; i < 200; ++i) {
      const test::Message m = test::random_message(random, type, 64);
      const auto decoded = decode(test::header_bytes(m.header));
      ASSERT_TRUE(decoded) << name(type) << ": " << decoded.error().message();
      EXPECT_EQ(*decoded, m.header) << name(type);
    }
  }
}

TEST(Header, EverySingleByteFlipIsAnError) {
  Random random{2};
  for (const Type type : test::kAllTypes) {
    const Bytes good = test::header_bytes(test::random_message(random, type, 64).header);
    for (std::size_t at = 0; at < good.size(); ++at) {
      for (unsigned flip = 1; flip < 256; ++flip) {
        Bytes bad = good;
        bad[at] ^= static_cast<std::byte>(flip);
        const ErrorCode expected = at < 4 ? errc::bad_magic : errc::bad_header_hash;
        ASSERT_EQ(error_of(bad), expected) << name(type) << " byte " << at << " flip " << flip;
      }
    }
  }
}

TEST(Header, RandomBytesNeverDecode) {
  Random random{3};
  for (int i = 0; i < 20000; ++i) {
    Bytes bytes = test::random_bytes(random, kHeaderSize);
    EXPECT_TRUE(error_of(bytes));
  }
}

// Behind a right hash stands a peer that may still be wrong: whatever decodes has to be within the rules.
TEST(Header, RandomFieldsWithRightHashDecodeOnlyWithinTheRules) {
  Random random{4};
  int decoded_count = 0;
  for (int i = 0; i < 200000; ++i) {
    Bytes bytes = test::random_bytes(random, kHeaderSize);
    std::copy_n(test::header_bytes(bare(Type::ping)).begin(), 4, bytes.begin());
    if (random.one_in(2)) std::fill_n(bytes.begin() + 40, 8, std::byte{0});
    if (random.one_in(2)) bytes[5] = std::byte{0};
    test::rehash(bytes);
    const auto decoded = decode(bytes);
    if (!decoded) continue;
    ++decoded_count;
    EXPECT_EQ(check_fields(*decoded), errc::ok);
    EXPECT_LE(decoded->wire_length, kPayloadSizeMax);
    EXPECT_TRUE(is_known(decoded->type) || is_optional(decoded->type));
    EXPECT_EQ(test::header_bytes(*decoded), bytes);
  }
  EXPECT_GT(decoded_count, 1000);
}

TEST(Header, UnknownTypesAreRefusedUnlessOptional) {
  std::set<std::uint8_t> known;
  for (const Type type : test::kAllTypes) known.insert(static_cast<std::uint8_t>(type));
  for (unsigned v = 0; v < 256; ++v) {
    const auto type = static_cast<Type>(v);
    EXPECT_EQ(is_optional(type), v >= 128);
    EXPECT_EQ(is_known(type), known.contains(static_cast<std::uint8_t>(v))) << v;
    if (is_known(type)) continue;
    EXPECT_EQ(name(type), "unknown");
    const Bytes bytes = forged(bare(Type::ping), 4, {v});
    if (v < 128) {
      EXPECT_EQ(error_of(bytes), errc::unknown_type) << v;
    } else {
      ASSERT_TRUE(decode(bytes)) << v;
      EXPECT_EQ(decode(bytes)->type, type);
    }
  }
}

TEST(Header, AnUnknownOptionalTypeMayUseAnyFlagAndCodecButNoUnboundedLength) {
  const Header ping = bare(Type::ping);
  EXPECT_TRUE(decode(forged(ping, 4, {200, 0xff})));
  Header long_one = ranged(Type::write, 0, kPayloadSizeMax);
  EXPECT_TRUE(decode(forged(long_one, 4, {200})));
  Bytes too_long = forged(long_one, 44, {1, 0, 0x10, 0x20});
  too_long[4] = std::byte{200};
  test::rehash(too_long);
  EXPECT_EQ(error_of(too_long), errc::bad_length);
}

TEST(Header, NamesAreDistinct) {
  std::set<std::string_view> names;
  for (const Type type : test::kAllTypes) names.insert(name(type));
  EXPECT_EQ(names.size(), std::size(test::kAllTypes));
  EXPECT_FALSE(names.contains("unknown"));
}

TEST(Header, OnlyMirrorDataIsPayload) {
  for (const Type type : test::kAllTypes) {
    EXPECT_EQ(carries_payload(type), type == Type::write || type == Type::read_reply) << name(type);
  }
}

TEST(Header, UnknownFlagsOfKnownTypesAreRefused) {
  for (const unsigned flag : {128u}) {
    EXPECT_EQ(error_of(forged(bare(Type::flush), 5, {flag})), errc::unknown_flag);
  }
}

TEST(Header, UnknownCodecIsRefused) {
  // 512 bytes of payload with codec 1.
  EXPECT_EQ(error_of(forged(ranged(Type::write, 0, 512), 44, {0, 2, 0, 0x10})), errc::bad_length);
}

TEST(Header, DataLengthsAreBounded) {
  EXPECT_EQ(check_fields(ranged(Type::write, 0, kPayloadSizeMax)), errc::ok);
  EXPECT_EQ(check_fields(ranged(Type::write, 0, kPayloadSizeMax + 1)), errc::bad_length);
  EXPECT_EQ(check_fields(ranged(Type::write, 0, 0)), errc::bad_length);
  EXPECT_EQ(check_fields(ranged(Type::zero, 0, kZeroLengthMax)), errc::ok);
  EXPECT_EQ(check_fields(ranged(Type::zero, 0, kZeroLengthMax + 1)), errc::bad_length);
  EXPECT_EQ(check_fields(ranged(Type::zero, 0, 0)), errc::bad_length);
  EXPECT_EQ(check_fields(ranged(Type::read_request, 0, kPayloadSizeMax)), errc::ok);
  EXPECT_EQ(check_fields(ranged(Type::read_request, 0, kPayloadSizeMax + 1)), errc::bad_length);
}

TEST(Header, ARangeDoesNotWrapAround) {
  EXPECT_EQ(check_fields(ranged(Type::write, UINT64_MAX - 512, 512)), errc::ok);
  for (const Type type : {Type::write, Type::zero, Type::read_request}) {
    EXPECT_EQ(check_fields(ranged(type, UINT64_MAX - 511, 512)), errc::bad_length) << name(type);
  }
}

TEST(Header, DataWithoutItsBytesIsRefused) {
  Header write = ranged(Type::write, 0, 4096);
  write.wire_length = 0;
  EXPECT_EQ(check_fields(write), errc::bad_length);
  write.wire_length = 512;
  EXPECT_EQ(check_fields(write), errc::bad_length);
  Header zero = ranged(Type::zero, 0, 4096);
  zero.wire_length = 4096;
  EXPECT_EQ(check_fields(zero), errc::bad_length);
}

TEST(Header, AFailedReadIsAnsweredWithoutData) {
  Header reply = ranged(Type::read_reply, 0, 4096);
  EXPECT_EQ(check_fields(reply), errc::ok);
  reply.flags = kFailed;
  EXPECT_EQ(check_fields(reply), errc::bad_length);
  reply.wire_length = 0;
  EXPECT_EQ(check_fields(reply), errc::ok);
  reply.length = 0;
  EXPECT_EQ(check_fields(reply), errc::ok);
  reply.flags = 0;
  EXPECT_EQ(check_fields(reply), errc::bad_length);
}

TEST(Header, BareMessagesCarryNothing) {
  for (const Type type : {Type::ack, Type::flush, Type::term_taken, Type::ping, Type::demoted}) {
    Header h = bare(type);
    EXPECT_EQ(check_fields(h), errc::ok);
    h.length = 1;
    EXPECT_EQ(check_fields(h), errc::bad_length) << name(type);
    h.wire_length = 1;
    EXPECT_EQ(check_fields(h), errc::bad_length) << name(type);
  }
}

TEST(Header, BodiesAreBounded) {
  Header h = bare(Type::hello);
  EXPECT_EQ(check_fields(h), errc::bad_length);
  h.length = h.wire_length = kBodySizeMax;
  EXPECT_EQ(check_fields(h), errc::ok);
  h.length = h.wire_length = kBodySizeMax + 1;
  EXPECT_EQ(check_fields(h), errc::bad_length);
  h.type = Type::refuse;
  h.length = h.wire_length = kReasonMax + 1;
  EXPECT_EQ(check_fields(h), errc::bad_length);
  h.length = h.wire_length = 0;
  EXPECT_EQ(check_fields(h), errc::ok);
}

TEST(HeaderDeathTest, OurOwnMalformedHeaderIsABug) {
  Bytes out(kHeaderSize);
  const Header too_long = ranged(Type::write, 0, kPayloadSizeMax + 1);
  EXPECT_DEATH(encode_header(too_long, std::span{out}.first<kHeaderSize>()), "assertion failed");
}

TEST(Payload, EverySingleByteFlipIsFound) {
  Random random{5};
  for (const std::size_t size : {std::size_t{1}, std::size_t{16}, std::size_t{240}, std::size_t{512}}) {
    const test::Message m = test::with_tail(bare(Type::write), test::random_bytes(random, size));
    ASSERT_TRUE(check_payload(m.header, m.tail));
    for (std::size_t at = 0; at < size; ++at) {
      for (unsigned flip = 1; flip < 256; ++flip) {
        Bytes bad = m.tail;
        bad[at] ^= static_cast<std::byte>(flip);
        const auto checked = check_payload(m.header, bad);
        ASSERT_FALSE(checked) << size << " byte " << at << " flip " << flip;
        ASSERT_EQ(checked.error(), errc::bad_payload_hash);
      }
    }
  }
}

TEST(Payload, ALargeOneIsCheckedToItsLastBit) {
  Random random{6};
  test::Message m = test::with_tail(bare(Type::write), test::random_bytes(random, kPayloadSizeMax));
  EXPECT_TRUE(check_payload(m.header, m.tail));
  for (int i = 0; i < 200; ++i) {
    std::byte& victim = m.tail[i == 0 ? m.tail.size() - 1 : random.below(m.tail.size())];
    const auto bit = static_cast<std::byte>(1u << random.below(8));
    victim ^= bit;
    EXPECT_FALSE(check_payload(m.header, m.tail));
    victim ^= bit;
  }
}

TEST(Payload, WrongSizeIsNoMatch) {
  const test::Message m = test::with_tail(bare(Type::write), Bytes(512));
  EXPECT_FALSE(check_payload(m.header, std::span{m.tail}.first(511)));
  EXPECT_FALSE(check_payload(m.header, {}));
  EXPECT_FALSE(check_payload(bare(Type::ping), m.tail));
  EXPECT_TRUE(check_payload(bare(Type::ping), {}));
}

// The hash alone would do here; the announced size is checked for itself.
TEST(Payload, ARightHashOfMoreThanAnnouncedIsNoMatch) {
  test::Message m = test::with_tail(bare(Type::write), Bytes(512));
  m.header.wire_length = 511;
  EXPECT_FALSE(check_payload(m.header, m.tail));
}

TEST(Errors, EachHasItsText) {
  std::set<std::string> texts;
  for (int v = 0; v <= static_cast<int>(errc::unknown_flag); ++v) {
    texts.insert(make_error_code(static_cast<errc>(v)).message());
  }
  EXPECT_EQ(texts.size(), static_cast<std::size_t>(errc::unknown_flag) + 1);
  EXPECT_EQ(std::string{category().name()}, "wire");
  EXPECT_FALSE(ErrorCode{errc::ok});
}

}  // namespace
}  // namespace twinblock::wire
