#pragma once

#include "base/error.hpp"

namespace twinblock::bitmap {

// Why metadata was not accepted. The first group is about a whole area: nothing is ever written after one
// of these. The second is about one block (check_block); recovery turns it into "all of its range is dirty".
enum class errc {
  ok = 0,
  no_metadata,            // no block with our magic: never created (or not ours)
  superblocks_bad,        // our magic is there, but no superblock can be trusted: refuse, never "fresh"
  newer_format,           // an unknown required feature bit or a higher format version
  bad_geometry,           // sizes outside their limits, or an area too small for its geometry

  block_not_ours,         // no magic
  block_checksum,         // torn or rotten
  block_newer,            // checksum good, format version higher than ours
  block_misplaced,        // written for another address, or of a type that does not belong here
  block_other_area,       // left over from an earlier creation
  block_malformed,        // checksum good, but a count or an enum value is out of range
};

const boost::system::error_category& category() noexcept;
inline ErrorCode make_error_code(errc e) noexcept { return {static_cast<int>(e), category()}; }

}  // namespace twinblock::bitmap

template <>
struct boost::system::is_error_code_enum<twinblock::bitmap::errc> : std::true_type {};
