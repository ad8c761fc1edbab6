#!/usr/bin/python3
# ctest: timeout=120
"""A source that may not write alone freezes when its peer dies, says so, and goes on at the operator's word."""
import harness
from harness import wait_for


def test_the_operator_releases_a_frozen_source(directory):
    with harness.pair(directory, 'write_alone = "fenced"') as p:
        p.create()
        h = p.alpha.handle()
        p.beta.kill()
        p.alpha.wait_state(peer_link="connecting")
        cookie = h.aio_pwrite(b"x" * 4096, 8192)
        frozen = p.alpha.wait_state(frozen=True)
        assert "--confirm-dead beta" in frozen["frozen_reason"], frozen["frozen_reason"]
        assert not h.aio_command_completed(cookie)
        refused = p.alpha.cli("promote", "data", check=False)
        assert refused.returncode == 1 and "source already" in refused.stdout, refused.stdout
        p.alpha.cli("promote", "data", "--confirm-dead", "beta")

        def answered():
            h.poll(10)
            return h.aio_command_completed(cookie)
        wait_for("the frozen write", answered)
        assert p.alpha.status()["frozen"] is False
        h.shutdown()
        p.beta.start()
        p.wait_synced(p.alpha)
        for node in (p.alpha, p.beta):
            node.stop()
        p.compare()


if __name__ == "__main__":
    harness.main()
