#include "base/error.hpp"

namespace twinblock {

ErrorCode system_error(int errno_value) noexcept {
  return {errno_value < 0 ? -errno_value : errno_value, boost::system::system_category()};
}

}  // namespace twinblock
