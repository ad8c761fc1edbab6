// Survival rows 2 to 4: one generation on both sides does not mean one content.
#include "tests/sim/script.hpp"

namespace twinblock::sim {

TWINBLOCK_SCENARIO(equal_generations_with_bits, "both have one generation, and bits are left over",
                   "bits_not_set_on_link_loss", "intent_dropped_at_completion", "marks_are_lost") {
  enum class Ends { stays, killed, power_cut };
  const auto end = [](Script& s, Node& n, Ends how) {
    if (how == Ends::killed) s.kill(n);
    if (how == Ends::power_cut) s.power_cut(n);
  };
  for (const Ends source : {Ends::stays, Ends::killed, Ends::power_cut}) {
    for (const Ends target : {Ends::stays, Ends::killed, Ends::power_cut}) {
      c.at("source " + std::to_string(static_cast<int>(source)) + " target " +
           std::to_string(static_cast<int>(target)));
      c.play([&](Script& s) {
        s.start();
        s.must(s.write(s.a, {0, 8}));
        s.must(s.write(s.a, {2 * kExtent, 8}));  // acknowledged by both, stable on neither
        s.partition();
        s.run(kSecond);
        end(s, s.a, source);
        end(s, s.b, target);
        if (c.sabotaged("marks_are_lost") && source != Ends::stays)
          s.edit_superblock(s.a, [](bitmap::Superblock&) {});
        s.expect(s.a.meta.superblock().current() == s.b.meta.superblock().current(), "one generation");
        s.resynced_bytes = 0;
        if (source != Ends::stays) s.boot(s.a);
        if (target != Ends::stays) s.boot(s.b);
        s.mend();
        s.finish();
        s.expect(s.resynced_bytes > 0, "the leftover bits are resynced");
        s.expect(s.resynced_bytes <= kPartial, "and nothing else");
        s.read_all();
      });
    }
  }
}

}  // namespace twinblock::sim
