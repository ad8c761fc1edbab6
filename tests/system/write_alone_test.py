#!/usr/bin/python3
# ctest: timeout=300
"""write_alone = "never": what cannot have two copies is frozen, visibly, and answered when the target is back."""
import harness
from harness import need_nbd, pair, wait_for

SETTINGS = 'write_alone = "never"\npeer_timeout_s = 2'


def begin_write(handle, data, offset):
    import nbd
    return handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)), offset)


def completed(handle, request):
    handle.poll(10)
    return handle.aio_command_completed(request)


def freeze_and_return(p, bring_back):
    """A write in flight and one that comes later are answered after the target's return, and are on both disks."""
    h = p.alpha.handle()
    first = begin_write(h, b"f" * 4096, 0)
    wait_for("the write to be frozen", lambda: h.poll(10) >= 0 and p.alpha.status()["frozen"])
    later = begin_write(h, b"l" * 4096, 1 << 20)
    assert not completed(h, first) and not completed(h, later)
    assert p.alpha.status()["redundancy"] == 1
    assert "write_alone" in p.alpha.status()["frozen_reason"]
    bring_back()
    wait_for("the frozen write to be answered", lambda: completed(h, first))
    wait_for("the later write to be answered", lambda: completed(h, later))
    p.wait_synced(p.alpha)
    assert not p.alpha.status()["frozen"]
    h.flush()
    assert h.pread(4096, 0) == b"f" * 4096 and h.pread(4096, 1 << 20) == b"l" * 4096
    h.shutdown()
    p.compare()


def test_target_killed_with_a_write_in_flight(d):
    need_nbd()
    with pair(d, SETTINGS) as p:
        p.create()
        p.beta.kill()
        freeze_and_return(p, p.beta.start)


def test_link_cut_with_a_write_in_flight(d):
    need_nbd()
    with pair(d, SETTINGS) as p:
        p.create()
        p.relay.cut()
        freeze_and_return(p, p.relay.flow)


def test_the_operator_lets_it_go_on_alone(d):
    need_nbd()
    with pair(d, SETTINGS) as p:
        p.create()
        p.beta.kill()
        h = p.alpha.handle()
        request = begin_write(h, b"f" * 4096, 0)
        wait_for("the write to be frozen", lambda: h.poll(10) >= 0 and p.alpha.status()["frozen"])
        p.alpha.cli("set", "data", "write_alone=free")
        wait_for("the frozen write to be answered", lambda: completed(h, request))
        status = p.alpha.wait_state(redundancy=1, frozen=False)
        assert status["peers"][0]["dirty_bytes"] > 0
        h.shutdown()
        # The target's file still says "never": the difference is for the next start, the policy is the source's.
        p.beta.start()
        p.wait_synced(p.alpha)
        p.compare()


if __name__ == "__main__":
    harness.main()
