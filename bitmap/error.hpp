#pragma once

#include "base/error.hpp"

namespace twinblock::bitmap {

// Why metadata was not accepted. Nothing is ever written after one of these.
enum class errc {
  ok = 0,
  no_metadata,            // no superblock magic in either copy: never created (or not ours)
  superblocks_bad,        // our magic is there, but neither copy passes its checks: refuse, never "fresh"
  newer_format,           // an unknown required feature bit or a higher format version
  bad_geometry,           // sizes outside their limits, or an area too small for its geometry
};

const boost::system::error_category& category() noexcept;
inline ErrorCode make_error_code(errc e) noexcept { return {static_cast<int>(e), category()}; }

}  // namespace twinblock::bitmap

template <>
struct boost::system::is_error_code_enum<twinblock::bitmap::errc> : std::true_type {};
