#!/usr/bin/python3
# ctest: timeout=300
"""Disks that fail under a living daemon. Writes fail by a limit on the file size that the kernel puts on the daemon
(EFBIG, from outside, at any moment); reads fail by a disk that is an nbdkit with its error filter behind nbdfuse."""
import contextlib
import os
import resource
import signal
import socket
import subprocess

import harness
from harness import MIB, need, need_nbd, pair, run, wait_for

SIZE = 64 * MIB
BEYOND = 48 * MIB      # offsets from here on fail


def let_signal_pass():
    # The kernel sends SIGXFSZ with EFBIG. A broken disk sends nothing.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def fail_writes(node):
    """From now on writes at BEYOND and above fail on this node's disk."""
    resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (BEYOND, resource.RLIM_INFINITY))


def create(p):
    for node in (p.alpha, p.beta):
        node.start(preexec=let_signal_pass)
        node.cli("create", "data", "--size", str(SIZE), *(["--source"] if node is p.alpha else []))
        node.cli("up", "data")
    p.alpha.cli("promote", "data")
    p.wait_synced(p.alpha)


def put(node, fill, offset, length=65536):
    h = node.handle()
    h.pwrite(fill * length, offset)
    h.flush()
    h.shutdown()


def get(node, offset, length=65536):
    h = node.handle()
    data = h.pread(length, offset)
    h.shutdown()
    return data


def heal(p, node, survivor):
    """The disk is replaced: a fresh target, a resync, two equal copies."""
    if node.process.alive():
        node.stop_or_kill()
    (node.dir / "meta").unlink()
    node.disk.unlink()
    node.start()
    node.cli("create", "data", "--size", str(SIZE))
    node.cli("up", "data")
    p.wait_synced(survivor)
    p.compare()


def kinds(node):
    import json
    return [json.loads(line)["kind"] for line in node.cli("events", "--json").stdout.splitlines()]


def test_write_error_on_the_target_degrades(d):
    need_nbd()
    with pair(d, size=SIZE) as p:
        create(p)
        put(p.alpha, b"1", 0)
        fail_writes(p.beta)
        put(p.alpha, b"2", BEYOND + MIB)          # acknowledged: one copy, and known to be one
        status = p.alpha.wait_state(redundancy=1)
        assert status["role"] == "source" and status["peers"][0]["dirty_bytes"] > 0, status
        p.beta.wait_state(state="Failed", replica="failed")
        assert "disk.failed" in kinds(p.beta) and "peer.disk_failed" in kinds(p.alpha)
        refused = p.beta.cli("promote", "data", "--confirm-dead", "alpha", check=False)
        assert refused.returncode != 0, "a failed replica is not promoted"
        put(p.alpha, b"3", 2 * MIB)
        assert get(p.alpha, BEYOND + MIB) == b"2" * 65536 and get(p.alpha, 2 * MIB) == b"3" * 65536
        heal(p, p.beta, p.alpha)


def test_write_error_on_the_source_goes_on_through_the_peer(d):
    need_nbd()
    with pair(d, size=SIZE) as p:
        create(p)
        put(p.alpha, b"1", 0)
        fail_writes(p.alpha)
        put(p.alpha, b"2", BEYOND + MIB)          # acknowledged: it is on beta
        status = p.alpha.wait_state(role="source", redundancy=1, replica="failed")
        assert status["state"] == "Failed", status
        assert "disk.failed" in kinds(p.alpha)
        put(p.alpha, b"3", 2 * MIB)
        assert get(p.alpha, 0) == b"1" * 65536, "reads are served by the peer"
        assert get(p.alpha, BEYOND + MIB) == b"2" * 65536 and get(p.alpha, 2 * MIB) == b"3" * 65536
        with open(p.beta.disk, "rb") as f:
            f.seek(BEYOND + MIB)
            assert f.read(65536) == b"2" * 65536
        p.alpha.kill()
        p.beta.wait_state(peer_link="connecting")
        p.beta.cli("promote", "data", "--confirm-dead", "alpha")
        assert get(p.beta, 2 * MIB) == b"3" * 65536
        heal(p, p.alpha, p.beta)


def test_switchover_away_from_a_failed_disk(d):
    need_nbd()
    with pair(d, size=SIZE) as p:
        create(p)
        put(p.alpha, b"1", 0)
        fail_writes(p.alpha)
        put(p.alpha, b"2", BEYOND + MIB)
        p.alpha.wait_state(role="source", replica="failed")
        p.alpha.cli("switchover", "data")
        p.beta.wait_state(role="source", redundancy=1)
        p.alpha.wait_state(role="target", replica="failed")
        assert get(p.beta, 0) == b"1" * 65536 and get(p.beta, BEYOND + MIB) == b"2" * 65536
        put(p.beta, b"3", 2 * MIB)
        heal(p, p.alpha, p.beta)


def test_diskless_source_then_its_peer_dies(d):
    """No copy is left within reach: an error or a wait, never an answer from nowhere; then everything is on beta."""
    need_nbd()
    with pair(d, "peer_timeout_s = 2", size=SIZE) as p:
        create(p)
        fail_writes(p.alpha)
        put(p.alpha, b"2", BEYOND + MIB)
        p.alpha.wait_state(replica="failed")
        p.beta.kill()
        p.alpha.wait_state(redundancy=0)
        import nbd
        h = p.alpha.handle()
        request = h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(4096)), 0)
        with contextlib.suppress(nbd.Error):
            h.poll(200)
            assert not h.aio_command_completed(request), "acknowledged, but nowhere"
        p.alpha.kill()
        p.beta.start()
        p.beta.wait_state(peer_link="connecting")
        p.beta.cli("promote", "data", "--confirm-dead", "alpha")
        assert get(p.beta, BEYOND + MIB) == b"2" * 65536


def test_both_disks_fail(d):
    need_nbd()
    import nbd
    with pair(d, size=SIZE) as p:
        create(p)
        put(p.alpha, b"1", 0)
        fail_writes(p.alpha)
        fail_writes(p.beta)
        h = p.alpha.handle()
        try:
            h.pwrite(b"2" * 65536, BEYOND + MIB)
            raise AssertionError("acknowledged, but nowhere")
        except nbd.Error:
            pass
        assert p.alpha.process.alive() and p.beta.process.alive()
        assert p.alpha.status()["redundancy"] == 0


# What a file behind FUSE asks for; agreed between the nodes.
FUSE_BLOCKS = "logical_block_size = 4096"


# A server whose flush fails while the trigger exists: the error filter knows no flush.
FLUSHER = {
    "get_size": 'stat -c %s "$FILE"',
    "pread": 'dd if="$FILE" skip=$4 count=$3 iflag=skip_bytes,count_bytes bs=64k status=none',
    "pwrite": 'dd of="$FILE" seek=$4 oflag=seek_bytes bs=64k conv=notrunc status=none',
    "flush": 'if [ -e "$TRIGGER" ]; then echo EIO a broken cache >&2; exit 1; fi',
}


class FaultyDisk:
    """A file of which `verb` (pread or flush) fails while its trigger exists. The daemon sees a regular file (FUSE)."""

    def __init__(self, node, verb):
        need("nbdkit", "nbdfuse")
        if not os.path.exists("/dev/fuse") or os.geteuid() != 0:
            raise harness.Skip("needs root and fuse")
        self.node = node
        self.trigger = node.dir / f"{verb}-fails"
        self.socket = node.dir / "disk.nbd"
        store = node.dir / "store"
        with open(store, "wb") as f:
            f.truncate(SIZE)
        if verb == "flush":
            how = ["eval", *[f"{k}={v}" for k, v in FLUSHER.items()]]
        else:
            how = ["--filter=error", "file", store, f"error-{verb}=EIO", f"error-{verb}-rate=100%",
                   f"error-{verb}-file={self.trigger}"]
        probe = ["eval"] if verb == "flush" else ["--filter=error", "file"]
        if run("nbdkit", *probe, "--dump-plugin", check=False).returncode != 0:
            raise harness.Skip("this nbdkit lacks what the test needs")
        node.disk.touch()
        self.server = subprocess.Popen(
            ["nbdkit", "-f", "-U", self.socket, "--exit-with-parent", *how],
            env={**os.environ, "FILE": str(store), "TRIGGER": str(self.trigger)}, stderr=subprocess.DEVNULL)
        self.bridge = None
        try:
            wait_for("nbdkit", self._answers)
            self.bridge = subprocess.Popen(["nbdfuse", node.disk, f"nbd+unix:///?socket={self.socket}"],
                                           stderr=subprocess.DEVNULL)
            wait_for("nbdfuse", lambda: node.disk.stat().st_size == SIZE)
        except BaseException:
            self.close()
            raise

    def _answers(self):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.socket))
            return True
        return False

    def fail(self):
        self.trigger.touch()

    def close(self):
        run("umount", "-l", self.node.disk, check=False)
        for process in (self.bridge, self.server):
            if process is not None:
                process.terminate()
                process.wait(timeout=harness.PATIENCE)


@contextlib.contextmanager
def faulty(node, name):
    disk = FaultyDisk(node, name)
    try:
        yield disk
    finally:
        if node.process is not None and node.process.alive():
            node.kill()
        disk.close()


def create_on(p, special):
    """As Pair.create(), but one node's disk exists already."""
    for node in (p.alpha, p.beta):
        node.start()
        size = [] if node is special else ["--size", str(SIZE)]
        node.cli("create", "data", *size, *(["--source"] if node is p.alpha else []))
        node.cli("up", "data")
    p.alpha.cli("promote", "data")
    p.wait_synced(p.alpha)


def test_read_error_on_the_source_is_served_and_repaired(d):
    need_nbd()
    with pair(d, FUSE_BLOCKS, size=SIZE) as p, faulty(p.alpha, "pread") as disk:
        create_on(p, p.alpha)
        put(p.alpha, b"r", 4 * MIB)
        disk.fail()
        assert get(p.alpha, 4 * MIB) == b"r" * 65536
        wait_for("the repair", lambda: "read.repaired" in kinds(p.alpha))
        put(p.alpha, b"s", 8 * MIB)
        disk.trigger.unlink()
        assert get(p.alpha, 8 * MIB) == b"s" * 65536
        p.wait_synced(p.alpha)
        p.compare()


def test_read_error_without_a_peer_is_an_error(d):
    need_nbd()
    import nbd
    with pair(d, FUSE_BLOCKS, size=SIZE) as p, faulty(p.alpha, "pread") as disk:
        create_on(p, p.alpha)
        put(p.alpha, b"r", 4 * MIB)
        p.beta.kill()
        p.alpha.wait_state(redundancy=1)
        disk.fail()
        try:
            get(p.alpha, 4 * MIB)
            raise AssertionError("read from nowhere")
        except nbd.Error:
            pass
        assert p.alpha.process.alive()
        disk.trigger.unlink()
        p.beta.start()
        p.wait_synced(p.alpha)
        assert get(p.alpha, 4 * MIB) == b"r" * 65536


def test_flush_error_on_the_target_degrades(d):
    """A flush that failed once is never retried into success: that disk is out (P4)."""
    need_nbd()
    with pair(d, FUSE_BLOCKS, size=SIZE) as p, faulty(p.beta, "flush") as disk:
        create_on(p, p.beta)
        disk.fail()
        put(p.alpha, b"f", 4 * MIB)
        p.alpha.wait_state(redundancy=1)
        p.beta.wait_state(replica="failed")
        disk.trigger.unlink()
        put(p.alpha, b"g", 5 * MIB)
        assert p.alpha.status()["redundancy"] == 1 and p.beta.status()["replica"] == "failed"
        assert get(p.alpha, 4 * MIB) == b"f" * 65536


def test_flush_error_on_the_source_goes_on_through_the_peer(d):
    need_nbd()
    with pair(d, FUSE_BLOCKS, size=SIZE) as p, faulty(p.alpha, "flush") as disk:
        create_on(p, p.alpha)
        disk.fail()
        put(p.alpha, b"f", 4 * MIB)
        p.alpha.wait_state(role="source", replica="failed", redundancy=1)
        assert get(p.alpha, 4 * MIB) == b"f" * 65536


if __name__ == "__main__":
    harness.main()
