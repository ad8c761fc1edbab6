// The bytes of one sample of every message, fixed for ever: tests/unit/wire/golden/messages.txt was written
// by a program that shares no code with this one. And the worked examples of the format document.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "tests/unit/wire/wire_samples.hpp"
#include "transport/wire/messages.hpp"

namespace twinblock::wire {
namespace {

using test::Bytes;

std::string hex(const Bytes& bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const std::byte b : bytes) {
    out += kDigits[std::to_integer<unsigned>(b) >> 4];
    out += kDigits[std::to_integer<unsigned>(b) & 15];
  }
  return out;
}

History sample_history() {
  History h;
  h.count = 2;
  h.entries[0] = {0x1111111111111111, 0x2222222222222222, 5000, 1};
  h.entries[1] = {0x2222222222222222, 0, 1, 0};
  return h;
}

HelloBody sample_hello() {
  HelloBody b;
  b.required_features = 1;
  b.optional_features = 6;
  b.mirror_id = 0x0123456789abcdef;
  b.node = 1;
  b.identity = 0x1122334455667788;
  b.incarnation = 0x99aabbccddeeff00;
  b.size = 1u << 30;
  b.region_size = 65536;
  b.logical_block_size = 512;
  b.hot_extents = 64;
  b.mirror_name = "data";
  b.config_text = "mode=sync\n";
  return b;
}

StateBody sample_state() {
  StateBody b;
  b.round = 3;
  b.nonce = 0xdeadbeef;
  b.is_source = 1;
  b.wants_source = 1;
  b.disk_state = 2;
  b.was_source = 1;
  b.clean = 1;
  b.mode = 2;
  b.term_own = 0x101;
  b.term_seen = 0x200;
  b.history = sample_history();
  b.base_for_you = 0x2222222222222222;
  b.data_of_you = 2;
  b.needs_full = 1;
  b.your_identity = 0x3333333333333333;
  b.session = {9, 0x6666666666666666};
  b.session_common = {4, 0x7777777777777777};
  b.your_stable_sequence = 4999;
  b.dirty_regions = 17;
  b.resync_active = 1;
  b.resync_from = 1;
  b.resync_generation = 0x4444444444444444;
  b.resolution = 2;
  b.resolution_against = 0x5555555555555555;
  b.stable_sequence = 5003;
  b.sequence_limit = 65536;
  return b;
}

Bytes sample_tail(Type type) {
  switch (type) {
    case Type::hello:
      return test::encoded(sample_hello());
    case Type::state:
      return test::encoded(sample_state());
    case Type::verdict:
      return test::encoded(VerdictBody{1, 7, 1, 1, 1});
    case Type::session_start:
      return test::encoded(SessionStartBody{1,
                                            1,
                                            17,
                                            0x0123456789abcdef,
                                            0xfedcba9876543210,
                                            65536,
                                            {10, 0x8888888888888888},
                                            sample_history()});
    case Type::session_ready:
      return test::encoded(SessionReadyBody{1024, 32u << 20});
    case Type::resync_end:
      return test::encoded(HistoryBody{sample_history()});
    case Type::degrade:
      return test::encoded(DegradeBody{sample_history(), 2});
    case Type::bitmap_data:
      return test::bytes_of("\x01\x02\x04\x08\x10\x20\x40\x7f");
    case Type::refuse:
      return test::bytes_of("sizes differ");
    case Type::write:
      return Bytes(512, std::byte{0x5a});
    case Type::read_reply:
      return Bytes(1024, std::byte{0xa5});
    default:
      return {};
  }
}

// Every field has a value of its own, so that two of them cannot change places unseen.
test::Message sample(Type type) {
  Header h;
  h.type = type;
  h.flags = type == Type::write ? kFua : type == Type::zero ? kResync | kMayUnmap : 0;
  h.mirror = 3;
  h.lacks = 4;
  h.session = 0x05060708;
  h.handle = 0x090a0b0c;
  h.sequence = 0x0d0e0f1011121314;
  h.term = 0x15161718191a1b1c;
  h.offset = 0x1d1e1f2021222400;
  h.aux = 0x25262728292a2b2c;
  if (type == Type::zero || type == Type::read_request) {
    h.length = 65536;
    return {h, {}};
  }
  return test::with_tail(h, sample_tail(type));
}

std::string file_text(const char* path) {
  std::ifstream file{std::string{TWINBLOCK_SOURCE_DIR} + "/" + path};
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::map<std::string, std::string> golden() {
  std::map<std::string, std::string> rows;
  std::istringstream lines{file_text("tests/unit/wire/golden/messages.txt")};
  for (std::string type, bytes; lines >> type >> bytes;) rows[type] = bytes;
  return rows;
}

TEST(Golden, EveryMessageIsEncodedAsEver) {
  const auto rows = golden();
  EXPECT_EQ(rows.size(), std::size(test::kAllTypes));
  for (const Type type : test::kAllTypes) {
    const auto row = rows.find(std::string{name(type)});
    ASSERT_NE(row, rows.end()) << name(type);
    EXPECT_EQ(hex(test::on_wire(sample(type))), row->second) << name(type);
  }
}

// ```hex NAME blocks of the document, without spaces and what follows a '#'.
std::map<std::string, std::string> worked_examples() {
  std::map<std::string, std::string> examples;
  std::istringstream lines{file_text("docs/internals/wire_protocol.md")};
  std::string* current = nullptr;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("```")) {
      current = line.starts_with("```hex ") ? &examples[line.substr(7)] : nullptr;
    } else if (current != nullptr) {
      std::istringstream words{line.substr(0, line.find('#'))};
      for (std::string word; words >> word;) *current += word;
    }
  }
  return examples;
}

TEST(Document, ExampleOfAnAcknowledgement) {
  Header h;
  h.type = Type::ack;
  h.session = 0x0a0b0c0d;
  h.sequence = 5001;
  h.offset = 5003;
  h.term = 0x101;
  h.aux = 4990;
  EXPECT_EQ(worked_examples()["ack"], hex(test::header_bytes(h)));
}

TEST(Document, ExampleOfAVerdict) {
  Header h;
  h.type = Type::verdict;
  EXPECT_EQ(worked_examples()["verdict"], hex(test::on_wire(test::with_tail(h, sample_tail(Type::verdict)))));
}

TEST(Document, ExampleOfAWrite) {
  Header h;
  h.type = Type::write;
  h.flags = kFua;
  h.session = 0x0a0b0c0d;
  h.sequence = 5002;
  h.term = 0x101;
  h.offset = 1u << 20;
  EXPECT_EQ(worked_examples()["write"],
            hex(test::header_bytes(test::with_tail(h, Bytes(512, std::byte{0x5a})).header)));
}

}  // namespace
}  // namespace twinblock::wire
