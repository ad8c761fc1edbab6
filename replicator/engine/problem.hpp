// Why something cannot be done, in the three sentences an operator needs at night. For set-up and commands,
// where the reader is a person; the data path uses error codes.
#pragma once

#include <string>
#include <utility>

#include <boost/system/result.hpp>

namespace twinblock::engine {

struct Problem {
  Problem() = default;
  // A constructor, because an aggregate would be constructible from a single string, which an
  // Outcome<std::string> could not tell from its value.
  Problem(std::string what, std::string safe, std::string next, bool is_refused = false,
          bool is_retry = false)
      : message{std::move(what)},
        what_is_safe{std::move(safe)},
        next_step{std::move(next)},
        refused{is_refused},
        retry{is_retry} {}

  std::string message;       // what happened
  std::string what_is_safe;  // which data can be relied on
  std::string next_step;     // a command to type
  bool refused = false;      // a safety rule said no (exit code 3), as opposed to a failure (1); errors.md
  bool retry = false;        // goes away by itself: try again
};

template <class T>
using Outcome = boost::system::result<T, Problem>;

}  // namespace twinblock::engine
