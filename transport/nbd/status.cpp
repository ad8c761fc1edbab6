#include "transport/nbd/status.hpp"

#include <array>
#include <string>

#include "base/assert.hpp"

namespace twinblock::nbd {
namespace {

struct StatusRow {
  Status status;
  std::uint32_t wire_error;
  std::string_view text;
};

constexpr std::array<StatusRow, kStatusCount> kStatusRows{{
    {Status::kOk, 0, ""},
    {Status::kIo, 5, "input/output error"},
    {Status::kInvalid, 22, "invalid request"},
    {Status::kNoSpace, 28, "write beyond the end of the export"},
    {Status::kPermission, 1, "the export is read-only"},
    {Status::kNotSupported, 95, "not faster than writing zeroes"},
    {Status::kOverflow, 75, "the reply would exceed the maximum payload"},
    {Status::kShutdown, 108, "the server is stopping"},
    {Status::kNoMemory, 12, "out of memory"},
}};

constexpr bool rows_are_in_order() {
  for (std::size_t i = 0; i < kStatusRows.size(); ++i) {
    if (static_cast<std::size_t>(kStatusRows[i].status) != i) return false;
  }
  return true;
}
static_assert(rows_are_in_order());

const StatusRow& row(Status status) {
  const auto index = static_cast<std::size_t>(status);
  TB_ASSERT(index < kStatusRows.size());
  return kStatusRows[index];
}

const char* describe(errc code) noexcept {
  switch (code) {
    case errc::kUnknownClientFlags:
      return "the client set unknown handshake flags";
    case errc::kBadOptionMagic:
      return "an option does not start with IHAVEOPT";
    case errc::kTooManyOptions:
      return "the client sent too many options";
    case errc::kOptionTooLong:
      return "an option is too long to skip";
    case errc::kExportRefused:
      return "EXPORT_NAME names an export that is unknown or not served here";
    case errc::kExportNameAfterExtendedHeaders:
      return "EXPORT_NAME after extended headers";
    case errc::kBadRequestMagic:
      return "a request does not start with the request magic";
    case errc::kPayloadTooLong:
      return "a request declares a payload above the limit";
    case errc::kWriteWithoutPayloadFlag:
      return "an extended WRITE without PAYLOAD_LEN";
  }
  return "unknown nbd error";
}

// A category lives for ever and is never deleted through its base.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"
class Category final : public boost::system::error_category {
 public:
  const char* name() const noexcept override { return "nbd"; }
  std::string message(int value) const override { return describe(static_cast<errc>(value)); }
};
#pragma GCC diagnostic pop

}  // namespace

std::uint32_t wire_error(Status status) noexcept {
  return row(status).wire_error;
}
std::string_view default_text(Status status) noexcept {
  return row(status).text;
}

const boost::system::error_category& nbd_category() noexcept {
  static const Category category;
  return category;
}

ErrorCode make_error_code(errc code) noexcept {
  return {static_cast<int>(code), nbd_category()};
}

}  // namespace twinblock::nbd
