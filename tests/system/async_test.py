#!/usr/bin/python3
# ctest: timeout=300
"""Mode async while the link stands still: what the bound of the queue does under both policies, and the status."""
import harness
from harness import MIB, need_nbd, pair, wait_for

PIECE = 256 * 1024
QUEUE = 4 * MIB


def settings(policy):
    return f'mode = "async"\nqueue_policy = "{policy}"\nqueue_bytes_max = "4MiB"\npeer_timeout_s = 60'


def begin_writes(handle, count):
    import nbd
    requests = []
    for i in range(count):
        data = nbd.Buffer.from_bytearray(bytearray(bytes([i + 1]) * PIECE))
        requests.append(handle.aio_pwrite(data, i * PIECE))
    return requests


def take_answers(handle, pending):
    """Removes what is answered; how many were."""
    handle.poll(10)
    done = [request for request in pending if handle.aio_command_completed(request)]
    for request in done:
        pending.remove(request)
    return len(done)


def check_all(p, count):
    p.wait_synced(p.alpha)
    p.flushed(p.alpha)
    p.compare()
    with open(p.beta.disk, "rb") as f:
        for i in range(count):
            assert f.read(PIECE) == bytes([i + 1]) * PIECE, f"piece {i} on the target"


def test_tracking_goes_on_and_resyncs_by_itself(d):
    need_nbd()
    count = 3 * QUEUE // PIECE
    with pair(d, settings("track")) as p:
        p.create()
        p.relay.stall()
        h = p.alpha.handle()
        pending = begin_writes(h, count)
        wait_for("all writes to be answered without the peer", lambda: take_answers(h, pending) >= 0 and not pending)
        assert "queue.full" in p.alpha.cli("events").stdout
        p.relay.flow()
        check_all(p, count)
        h.shutdown()


def test_blocking_bounds_what_a_crash_would_lose(d):
    need_nbd()
    count = 3 * QUEUE // PIECE
    with pair(d, settings("block")) as p:
        p.create()
        p.relay.stall()
        h = p.alpha.handle()
        pending = begin_writes(h, count)
        done = 0

        def queue_is_full():
            nonlocal done
            done += take_answers(h, pending)
            return QUEUE - PIECE <= p.alpha.peer_status()["queue_bytes"] <= QUEUE
        wait_for("the queue to fill", queue_is_full)
        peer = p.alpha.peer_status()
        assert pending and done * PIECE <= QUEUE, f"{done} answered with a bound of {QUEUE // PIECE}"
        assert peer["rpo_s"] > 0 and p.alpha.status()["redundancy"] >= 1, peer
        # An async target may lack what was acknowledged last: it is not promoted on a guess.
        refused = p.beta.cli("promote", "data", check=False)
        assert refused.returncode == 3, refused.stdout
        p.relay.flow()
        wait_for("the rest to be answered", lambda: take_answers(h, pending) >= 0 and not pending)
        check_all(p, count)
        h.shutdown()


if __name__ == "__main__":
    harness.main()
