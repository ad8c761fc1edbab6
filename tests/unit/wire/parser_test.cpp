#include "transport/wire/parser.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/unit/wire/wire_samples.hpp"

namespace twinblock::wire {
namespace {

using test::Bytes;
using Event = Parser::Event;

struct Received {
  Header header;
  Bytes tail;
  friend bool operator==(const Received&, const Received&) = default;
};

// A shell that gets its bytes in pieces: through the stash, or (if `direct`) straight into the payload buffer
// wherever the parser offers one.
class Shell {
 public:
  explicit Shell(bool direct) : direct_{direct} {}

  void deliver(std::span<const std::byte> piece) {
    if (direct_ && !parser_.direct().empty()) {
      const std::size_t size = std::min(piece.size(), parser_.direct().size());
      std::copy_n(piece.begin(), size, parser_.direct().begin());
      direct_bytes_ += size;
      note(parser_.received(size));
      piece = piece.subspan(size);
    }
    for (;;) {
      const Event event = parser_.feed(piece);
      note(event);
      EXPECT_TRUE(event != Event::need_bytes || piece.empty());
      if (event == Event::need_bytes || event == Event::failed) return;
    }
  }

  Parser& parser() { return parser_; }
  const std::vector<Received>& messages() const { return messages_; }
  std::uint64_t direct_bytes() const { return direct_bytes_; }

 private:
  void note(Event event) {
    if (event == Event::need_buffer) {
      buffer_.assign(parser_.header().wire_length + 3, std::byte{0xee});  // larger than asked is fine
      parser_.supply(buffer_);
    } else if (event == Event::message) {
      const auto tail = carries_payload(parser_.header().type) ? parser_.payload() : parser_.body();
      messages_.push_back({parser_.header(), {tail.begin(), tail.end()}});
    }
  }

  bool direct_;
  Bytes scratch_ = Bytes(kBodySizeMax);
  Bytes buffer_;
  Parser parser_{scratch_};
  std::vector<Received> messages_;
  std::uint64_t direct_bytes_ = 0;
};

struct Stream {
  Bytes bytes;
  std::vector<Received> expected;

  void add(const test::Message& m) {
    const Bytes wire = test::on_wire(m);
    bytes.insert(bytes.end(), wire.begin(), wire.end());
    expected.push_back({m.header, m.tail});
  }
  // A message of a type that only a later version knows.
  void add_optional(std::uint32_t size) {
    Header h;
    h.type = static_cast<Type>(0x80 + size % 128);
    h.flags = 0xff;
    h.wire_length = size;
    h.aux = 12345;  // whatever its hash is, nobody here looks at it
    const Bytes head = test::header_bytes(h);
    bytes.insert(bytes.end(), head.begin(), head.end());
    bytes.resize(bytes.size() + size, std::byte{0x77});
  }
};

Stream stream_of_every_type(std::size_t size_max) {
  Random random{21};
  Stream stream;
  for (const Type type : test::kAllTypes) {
    stream.add(test::random_message(random, type, size_max));
    if (type == Type::write) stream.add_optional(100);
    if (type == Type::ack) stream.add_optional(0);
  }
  return stream;
}

TEST(Parser, OneBigPiece) {
  const Stream stream = stream_of_every_type(5000);
  Shell shell{false};
  shell.deliver(stream.bytes);
  EXPECT_EQ(shell.messages(), stream.expected);
  EXPECT_EQ(shell.parser().skipped_count(), 2u);
  EXPECT_TRUE(shell.parser().at_boundary());
}

TEST(Parser, OneByteAtATime) {
  const Stream stream = stream_of_every_type(300);
  for (const bool direct : {false, true}) {
    Shell shell{direct};
    for (const std::byte& b : stream.bytes) shell.deliver({&b, 1});
    EXPECT_EQ(shell.messages(), stream.expected);
    EXPECT_EQ(shell.direct_bytes() > 0, direct);
  }
}

TEST(Parser, CutInTwoAtEveryByte) {
  const Stream stream = stream_of_every_type(40);
  const std::span<const std::byte> bytes{stream.bytes};
  for (const bool direct : {false, true}) {
    for (std::size_t at = 0; at <= bytes.size(); ++at) {
      Shell shell{direct};
      shell.deliver(bytes.first(at));
      shell.deliver(bytes.subspan(at));
      ASSERT_EQ(shell.messages(), stream.expected) << "cut at " << at;
      ASSERT_TRUE(shell.parser().at_boundary());
    }
  }
}

TEST(Parser, RandomPieces) {
  Random random{22};
  for (int round = 0; round < 200; ++round) {
    Stream stream;
    for (int i = 0; i < 20; ++i) {
      if (random.one_in(5)) stream.add_optional(static_cast<std::uint32_t>(random.below(3000)));
      stream.add(test::random_message(random));
    }
    Shell shell{random.one_in(2)};
    std::span<const std::byte> rest{stream.bytes};
    while (!rest.empty()) {
      const std::size_t piece = 1 + random.below(random.one_in(2) ? 64 : 5000);
      const std::size_t size = std::min(rest.size(), piece);
      shell.deliver(rest.first(size));
      rest = rest.subspan(size);
    }
    ASSERT_EQ(shell.messages(), stream.expected) << round;
  }
}

TEST(Parser, LargestPayloadBodyAndSkippedMessage) {
  Random random{23};
  Stream stream;
  Header h;
  h.type = Type::write;
  stream.add(test::with_tail(h, test::random_bytes(random, kPayloadSizeMax)));
  h.type = Type::bitmap_data;
  stream.add(test::with_tail(h, test::random_bytes(random, kBodySizeMax)));
  stream.add_optional(kPayloadSizeMax);
  h.type = Type::pong;
  h.aux = 0;
  stream.add({h, {}});
  for (const bool direct : {false, true}) {
    Shell shell{direct};
    for (std::size_t at = 0; at < stream.bytes.size(); at += 65536) {
      const std::size_t size = std::min<std::size_t>(65536, stream.bytes.size() - at);
      shell.deliver(std::span<const std::byte>{stream.bytes}.subspan(at, size));
    }
    EXPECT_EQ(shell.messages(), stream.expected);
  }
}

// Backpressure: without a buffer nothing behind the header is taken, however often the shell asks.
TEST(Parser, WaitsForABufferWithoutTakingBytes) {
  Random random{24};
  const test::Message m = test::random_message(random, Type::write, 512);
  const Bytes wire = test::on_wire(m);
  Bytes scratch(kBodySizeMax);
  Parser parser{scratch};
  std::span<const std::byte> stash{wire};
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(parser.feed(stash), Event::need_buffer);
    EXPECT_EQ(stash.size(), m.tail.size());
    EXPECT_EQ(parser.header(), m.header);
    EXPECT_TRUE(parser.direct().empty());
    EXPECT_FALSE(parser.at_boundary());
  }
  Bytes buffer(m.tail.size());
  parser.supply(buffer);
  EXPECT_EQ(parser.direct().size(), m.tail.size());
  ASSERT_EQ(parser.feed(stash), Event::message);
  EXPECT_EQ(parser.payload().data(), buffer.data());
  EXPECT_EQ(buffer, m.tail);
}

TEST(Parser, ABodyDoesNotAskForABuffer) {
  Random random{25};
  const test::Message m = test::random_message(random, Type::state);
  const Bytes wire = test::on_wire(m);
  Bytes scratch(kBodySizeMax);
  Parser parser{scratch};
  std::span<const std::byte> stash{wire};
  ASSERT_EQ(parser.feed(stash), Event::message);
  EXPECT_TRUE(parser.payload().empty());
  EXPECT_EQ(parser.body().data(), scratch.data());
  EXPECT_TRUE(std::equal(parser.body().begin(), parser.body().end(), m.tail.begin(), m.tail.end()));
}

TEST(Parser, AFailedReadReplyIsAMessageWithoutPayload) {
  Header h;
  h.type = Type::read_reply;
  h.flags = kFailed;
  h.length = 4096;
  const Bytes wire = test::header_bytes(h);
  Bytes scratch(kBodySizeMax);
  Parser parser{scratch};
  std::span<const std::byte> stash{wire};
  ASSERT_EQ(parser.feed(stash), Event::message);
  EXPECT_EQ(parser.header(), h);
  EXPECT_TRUE(parser.payload().empty());
}

// The payload of the message before is not shown behind the next one.
TEST(Parser, PayloadEndsWithItsMessage) {
  Random random{26};
  Stream stream;
  stream.add(test::random_message(random, Type::write, 64));
  stream.add(test::random_message(random, Type::ack));
  Bytes scratch(kBodySizeMax);
  Bytes buffer(64);
  Parser parser{scratch};
  std::span<const std::byte> stash{stream.bytes};
  ASSERT_EQ(parser.feed(stash), Event::need_buffer);
  parser.supply(buffer);
  ASSERT_EQ(parser.feed(stash), Event::message);
  ASSERT_EQ(parser.feed(stash), Event::message);
  EXPECT_EQ(parser.header().type, Type::ack);
  EXPECT_TRUE(parser.payload().empty());
  EXPECT_TRUE(parser.body().empty());
}

TEST(Parser, BoundaryOnlyBetweenMessages) {
  const Stream stream = stream_of_every_type(40);
  std::vector<std::size_t> ends{0};
  Bytes scratch(kBodySizeMax);
  Bytes buffer(kPayloadSizeMax);
  Parser parser{scratch};
  std::size_t boundary_count = 0;
  for (std::size_t i = 0; i < stream.bytes.size(); ++i) {
    std::span<const std::byte> one{stream.bytes.data() + i, 1};
    while (!one.empty()) {
      if (parser.feed(one) == Event::need_buffer) parser.supply(buffer);
    }
    if (parser.at_boundary()) ++boundary_count;
  }
  EXPECT_EQ(boundary_count, stream.expected.size() + 2);  // and the two skipped ones
}

void expect_sticky(Parser& parser, ErrorCode code) {
  EXPECT_EQ(parser.error(), code);
  Header ping;
  const Bytes good = test::header_bytes(ping);
  for (int i = 0; i < 3; ++i) {
    std::span<const std::byte> stash{good};
    EXPECT_EQ(parser.feed(stash), Event::failed);
    EXPECT_EQ(stash.size(), good.size());
    EXPECT_EQ(parser.received(0), Event::failed);
    EXPECT_TRUE(parser.direct().empty());
    EXPECT_FALSE(parser.at_boundary());
    EXPECT_EQ(parser.error(), code);
  }
}

TEST(Parser, EveryFlippedByteEndsTheStreamBeforeItsMessage) {
  Random random{27};
  Stream stream;
  stream.add(test::random_message(random, Type::ping));
  stream.add(test::random_message(random, Type::verdict));
  stream.add(test::random_message(random, Type::write, 100));
  for (const bool direct : {false, true}) {
    for (std::size_t at = 0; at < stream.bytes.size(); ++at) {
      Bytes bad = stream.bytes;
      bad[at] ^= std::byte{0x10};
      Shell shell{direct};
      const std::size_t cut = random.below(bad.size());
      shell.deliver(std::span<const std::byte>{bad}.first(cut));
      shell.deliver(std::span<const std::byte>{bad}.subspan(cut));
      ASSERT_TRUE(shell.parser().error()) << at;
      const std::size_t intact = at < 64 ? 0 : at < 64 + 64 + stream.expected[1].tail.size() ? 1 : 2;
      ASSERT_EQ(shell.messages().size(), intact) << at;
      expect_sticky(shell.parser(), shell.parser().error());
    }
  }
}

TEST(Parser, NamesTheError) {
  Random random{28};
  Shell garbage{false};
  garbage.deliver(test::bytes_of(std::string(200, 'G')));
  expect_sticky(garbage.parser(), errc::bad_magic);

  test::Message m = test::random_message(random, Type::write, 100);
  m.tail[0] ^= std::byte{1};
  Shell damaged{true};
  damaged.deliver(test::on_wire(m));
  expect_sticky(damaged.parser(), errc::bad_payload_hash);

  Bytes unknown = test::header_bytes(Header{});
  unknown[4] = std::byte{99};
  test::rehash(unknown);
  Shell newer{false};
  newer.deliver(unknown);
  expect_sticky(newer.parser(), errc::unknown_type);
}

TEST(Parser, DamageOfADirectReceiveIsFound) {
  Random random{29};
  const test::Message m = test::random_message(random, Type::write, 512);
  const Bytes head = test::header_bytes(m.header);
  Bytes scratch(kBodySizeMax);
  Bytes buffer(512);
  Parser parser{scratch};
  std::span<const std::byte> stash{head};
  ASSERT_EQ(parser.feed(stash), Event::need_buffer);
  parser.supply(buffer);
  ASSERT_EQ(parser.feed(stash), Event::need_bytes);
  std::copy(m.tail.begin(), m.tail.end(), parser.direct().begin());
  buffer[m.tail.size() / 2] ^= std::byte{4};
  EXPECT_EQ(parser.received(m.tail.size()), Event::failed);
  expect_sticky(parser, errc::bad_payload_hash);
}

TEST(Parser, RandomBytesNeverCrash) {
  Random random{30};
  for (int i = 0; i < 2000; ++i) {
    Stream stream;
    stream.add(test::random_message(random));
    const Bytes noise = test::random_bytes(random, 1 + random.below(300));
    stream.bytes.insert(stream.bytes.end(), noise.begin(), noise.end());
    Shell shell{random.one_in(2)};
    shell.deliver(stream.bytes);
    ASSERT_EQ(shell.messages(), stream.expected);
    ASSERT_EQ(shell.parser().error() == ErrorCode{}, noise.size() < kHeaderSize);
  }
}

TEST(ParserDeathTest, MisuseIsABug) {
  Bytes scratch(kBodySizeMax);
  EXPECT_DEATH(Parser{std::span{scratch}.first(100)}, "assertion failed");
  Parser parser{scratch};
  EXPECT_DEATH(parser.supply(scratch), "assertion failed");
  EXPECT_DEATH(static_cast<void>(parser.received(1)), "assertion failed");
  EXPECT_DEATH(static_cast<void>(parser.header()), "assertion failed");
}

}  // namespace
}  // namespace twinblock::wire
