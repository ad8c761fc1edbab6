// Which requests are refused, with what: one row per rule.
#include <gtest/gtest.h>

#include "tests/unit/nbd/harness.hpp"

namespace twinblock::nbd::test {
namespace {

constexpr std::uint64_t kSize = 1u << 30;

struct Row {
  const char* name;
  Command command;
  unsigned flags;
  std::uint64_t offset;
  std::uint64_t length;
  ReplyForm form;
  Status expected;
};

constexpr auto kSimple = ReplyForm::kSimple;
constexpr auto kStructured = ReplyForm::kStructured;
constexpr auto kExtended = ReplyForm::kExtended;
constexpr std::uint64_t kMiB = 1u << 20;

const Row kRows[] = {
    {"read", Command::kRead, 0, 0, 512, kSimple, Status::kOk},
    {"read with FUA", Command::kRead, 1, 0, 512, kSimple, Status::kOk},
    {"read with DF", Command::kRead, 4, 0, 512, kStructured, Status::kOk},
    {"read with DF unnegotiated", Command::kRead, 4, 0, 512, kSimple, Status::kInvalid},
    {"read of the largest payload", Command::kRead, 0, 0, 32 * kMiB, kSimple, Status::kOk},
    {"read too long", Command::kRead, 0, 0, 32 * kMiB + 512, kSimple, Status::kInvalid},
    {"read too long with DF", Command::kRead, 4, 0, 32 * kMiB + 512, kExtended, Status::kOverflow},
    {"read of nothing", Command::kRead, 0, 0, 0, kSimple, Status::kInvalid},
    {"read of the last block", Command::kRead, 0, kSize - 512, 512, kSimple, Status::kOk},
    {"read past the end", Command::kRead, 0, kSize - 512, 1024, kSimple, Status::kInvalid},
    {"read at the end", Command::kRead, 0, kSize, 512, kSimple, Status::kInvalid},
    {"read whose end overflows", Command::kRead, 0, UINT64_MAX - 511, 1024, kExtended, Status::kInvalid},
    {"read with a length that overflows", Command::kRead, 0, 512, UINT64_MAX - 511, kExtended,
     Status::kInvalid},
    {"read at half a block", Command::kRead, 0, 256, 512, kSimple, Status::kInvalid},
    {"read of half a block", Command::kRead, 0, 0, 256, kSimple, Status::kInvalid},
    {"read with a write's flag", Command::kRead, 2, 0, 512, kSimple, Status::kInvalid},
    {"read with an unknown flag", Command::kRead, 0x8000, 0, 512, kSimple, Status::kInvalid},
    {"write", Command::kWrite, 0, 0, 512, kSimple, Status::kOk},
    {"write with FUA", Command::kWrite, 1, 0, 512, kStructured, Status::kOk},
    {"write past the end", Command::kWrite, 0, kSize, 512, kSimple, Status::kNoSpace},
    {"write of nothing", Command::kWrite, 0, 0, 0, kSimple, Status::kInvalid},
    {"write unaligned", Command::kWrite, 0, 1, 512, kSimple, Status::kInvalid},
    {"write with PAYLOAD_LEN, compact", Command::kWrite, 0x20, 0, 512, kSimple, Status::kInvalid},
    {"write with PAYLOAD_LEN, extended", Command::kWrite, 0x21, 0, 512, kExtended, Status::kOk},
    {"read with PAYLOAD_LEN", Command::kRead, 0x20, 0, 512, kExtended, Status::kInvalid},
    {"flush", Command::kFlush, 0, 0, 0, kSimple, Status::kOk},
    {"flush ignores its reserved fields", Command::kFlush, 1, 12345, 77, kSimple, Status::kOk},
    {"flush with DF", Command::kFlush, 4, 0, 0, kStructured, Status::kInvalid},
    {"trim", Command::kTrim, 1, 0, kSize, kSimple, Status::kOk},
    {"trim past the end", Command::kTrim, 0, kSize, 512, kSimple, Status::kInvalid},
    {"trim unaligned", Command::kTrim, 0, 0, 513, kSimple, Status::kInvalid},
    {"cache", Command::kCache, 0, 512, 64 * kMiB, kSimple, Status::kOk},
    {"zeroes", Command::kWriteZeroes, 0x13, 0, kSize, kExtended, Status::kOk},
    {"zeroes past the end", Command::kWriteZeroes, 0, 512, kSize, kExtended, Status::kNoSpace},
    {"zeroes with REQ_ONE", Command::kWriteZeroes, 8, 0, 512, kSimple, Status::kInvalid},
    {"status", Command::kBlockStatus, 8, 0, kSize, kStructured, Status::kOk},
    {"status past the end", Command::kBlockStatus, 0, kSize, 512, kStructured, Status::kInvalid},
    {"unknown command", static_cast<Command>(8), 0, 0, 512, kSimple, Status::kInvalid},
    {"unknown command 65535", static_cast<Command>(65535), 0, 0, 512, kExtended, Status::kInvalid},
};

RequestRules rules() {
  return {ByteCount{kSize}, ByteCount{512}, {}, 32u << 20, true};
}

Request request_of(const Row& row) {
  return {
      row.command, static_cast<std::uint16_t>(row.flags), 1, ByteOffset{row.offset}, ByteCount{row.length},
      row.form};
}

TEST(RequestRules, EveryRow) {
  for (const Row& row : kRows) {
    const Verdict verdict = check_request(request_of(row), rules());
    EXPECT_EQ(verdict.status, row.expected) << row.name << ": " << verdict.text;
    EXPECT_EQ(verdict.text.empty(), row.expected == Status::kOk) << row.name;
  }
}

TEST(RequestRules, ReadOnlyRefusesWhatModifies) {
  RequestRules read_only = rules();
  read_only.features.read_only = true;
  for (const Row& row : kRows) {
    if (row.expected != Status::kOk) continue;
    const bool modifies = row.command == Command::kWrite || row.command == Command::kTrim ||
                          row.command == Command::kWriteZeroes;
    EXPECT_EQ(check_request(request_of(row), read_only).status, modifies ? Status::kPermission : Status::kOk)
        << row.name;
  }
}

TEST(RequestRules, WhatIsNotOfferedIsUnknown) {
  RequestRules bare = rules();
  bare.features.trim = false;
  bare.features.fast_zero = false;
  bare.has_contexts = false;
  const Request base{Command::kTrim, 0, 1, ByteOffset{0}, ByteCount{512}, kStructured};
  EXPECT_EQ(check_request(base, bare).status, Status::kInvalid);
  Request r = base;
  r.command = Command::kBlockStatus;
  EXPECT_EQ(check_request(r, bare).status, Status::kInvalid);
  r.command = Command::kWriteZeroes;
  EXPECT_EQ(check_request(r, bare).status, Status::kOk);
  r.flags = kCommandFastZero;
  EXPECT_EQ(check_request(r, bare).status, Status::kInvalid);
  bare.features.write_zeroes = false;
  r.flags = 0;
  EXPECT_EQ(check_request(r, bare).status, Status::kInvalid);
}

TEST(RequestRules, PayloadIsKnownWhateverTheVerdict) {
  const auto payload = [](Command c, unsigned flags, std::uint64_t length, ReplyForm form) {
    return payload_length({c, static_cast<std::uint16_t>(flags), 1, ByteOffset{3}, ByteCount{length}, form},
                          1000);
  };
  EXPECT_EQ(payload(Command::kWrite, 0, 999, kSimple).value(), ByteCount{999});
  EXPECT_EQ(payload(Command::kWrite, 0xffdf, 999, kSimple).value(), ByteCount{999});
  EXPECT_EQ(payload(Command::kRead, 0x20, 999, kSimple).value(), ByteCount{0});
  EXPECT_EQ(payload(Command::kTrim, 0, 1u << 30, kSimple).value(), ByteCount{0});
  EXPECT_EQ(payload(static_cast<Command>(99), 0x20, 999, kExtended).value(), ByteCount{999});
  EXPECT_EQ(payload(Command::kWrite, 0, 1001, kSimple).error(), make_error_code(errc::kPayloadTooLong));
  EXPECT_EQ(payload(Command::kRead, 0x20, 1001, kExtended).error(), make_error_code(errc::kPayloadTooLong));
  EXPECT_EQ(payload(Command::kWrite, 0, 9, kExtended).error(),
            make_error_code(errc::kWriteWithoutPayloadFlag));
}

}  // namespace
}  // namespace twinblock::nbd::test
