// A broken promise. Thrown by checkers from the simulator's own frames, never through frames of the core.
#pragma once

#include <string>

namespace twinblock::sim {

struct Failure {
  const char* checker;  // short name: which rule fired
  std::string text;
};

[[noreturn]] inline void fail(const char* checker, std::string text) {
  throw Failure{checker, std::move(text)};
}

}  // namespace twinblock::sim
