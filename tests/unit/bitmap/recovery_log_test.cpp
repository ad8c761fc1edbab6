// The intent log after a crash: a torn newest record is the only damage that is forgiven.
#include <gtest/gtest.h>

#include <algorithm>

#include "bitmap/codec.hpp"
#include "bitmap/layout.hpp"
#include "tests/unit/bitmap/sample.hpp"

namespace twinblock::bitmap {
namespace {

using test::Area;
using test::hot_of;
using test::sample_superblock;

// The number of the newest record: before, at and after the ring wraps, and many laps later.
class LogRecovery : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  LogRecovery() : sb_{sample_superblock()}, area_{format_area(sb_, 0)} {
    test::write_log(area_, sb_, newest());
  }
  static std::uint64_t newest() { return GetParam(); }
  static std::uint64_t oldest() { return newest() > kIntentRecords ? newest() - kIntentRecords + 1 : 1; }
  void rot(std::uint64_t log_sequence, std::uint64_t copy) {
    const auto record = test::record_in(area_, sb_.geometry, log_sequence);
    test::flip_bit(record, (copy * kBlockSize + 200) * 8);
  }

  // The record after the newest one, with content in every sector, so that each of them matters.
  static std::vector<ExtentIndex> bulky_hot() {
    std::vector<ExtentIndex> hot;
    for (std::uint32_t i = 0; i < kHotExtentsMax; ++i) hot.push_back(ExtentIndex{1 + i % 63});
    return hot;
  }
  std::span<const std::byte> bulky_next() {
    if (next_.empty()) {
      next_ = area_;
      const std::vector<ReliedPage> relied(kReliedPagesMax, {PageIndex{1}, 1});
      test::write_record(next_, sb_, newest() + 1, bulky_hot(), relied);
    }
    return test::record_in(next_, sb_.geometry, newest() + 1);
  }

  Superblock sb_;
  Area area_;
  Area next_;
};

class LogWithOlderRecords : public LogRecovery {};
class LogAfterALap : public LogRecovery {};

TEST_P(LogRecovery, TheNewestRecordHolds) {
  const auto r = recover(area_);
  ASSERT_TRUE(r);
  EXPECT_EQ(r->log_sequence, newest());
  EXPECT_EQ(r->hot, hot_of(newest()));
  EXPECT_FALSE(r->all_hot);
  EXPECT_FALSE(r->torn_newest);
  EXPECT_EQ(r->bad_log_records, 0u);
}

TEST_P(LogRecovery, TornAtEverySectorCutGivesThePreviousOrTheNewRecord) {
  for (std::uint64_t sectors = 0; sectors <= 16; ++sectors) {
    Area torn = area_;
    test::tear(test::record_in(torn, sb_.geometry, newest() + 1), bulky_next(), (1u << sectors) - 1);
    const auto r = recover(torn);
    ASSERT_TRUE(r);
    const bool landed = sectors >= 8;
    EXPECT_EQ(r->log_sequence, landed ? newest() + 1 : newest()) << sectors;
    EXPECT_EQ(r->hot, landed ? bulky_hot() : hot_of(newest())) << sectors;
    EXPECT_FALSE(r->all_hot) << sectors;
    EXPECT_EQ(r->bad_log_records, 0u) << sectors;
  }
}

TEST_P(LogRecovery, TornInAnyMixOfSectorsGivesThePreviousOrTheNewRecord) {
  for (std::uint64_t mix = 0; mix < 65536; mix += 37) {
    Area torn = area_;
    test::tear(test::record_in(torn, sb_.geometry, newest() + 1), bulky_next(), mix);
    const auto r = recover(torn);
    ASSERT_TRUE(r);
    const bool landed = (mix & 0xff) == 0xff || mix >> 8 == 0xff;
    ASSERT_EQ(r->log_sequence, landed ? newest() + 1 : newest()) << mix;
    ASSERT_EQ(r->hot, landed ? bulky_hot() : hot_of(newest())) << mix;
    ASSERT_FALSE(r->all_hot) << mix;
  }
}

TEST_P(LogRecovery, BothBlocksTornGiveThePreviousRecord) {
  Area written = area_;
  const std::uint64_t next = newest() + 1;
  test::write_record(written, sb_, next, hot_of(next));
  for (std::uint64_t a = 1; a < 8; ++a) {
    for (std::uint64_t b = 1; b < 8; ++b) {
      Area torn = written;
      const auto record = test::record_in(torn, sb_.geometry, next);
      // The rest of each block is whatever the drive left: neither the old nor the new content.
      std::fill(record.begin() + static_cast<std::ptrdiff_t>(a * 512), record.begin() + kBlockSize,
                std::byte{3});
      std::fill(record.begin() + static_cast<std::ptrdiff_t>(kBlockSize + b * 512), record.end(),
                std::byte{3});
      const auto r = recover(torn);
      ASSERT_TRUE(r);
      EXPECT_EQ(r->log_sequence, newest());
      EXPECT_EQ(r->hot, hot_of(newest()));
      EXPECT_FALSE(r->all_hot);
      EXPECT_TRUE(r->torn_newest);
      EXPECT_EQ(r->bad_log_records, 0u);
    }
  }
}

TEST_P(LogRecovery, OneRottenCopyOfAnyRecordIsCarriedByTheOther) {
  for (std::uint64_t n = oldest(); n <= newest(); ++n) {
    for (std::uint64_t copy = 0; copy < 2; ++copy) {
      rot(n, copy);
      const auto r = recover(area_);
      ASSERT_TRUE(r);
      EXPECT_EQ(r->log_sequence, newest());
      EXPECT_EQ(r->hot, hot_of(newest()));
      EXPECT_FALSE(r->all_hot) << n;
      rot(n, copy);
    }
  }
}

TEST_P(LogRecovery, ARottenOlderRecordMakesAllExtentsHot) {
  // The oldest of a full ring is where the next write goes: damage there is taken for that write.
  const std::uint64_t first = newest() >= kIntentRecords ? oldest() + 1 : oldest();
  for (std::uint64_t n = first; n < newest(); ++n) {
    rot(n, 0);
    rot(n, 1);
    const auto r = recover(area_);
    ASSERT_TRUE(r);
    EXPECT_TRUE(r->all_hot) << n;
    EXPECT_EQ(r->bad_log_records, 1u);
    EXPECT_EQ(r->log_sequence, newest());
    rot(n, 0);
    rot(n, 1);
  }
}

TEST_P(LogWithOlderRecords, TwoUnreadableRecordsAreNeverATornWrite) {
  for (std::uint64_t copy = 0; copy < 2; ++copy) {
    rot(newest(), copy);
    rot(newest() - 1, copy);
  }
  EXPECT_TRUE(recover(area_)->all_hot);
}

TEST_P(LogAfterALap, ALostWriteInsideTheRingMakesAllExtentsHot) {
  const std::uint64_t lost = newest() - 2;
  test::write_record(area_, sb_, lost - kIntentRecords, hot_of(lost - kIntentRecords));
  const auto r = recover(area_);
  EXPECT_TRUE(r->all_hot);
  EXPECT_EQ(r->log_sequence, newest());
}

TEST_P(LogWithOlderRecords, ARecordOfAnOlderAreaMakesAllExtentsHot) {
  Superblock other = sb_;
  other.area_id += 1;
  test::write_record(area_, other, newest() - 1, hot_of(0));
  EXPECT_TRUE(recover(area_)->all_hot);
}

TEST_P(LogRecovery, ARecordCopiedElsewhereIsFound) {
  const std::uint64_t victim = newest() > 1 ? newest() - 1 : newest() + 2;
  const auto from = test::record_in(area_, sb_.geometry, newest());
  std::ranges::copy(from, test::record_in(area_, sb_.geometry, victim).begin());
  const auto r = recover(area_);
  EXPECT_TRUE(r->all_hot);
  EXPECT_EQ(r->log_sequence, newest());
}

TEST_P(LogRecovery, TwoContentsUnderOneNumberMakeAllExtentsHot) {
  Area other = area_;
  test::write_record(other, sb_, newest(), {ExtentIndex{60}});
  const auto from = test::record_in(other, sb_.geometry, newest());
  std::ranges::copy(from.first<kBlockSize>(), test::record_in(area_, sb_.geometry, newest()).begin());
  EXPECT_TRUE(recover(area_)->all_hot);
}

INSTANTIATE_TEST_SUITE_P(Newest, LogRecovery, ::testing::Values(1, 2, 5, 31, 32, 33, 64, 1000));
INSTANTIATE_TEST_SUITE_P(Newest, LogWithOlderRecords, ::testing::Values(3, 5, 31, 32, 33, 64, 1000));
INSTANTIATE_TEST_SUITE_P(Newest, LogAfterALap, ::testing::Values(35, 64, 1000));

TEST(LogDamage, NoReadableRecordMakesAllExtentsHot) {
  const Superblock sb = sample_superblock();
  Area area = format_area(sb, 0);
  std::ranges::fill(test::record_in(area, sb.geometry, 1), std::byte{0});
  const auto r = recover(area);
  ASSERT_TRUE(r);
  EXPECT_TRUE(r->all_hot);
  EXPECT_EQ(r->log_sequence, 0u);
}

TEST(LogDamage, GarbageWhereNothingWasWrittenMakesAllExtentsHot) {
  const Superblock sb = sample_superblock();
  Area area = format_area(sb, 0);
  test::record_in(area, sb.geometry, 3)[4444] = std::byte{1};
  EXPECT_TRUE(recover(area)->all_hot);
}

TEST(LogDamage, EveryByteOfANewestCopyPairRottenTogether) {
  const Superblock sb = sample_superblock();
  Area area = format_area(sb, 0);
  test::write_log(area, sb, 40);
  for (std::uint64_t byte = 0; byte < kBlockSize; byte += 13) {
    Area rotten = area;
    const auto record = test::record_in(rotten, sb.geometry, 39);
    test::flip_bit(record, byte * 8 + byte % 8);
    test::flip_bit(record, (kBlockSize + byte) * 8 + byte % 8);
    ASSERT_TRUE(recover(rotten)->all_hot) << byte;
  }
}

}  // namespace
}  // namespace twinblock::bitmap
