#include "base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace twinblock {
namespace {
AssertionHook g_hook = nullptr;
}

void set_assertion_hook(AssertionHook hook) noexcept {
  g_hook = hook;
}

void assertion_failed(const char* expression, const char* file, int line) noexcept {
  char text[512];
  std::snprintf(text, sizeof text, "assertion failed: %s at %s:%d", expression, file, line);
  std::fprintf(stderr, "twinblock: %s\n", text);
  if (g_hook != nullptr) g_hook(text);
  std::abort();
}

}  // namespace twinblock
