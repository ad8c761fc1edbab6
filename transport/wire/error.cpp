#include <string>

#include "transport/wire/messages.hpp"

namespace twinblock::wire {
namespace {

const char* describe(errc code) noexcept {
  switch (code) {
    case errc::ok:
      return "no error";
    case errc::bad_magic:
      return "the peer does not speak the replication protocol";
    case errc::bad_header_hash:
      return "a message header is corrupted (hash mismatch)";
    case errc::bad_payload_hash:
      return "the data behind a message header is corrupted (hash mismatch)";
    case errc::unknown_type:
      return "a message of a type that this version does not know";
    case errc::bad_length:
      return "a message with a length or codec out of bounds for its type";
    case errc::bad_body:
      return "a message body that does not decode";
    case errc::unknown_flag:
      return "a message with a flag that this version does not know";
  }
  return "unknown replication protocol error";
}

// A category lives for ever and is never deleted through its base.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"
class Category final : public boost::system::error_category {
 public:
  const char* name() const noexcept override { return "wire"; }
  std::string message(int value) const override { return describe(static_cast<errc>(value)); }
};
#pragma GCC diagnostic pop

}  // namespace

const boost::system::error_category& category() noexcept {
  static const Category category;
  return category;
}

}  // namespace twinblock::wire
