#!/usr/bin/python3
# ctest: timeout=600
"""Disks that fail, fill up, hang, crawl, come short or tear under living daemons, by the fault layer: each row of the
survival table with its outcome, and at the end two byte-identical replicas and empty bitmaps."""
import json
import os

import faults
import harness
from harness import MIB, need_nbd, pair, wait_for

SIZE = 32 * MIB
PIECE = 65536


class Books:
    """What was acknowledged, by place."""

    def __init__(self):
        self.held = {}

    def put(self, node, offset, fill=None, length=PIECE, flush=True):
        data = (fill or os.urandom(1)) * length
        h = node.handle()
        h.pwrite(data, offset)
        if flush:
            h.flush()
        h.shutdown()
        self.held[offset] = data

    def check(self, node):
        h = node.handle()
        for offset, data in self.held.items():
            assert h.pread(len(data), offset) == data, f"{node.name}: content at {offset}"
        h.shutdown()


def kinds(node):
    return [json.loads(line)["kind"] for line in node.cli("events", "--json").stdout.splitlines()]


def events(node, kind):
    found = [json.loads(line) for line in node.cli("events", "--json").stdout.splitlines()]
    return [event for event in found if event["kind"] == kind]


def mirror(d, settings="", size=SIZE):
    need_nbd()
    return pair(d, "peer_timeout_s = 2\n" + settings, size=size)


def begin(p):
    faults.with_faults(p)
    p.create()
    books = Books()
    for i in range(4):
        books.put(p.alpha, i * 4 * MIB)
    return books


def settle(p, books, source):
    """I8: identical content, nothing dirty on either side, everything acknowledged readable."""
    for node in (p.alpha, p.beta):
        node.faults.set()
    p.wait_synced(source)
    books.check(source)
    p.flushed(source)
    p.compare()
    for node in (p.alpha, p.beta):
        assert node.peer_status()["dirty_bytes"] == 0, node.status()


def replace(p, node):
    """A new disk: an empty target, a full resync."""
    if node.process.alive():
        node.stop_or_kill()
    node.faults.clear()
    (node.dir / "meta").unlink()
    node.disk.unlink()
    node.start()
    node.cli("create", "data", "--size", str(p.size))
    node.cli("up", "data")


def zero(node, books, offset):
    h = node.handle()
    h.zero(PIECE, offset)
    h.flush()
    h.shutdown()
    books.held[offset] = bytes(PIECE)


def test_a_daemon_with_faults_says_so(d):
    with mirror(d) as p:
        begin(p)
        for node in (p.alpha, p.beta):
            assert "FAULT INJECTION IS ON" in node.status()["reason"]
            assert "FAULT INJECTION IS ON" in node.cli("status").stdout
            assert events(node, "faults.on")[0]["severity"] == "critical"
            assert "faults.on" in node.process.log.read_text()
        p.beta.stop()
        p.beta.faults = None
        p.beta.start()
        p.wait_synced(p.alpha)
        assert "FAULT" not in p.beta.status()["reason"] and "faults.on" not in kinds(p.beta)
        p.beta.stop()
        broken = harness.run(harness.DAEMON, "--config", p.beta.config, check=False,
                             env={**os.environ, "TWINBLOCKD_FAULTS": "data.write=explode"})
        assert broken.returncode == 1 and "explode" in broken.stdout, broken.stdout


def fail_on_target(d, rule, act, settings=""):
    """Rows 50 and 53: the client notices nothing, the source knows that it is alone, the target that it failed."""
    with mirror(d, settings) as p:
        books = begin(p)
        p.beta.faults.set(rule)
        act(p, books)
        status = p.alpha.wait_state(role="source", redundancy=1, peer_link="refused")
        assert "the peer's disk has failed" in status["reason"] and status["peers"][0]["dirty_bytes"] > 0, status
        p.beta.faults.wait_hit(rule)
        status = p.beta.wait_state(state="Failed", replica="failed")
        assert "failed" in status["reason"] and status["promotion_score"] == -1, status
        assert "disk.failed" in kinds(p.beta) and "peer.disk_failed" in kinds(p.alpha)
        refused = p.beta.cli("promote", "data", "--confirm-dead", "alpha", check=False)
        assert refused.returncode != 0, refused.stdout
        books.put(p.alpha, 20 * MIB)
        books.check(p.alpha)
        replace(p, p.beta)
        settle(p, books, p.alpha)


def test_target_write_eio(d):
    fail_on_target(d, "data.write@nth:1=fail:EIO", lambda p, b: b.put(p.alpha, 8 * MIB))


def test_target_write_enospc(d):
    fail_on_target(d, "data.write@nth:1=fail:ENOSPC", lambda p, b: b.put(p.alpha, 8 * MIB))


def test_target_write_done_and_eio(d):
    fail_on_target(d, "data.write@nth:1=failafter:EIO", lambda p, b: b.put(p.alpha, 8 * MIB))


def test_target_flush_eio(d):
    fail_on_target(d, "data.flush@nth:1=fail:EIO", lambda p, b: b.put(p.alpha, 8 * MIB))


def test_target_zero_eio(d):
    fail_on_target(d, "data.zero=fail:EIO", lambda p, b: zero(p.alpha, b, 4 * MIB))


def test_target_metadata_eio(d):
    """Row 23 on the target: what cannot be recorded there is not up to date there."""
    with mirror(d) as p:
        books = begin(p)
        p.beta.faults.set("metadata.write=fail:EIO")
        p.beta.cli("disconnect", "data")
        p.alpha.wait_state(redundancy=1)
        books.put(p.alpha, 8 * MIB)
        p.beta.cli("connect", "data", check=False)   # the session and the resync have to be written down
        p.beta.wait_state(state="Failed")
        refused = p.beta.cli("connect", "data", check=False)
        assert refused.returncode == 1 and "the metadata of this replica" in refused.stdout, refused.stdout
        assert "metadata.failed" in kinds(p.beta)
        assert p.alpha.status()["redundancy"] == 1
        books.put(p.alpha, 12 * MIB)
        p.beta.stop_or_kill()
        p.beta.faults.clear()
        p.beta.start()
        settle(p, books, p.alpha)


def fail_on_source(d, rule, act):
    """Row 48: the client notices nothing; the peer serves, and takes over at the operator's word."""
    with mirror(d) as p:
        books = begin(p)
        p.alpha.faults.set(rule)
        act(p, books)
        p.alpha.faults.wait_hit(rule)
        status = p.alpha.wait_state(role="source", replica="failed", state="Failed", redundancy=1)
        assert "failed" in status["reason"], status
        assert "disk.failed" in kinds(p.alpha)
        books.put(p.alpha, 20 * MIB)
        books.check(p.alpha)
        p.alpha.cli("switchover", "data", "--force")
        p.beta.wait_state(role="source")
        books.check(p.beta)
        replace(p, p.alpha)
        settle(p, books, p.beta)


def test_source_write_eio(d):
    fail_on_source(d, "data.write@nth:1=fail:EIO", lambda p, b: b.put(p.alpha, 8 * MIB))


def test_source_write_enospc(d):
    fail_on_source(d, "data.write@nth:1=fail:ENOSPC", lambda p, b: b.put(p.alpha, 8 * MIB))


def test_source_flush_eio(d):
    fail_on_source(d, "data.flush@nth:1=fail:EIO", lambda p, b: b.put(p.alpha, 8 * MIB))


def test_source_zero_eio(d):
    fail_on_source(d, "data.zero=fail:EIO", lambda p, b: zero(p.alpha, b, 4 * MIB))


def test_source_metadata_enospc(d):
    """Row 23: a cold extent's intent cannot be written; the write goes to the peer alone, and is acknowledged there."""
    with mirror(d) as p:
        books = begin(p)
        p.alpha.faults.set("metadata.write=fail:ENOSPC")
        books.put(p.alpha, 24 * MIB)
        p.alpha.wait_state(role="source", replica="failed", redundancy=1)
        assert "metadata.failed" in kinds(p.alpha)
        books.put(p.alpha, 28 * MIB)
        books.check(p.alpha)
        p.alpha.cli("switchover", "data", "--force")
        p.beta.wait_state(role="source")
        p.alpha.stop_or_kill()
        p.alpha.faults.clear()
        p.alpha.start()
        settle(p, books, p.beta)


def test_source_read_eio_is_served_and_repaired(d):
    """Row 49."""
    with mirror(d) as p:
        books = begin(p)
        p.alpha.faults.set("data.read@offset:4194304-4259840,count:1=fail:EIO")
        books.check(p.alpha)
        wait_for("the repair", lambda: "read.repaired" in kinds(p.alpha))
        assert p.alpha.status()["redundancy"] == 2
        settle(p, books, p.alpha)


def test_both_reads_eio_is_an_error_for_that_block_only(d):
    """Row 60."""
    with mirror(d) as p:
        import nbd
        books = begin(p)
        for node in (p.alpha, p.beta):
            node.faults.set("data.read@offset:4194304-4198400=fail:EIO")
        h = p.alpha.handle()
        try:
            h.pread(4096, 4 * MIB)
            raise AssertionError("read from nowhere")
        except nbd.Error:
            pass
        assert h.pread(4096, 8 * MIB) == books.held[8 * MIB][:4096]
        assert h.pread(4096, 4 * MIB + 4096) == books.held[4 * MIB][:4096]
        h.shutdown()
        for node in (p.alpha, p.beta):
            assert node.process.alive()
        settle(p, books, p.alpha)


def behind(p, books):
    """beta is 8 MiB behind."""
    p.relay.cut()
    p.alpha.wait_state(redundancy=1)
    for offset in range(0, 8 * MIB, MIB):
        books.put(p.alpha, offset, length=MIB, flush=False)


def test_target_write_eio_during_a_resync(d):
    """Row 51: it is not called up to date, and ends when the disk is well."""
    with mirror(d) as p:
        books = begin(p)
        behind(p, books)
        p.beta.faults.set("data.write@from:3=fail:EIO")
        p.relay.flow()
        p.beta.wait_state(replica="failed")
        p.alpha.wait_state(redundancy=1)
        assert p.alpha.peer_status()["dirty_bytes"] > 0
        refused = p.beta.cli("promote", "data", "--confirm-dead", "alpha", check=False)
        assert refused.returncode != 0, refused.stdout
        replace(p, p.beta)
        settle(p, books, p.alpha)


def test_source_read_eio_during_a_resync(d):
    """Row 52: the bits stay, the target stays inconsistent, the operator is told where."""
    with mirror(d) as p:
        books = begin(p)
        behind(p, books)
        p.alpha.faults.set("data.read@offset:4194304-4198400=fail:EIO")
        p.relay.flow()
        wait_for("the operator to be told", lambda: any(
            4 * MIB <= int(e["fields"]["offset"]) < 5 * MIB for e in events(p.alpha, "disk.failed")
            if "offset" in e["fields"]))
        assert p.alpha.status()["redundancy"] <= 1 and p.beta.status()["replica"] != "uptodate"
        refused = p.beta.cli("promote", "data", "--confirm-dead", "alpha", check=False)
        assert refused.returncode != 0, refused.stdout
        # The block is readable again (a retry helped, or it was written): the source starts anew and it goes on.
        p.alpha.stop_or_kill()
        p.alpha.faults.clear()
        p.alpha.start()
        p.alpha.wait_state(role="source")
        settle(p, books, p.alpha)


def hang(d, who):
    """Row 54: given up after disk_timeout_s; what completes late harms nobody."""
    with mirror(d, "disk_timeout_s = 1") as p:
        books = begin(p)
        node = getattr(p, who)
        rule = "data.write=hang"
        node.faults.set(rule)
        books.put(p.alpha, 8 * MIB, b"1")          # answered, and bounded: that is the point
        node.faults.wait_hit(rule)
        status = node.wait_state(replica="failed")
        assert "does not answer" in status["reason"] and "timed out" in status["reason"], status["reason"]
        assert node.faults.state()["held"] > 0
        books.put(p.alpha, 8 * MIB, b"2")          # newer than what still hangs
        node.faults.clear()
        wait_for("the late completions", lambda: node.faults.state()["held"] == 0)
        wait_for("them to be noticed", lambda: "does not answer" not in node.status()["reason"])
        books.check(p.alpha)
        assert node.process.alive()
        source = p.alpha
        if node is source:
            p.alpha.cli("switchover", "data", "--force")
            p.beta.wait_state(role="source")
            source = p.beta
            books.check(p.beta)
        replace(p, node)
        settle(p, books, source)


def test_a_target_disk_that_hangs(d):
    hang(d, "beta")


def test_a_source_disk_that_hangs(d):
    hang(d, "alpha")


def test_a_disk_that_hangs_less_than_its_limit_is_only_slow(d):
    with mirror(d, "disk_timeout_s = 60") as p:
        import nbd
        books = begin(p)
        p.beta.faults.set("data.write=hang")
        h = p.alpha.handle()
        request = h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(b"h" * PIECE)), 8 * MIB)
        p.beta.faults.wait_hit("data.write=hang")
        h.poll(50)
        assert not h.aio_command_completed(request), "sync: the target has not written it"
        assert p.alpha.status()["redundancy"] == 2
        p.beta.faults.set()
        wait_for("the answer", lambda: h.poll(10) >= 0 and h.aio_command_completed(request))
        books.held[8 * MIB] = b"h" * PIECE
        h.shutdown()
        assert "disk.failed" not in kinds(p.beta)
        settle(p, books, p.alpha)


def test_a_slow_target_is_no_lost_target(d):
    """Row 55: each write takes longer than several pings; the link stays, nothing is degraded."""
    with mirror(d, "disk_timeout_s = 60") as p:
        books = begin(p)
        before = kinds(p.alpha)
        p.beta.faults.set("data.any=delay:700")
        for i in range(4):
            books.put(p.alpha, i * 4 * MIB)
        assert p.beta.faults.hits("data.any=delay:700") >= 8
        assert kinds(p.alpha) == before, "a session, a link or the ack set was lost"
        assert p.alpha.status()["redundancy"] == 2
        settle(p, books, p.alpha)


def test_transfers_that_come_short(d):
    """Row 56: the rest follows, on both disks and in a resync."""
    rules = ["data.write=short:4096", "data.read=short:4096", "metadata.write=short:4096"]
    with mirror(d) as p:
        books = begin(p)
        for node in (p.alpha, p.beta):
            node.faults.set(*rules)
        for i in range(4):
            books.put(p.alpha, i * 4 * MIB, length=MIB)
        behind(p, books)
        p.relay.flow()
        p.wait_synced(p.alpha)
        assert p.alpha.faults.hits(rules[0]) > 1000 and p.beta.faults.hits(rules[0]) > 1000
        assert p.alpha.faults.hits(rules[1]) > 100
        assert "disk.failed" not in kinds(p.alpha) + kinds(p.beta)
        settle(p, books, p.alpha)


def test_a_short_write_whose_rest_fails_is_no_success(d):
    with mirror(d) as p:
        books = begin(p)
        p.beta.faults.set("data.write@nth:1=short:4096", "data.write@nth:2=fail:EIO")
        books.put(p.alpha, 8 * MIB)
        p.beta.wait_state(replica="failed")
        replace(p, p.beta)
        settle(p, books, p.alpha)


def test_flushes_reach_both_disks_before_the_answer(d):
    """Row 57 from our side: whatever the disk then makes of it, it was asked."""
    with mirror(d) as p:
        books = begin(p)

        def flushes():
            return [node.faults.state().get("data.flush", 0) for node in (p.alpha, p.beta)]
        before = flushes()
        books.put(p.alpha, 8 * MIB)
        wait_for("flushes on both disks", lambda: all(now > then for now, then in zip(flushes(), before)))
        settle(p, books, p.alpha)


def tear(d, who, what):
    """Torn writes and deaths around them, one after the other, each followed by a restart that loses nothing."""
    with mirror(d, "hot_extents = 8") as p:
        import nbd
        books = begin(p)
        node = getattr(p, who)
        for number, deed in enumerate(["torn:0", "torn:512", "torn:1536", "torn:3584", "crash", "crashafter"]):
            rule = f"{what}.write@nth:{1 + number % 3}={deed}"
            node.faults.set(rule)
            offset = 0
            while node.process.alive():
                if who == "beta" and what == "metadata":   # a target writes it down when sessions begin and end
                    for verb in ("disconnect", "connect"):
                        node.cli(verb, "data", check=False)
                offset = (offset + 4 * MIB) % SIZE    # each in an extent that is cold by then
                data = os.urandom(1) * PIECE
                before = books.held.get(offset, bytes(PIECE))
                try:
                    h = p.alpha.handle()
                    h.pwrite(data, offset)
                    books.held[offset] = data
                    h.flush()
                    h.shutdown()
                except nbd.Error:
                    if books.held.get(offset) != data:
                        books.held[offset] = (before, data)
                    break
            wait_for(f"{rule} to kill", lambda: not node.process.alive())
            assert node.process.process.wait() == -9
            node.faults.clear()
            node.start()
            p.alpha.wait_state(role="source")
            either(p.alpha, books)
            settle(p, books, p.alpha)


def either(node, books):
    """What was not acknowledged reads as old or new per sector, and from then on always the same (I2)."""
    h = node.handle()
    for offset, data in list(books.held.items()):
        if not isinstance(data, tuple):
            continue
        found = h.pread(PIECE, offset)
        for at in range(0, PIECE, 512):
            assert found[at:at + 512] in (data[0][at:at + 512], data[1][at:at + 512]), f"sector at {offset + at}"
        books.held[offset] = bytes(found)
    h.shutdown()


def test_torn_data_on_the_source(d):
    tear(d, "alpha", "data")


def test_torn_data_on_the_target(d):
    tear(d, "beta", "data")


def test_torn_metadata_on_the_source(d):
    tear(d, "alpha", "metadata")


def test_torn_metadata_on_the_target(d):
    tear(d, "beta", "metadata")


if __name__ == "__main__":
    harness.main()
