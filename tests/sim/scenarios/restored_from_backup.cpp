// Survival row 26.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(restored_from_backup, "the target is set back to an older backup, metadata and all",
                   "rollback_not_noticed", "session_never_common", "flush_local_only") {
  c.each([](Script& s, std::uint32_t i) {
    s.start();
    s.load(10);
    s.drain();
    s.must(s.flush(s.a));
    s.run(kSecond);
    const Script::Backup backup = s.backup(s.b);
    for (std::uint32_t session = 0; session <= i; ++session) {
      s.kill(s.b);
      s.boot(s.b);
      s.settle();
      s.must(s.write(s.a, {session * 8, 8}));
      s.must(s.write(s.a, {4 * kExtent, 8}));
      s.must(s.flush(s.a));
      s.run(kSecond);  // nothing is hot: only the peer's memory can tell
    }
    s.power_cut(s.b);
    s.restore(s.b, backup);
    s.boot(s.b);
    s.settle();
    s.read_all();
    return i < 3;
  });
}

}  // namespace twinblock::sim
