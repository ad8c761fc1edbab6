// Errors as values. `Result<T>` carries a value or an error code; codes come from one enum and category
// per module (docs/internals/errors.md is the table), or from the system category for errno.
#pragma once

#include <boost/system/error_code.hpp>
#include <boost/system/result.hpp>

namespace twinblock {

template <class T>
using Result = boost::system::result<T>;
using ErrorCode = boost::system::error_code;

// The system error for an errno value, or for a negative result of io_uring.
[[nodiscard]] ErrorCode system_error(int errno_value) noexcept;

}  // namespace twinblock
