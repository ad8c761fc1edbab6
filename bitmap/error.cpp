#include "bitmap/error.hpp"

#include <string>

namespace twinblock::bitmap {
namespace {

const char* text(errc e) noexcept {
  switch (e) {
    case errc::ok:
      return "success";
    case errc::no_metadata:
      return "no Twinblock metadata found";
    case errc::superblocks_bad:
      return "both copies of the superblock are damaged";
    case errc::newer_format:
      return "the metadata was written by a newer version of Twinblock";
    case errc::bad_geometry:
      return "metadata sizes are out of range or the metadata area is too small";
    case errc::block_not_ours:
      return "not a metadata block";
    case errc::block_checksum:
      return "checksum mismatch (torn or rotten)";
    case errc::block_newer:
      return "newer format version";
    case errc::block_misplaced:
      return "block belongs to another address";
    case errc::block_other_area:
      return "block of another metadata area";
    case errc::block_malformed:
      return "block content out of range";
  }
  return "unknown metadata error";
}

// A category lives for ever and is never deleted through its base.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"
class Category final : public boost::system::error_category {
 public:
  const char* name() const noexcept override { return "twinblock.bitmap"; }
  std::string message(int value) const override { return text(static_cast<errc>(value)); }
};
#pragma GCC diagnostic pop

}  // namespace

const boost::system::error_category& category() noexcept {
  static const Category category;
  return category;
}

}  // namespace twinblock::bitmap
