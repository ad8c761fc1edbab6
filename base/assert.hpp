// Assertions that stay on in release builds. A dead node is a case the cluster handles; a diverged one is
// not. Assert our own state only, never bytes from a disk, peer, client or operator.
#pragma once

namespace twinblock {

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line) noexcept;

// Called (if set) with the failure text before abort(): the simulator prints its last events there.
using AssertionHook = void (*)(const char* text);
void set_assertion_hook(AssertionHook hook) noexcept;

}  // namespace twinblock

#define TB_ASSERT(expression)                           \
  (static_cast<bool>(expression) ? static_cast<void>(0) \
                                 : ::twinblock::assertion_failed(#expression, __FILE__, __LINE__))
