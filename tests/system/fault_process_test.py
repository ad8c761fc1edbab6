#!/usr/bin/python3
# ctest: timeout=600
"""What happens around a daemon: it is stopped, starved of descriptors and memory, its log cannot be written, clocks
jump, io_uring is forbidden. Each time the mirror ends in sync, byte-identical, with nothing dirty."""
import contextlib
import ctypes
import os
import pathlib
import resource
import signal
import struct
import subprocess
import sys

import harness
import ledger
from harness import MIB, Skip, need, need_nbd, pair, run, wait_for

SIZE = 48 * MIB


def settle(p, books, source):
    p.wait_synced(source)
    books.check(source)
    p.flushed(source)
    p.compare()
    for node in (p.alpha, p.beta):
        assert node.peer_status()["dirty_bytes"] == 0, node.status()


def more(books, count=50, client=None):
    before = books.acknowledged
    wait_for("the client to get on", lambda: books.acknowledged >= before + count or client and client.error)


# --- stopped processes ---

def test_a_stopped_target_is_given_up_and_comes_back(d):
    need_nbd()
    with pair(d, "peer_timeout_s = 1", size=SIZE) as p:
        p.create()
        books = ledger.Ledger()
        with ledger.writing(p.alpha, books, SIZE, 1) as client:
            more(books, client=client)
            p.beta.process.signal(signal.SIGSTOP)
            p.alpha.wait_state(redundancy=1, role="source")
            more(books, client=client)
            p.beta.process.signal(signal.SIGCONT)
            p.alpha.wait_state(redundancy=2)
            client.finish()
        settle(p, books, p.alpha)


def test_a_stopped_source_makes_its_clients_wait_and_nothing_else(d):
    """The target learns that its peer is silent, promotes nothing by itself, and takes the source back."""
    need_nbd()
    with pair(d, "peer_timeout_s = 1", size=SIZE) as p:
        p.create()
        books = ledger.Ledger()
        with ledger.writing(p.alpha, books, SIZE, 2) as client:
            more(books, client=client)
            p.alpha.process.signal(signal.SIGSTOP)
            p.beta.wait_state(peer_link="connecting", role="target")
            refused = p.beta.cli("promote", "data", check=False)
            assert refused.returncode == 3, refused.stdout
            assert client.is_alive() and client.error is None, "a client waits, it gets no error"
            p.alpha.process.signal(signal.SIGCONT)
            p.alpha.wait_state(redundancy=2)
            more(books, client=client)
            client.finish()
        settle(p, books, p.alpha)


def sleep_through_a_failover(p, books, seed):
    """alpha is stopped, beta promoted on the operator's (wrong) word, alpha wakes. How many alpha acknowledged since."""
    with ledger.writing(p.alpha, books, SIZE, seed) as client:
        more(books, client=client)
        p.alpha.process.signal(signal.SIGSTOP)
        p.beta.wait_state(peer_link="connecting")
        p.beta.cli("promote", "data", "--confirm-dead", "alpha")
        p.beta.wait_state(role="source")
        acknowledged = books.acknowledged
        p.alpha.process.signal(signal.SIGCONT)
        p.alpha.wait_state(role="target")
        assert client.cut_off() is not None, "the client of a deposed source goes on"
        return books.acknowledged - acknowledged, client.depth


def test_a_source_that_slept_through_a_failover_is_no_source_any_more(d):
    """Row 72: it may not write alone, so what it had not acknowledged it never acknowledges; its client is told."""
    need_nbd()
    with pair(d, 'peer_timeout_s = 1\nwrite_alone = "fenced"', size=SIZE) as p:
        p.create()
        books = ledger.Ledger()
        late, depth = sleep_through_a_failover(p, books, 3)
        # Answers that it had sent before the stop and nobody had read: at most what was in flight.
        assert late <= depth, f"{late} acknowledged after it was deposed"
        settle(p, books, p.beta)


def test_a_source_that_slept_and_may_write_alone_loses_nothing_silently(d):
    """Row 32: what it acknowledged alone is there in the end, or both sides say split-brain."""
    need_nbd()
    with pair(d, "peer_timeout_s = 1", size=SIZE) as p:
        p.create()
        books = ledger.Ledger()
        late, _ = sleep_through_a_failover(p, books, 4)
        h = p.beta.handle()
        h.pwrite(bytes(4096), SIZE - 4096)
        h.flush()
        h.shutdown()

        def decided():
            states = [node.status() for node in (p.alpha, p.beta)]
            if all(s["state"] == "Split-brain" for s in states):
                return "split-brain"
            synced = states[1]["role"] == "source" and states[1]["redundancy"] == 2
            return synced and "synced"
        outcome = wait_for("split-brain, or two copies", decided)
        print(f"  {late} acknowledged by alpha after beta's promotion; {outcome}")
        if outcome == "split-brain":
            said = p.alpha.cli("status").stdout
            assert "resolve" in said, said
            p.alpha.cli("resolve", "data", "--discard")
            p.beta.cli("resolve", "data", "--keep")
            p.wait_synced(p.beta)
            p.compare()
        else:
            books.held.pop(SIZE // ledger.BLOCK - 1, None)
            books.maybe.pop(SIZE // ledger.BLOCK - 1, None)
            settle(p, books, p.beta)


# --- the log ---

@contextlib.contextmanager
def small_file_system(d):
    """Where everything is full soon."""
    if os.geteuid() != 0:
        raise Skip("needs root")
    place = d / "small"
    place.mkdir()
    if run("mount", "-t", "tmpfs", "-o", "size=128k", "none", place, check=False).returncode != 0:
        raise Skip("mount is not permitted")
    try:
        yield place
    finally:
        run("umount", "-l", place, check=False)


def fill(place):
    with contextlib.suppress(OSError), open(place / "filler", "wb", buffering=0) as f:
        while True:
            f.write(bytes(4096))


def test_a_full_log_disk_does_not_touch_the_data(d):
    """Row 64: stderr goes to a file on a full file system."""
    need_nbd()
    with small_file_system(d) as place, pair(d, "peer_timeout_s = 1", size=SIZE) as p:
        for node in (p.alpha, p.beta):
            (node.dir / f"{node.name}.log").symlink_to(place / f"{node.name}.log")
        p.create()
        fill(place)
        size = (place / "alpha.log").stat().st_size
        books = ledger.Ledger()
        with ledger.writing(p.alpha, books, SIZE, 4) as client:
            for _ in range(5):
                p.relay.flap()
                p.alpha.wait_state(redundancy=2)
                more(books, client=client)
            client.finish()
        assert (place / "alpha.log").stat().st_size - size < 8192, "the log was not full"
        settle(p, books, p.alpha)
        assert "link.down" in p.alpha.cli("events").stdout, "events are kept in memory"
        p.alpha.stop()
        p.beta.stop()


def test_a_log_that_nobody_reads_does_not_touch_the_data(d):
    """The same for a pipe that is full: whoever should read it hangs."""
    need_nbd()
    with pair(d, "peer_timeout_s = 1", size=SIZE) as p:
        pipes = []
        for node in (p.alpha, p.beta):
            fifo = node.dir / f"{node.name}.log"
            os.mkfifo(fifo)
            fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
            pipes.append(fd)
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(fd, bytes(4096))
            node.process = None
        try:
            p.alpha.process = StuckLog(p.alpha)
            p.beta.process = StuckLog(p.beta)
            for node in (p.alpha, p.beta):
                node.cli("create", "data", "--size", str(SIZE), *(["--source"] if node is p.alpha else []))
                node.cli("up", "data")
            p.alpha.cli("promote", "data")
            p.wait_synced(p.alpha)
            books = ledger.Ledger()
            with ledger.writing(p.alpha, books, SIZE, 5) as client:
                for _ in range(3):
                    p.relay.flap()
                    p.alpha.wait_state(redundancy=2)
                    more(books, client=client)
                client.finish()
            settle(p, books, p.alpha)
        finally:
            for node in (p.alpha, p.beta):
                if node.process is not None:
                    node.process.kill()
                    node.process = None
            for fd in pipes:
                os.close(fd)


class StuckLog(harness.Process):
    """A daemon whose standard error is a pipe that is full."""

    def __init__(self, node):
        super().__init__([harness.DAEMON, "--config", node.config, "--exit-with-parent"], node.dir, node.name)
        self.wait_line("control on")

    def tail(self, count=30):
        return "(its log is a pipe that nobody reads)"


# --- descriptors and memory ---

def test_no_descriptors_left(d):
    """Row 63: new clients wait or are turned away; those that are there, and the peer, go on."""
    need_nbd()
    if harness.BUILD.name == "debug":
        raise Skip("UBSan looks at objects through a pipe: without a descriptor it takes each for a broken one")
    with pair(d, "peer_timeout_s = 1", size=SIZE) as p:
        import nbd
        p.create()
        books = ledger.Ledger()
        with ledger.writing(p.alpha, books, SIZE, 6) as client:
            more(books, client=client)
            used = len(os.listdir(f"/proc/{p.alpha.process.pid}/fd"))
            resource.prlimit(p.alpha.process.pid, resource.RLIMIT_NOFILE, (used + 2, used + 2000))
            import socket
            crowd = [socket.socket(socket.AF_UNIX) for _ in range(12)]
            for s in crowd:
                s.settimeout(1)
                with contextlib.suppress(OSError):
                    s.connect(str(p.alpha.nbd))
            more(books, client=client)
            p.relay.flap()        # a new connection to the peer needs a descriptor too
            more(books, client=client)
            for s in crowd:
                s.close()
            resource.prlimit(p.alpha.process.pid, resource.RLIMIT_NOFILE, (used + 2000, used + 2000))
            p.alpha.wait_state(redundancy=2)
            client.finish()
        with contextlib.suppress(nbd.Error):
            p.alpha.handle().shutdown()
        settle(p, books, p.alpha)


@contextlib.contextmanager
def memory_group(d, limit):
    """A control group that allows `limit` bytes (version 1 or 2)."""
    if os.geteuid() != 0:
        raise Skip("needs root")
    name = f"{pathlib.Path(os.environ.get('TWINBLOCK_TEST_RUN', 'tb-test')).name}-{os.getpid()}"
    for root, file in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = pathlib.Path(root) / name
        with contextlib.suppress(OSError):
            group.mkdir()
        if (group / file).exists():
            break
        with contextlib.suppress(OSError):
            group.rmdir()
    else:
        raise Skip("no memory controller that we may use")
    try:
        try:
            (group / file).write_text(str(limit))
        except OSError as error:
            raise Skip(f"the memory limit cannot be set: {error}") from None
        yield group
    finally:
        wait_for("the control group to be empty", lambda: not (group / "cgroup.procs").read_text().split())
        group.rmdir()


def peak_of(node):
    status = pathlib.Path(f"/proc/{node.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def test_memory_is_bounded_under_load(d):
    """Row 61: the source lives in a group with little more than it used in peace; it is neither killed nor stuck."""
    need_nbd()
    with pair(d, "peer_timeout_s = 1", size=SIZE) as p:
        p.create()
        books = ledger.Ledger()
        with ledger.writing(p.alpha, books, SIZE, 7) as client:
            more(books, 300, client)
            client.finish()
        limit = max(peak_of(p.alpha), peak_of(p.beta)) + 96 * MIB
        p.alpha.stop()
        with memory_group(d, limit) as group:
            def enter():
                (group / "cgroup.procs").write_text(str(os.getpid()))
            p.alpha.start(preexec=enter)
            try:
                p.alpha.wait_state(role="source")
                clients = [ledger.Ledger() for _ in range(4)]
                with contextlib.ExitStack() as stack:
                    running = [stack.enter_context(ledger.writing(p.alpha, b, SIZE, 10 + i, depth=32))
                               for i, b in enumerate(clients[:1])]
                    for _ in range(3):
                        p.relay.stall()
                        p.alpha.wait_state(redundancy=1)
                        p.relay.flow()
                        p.alpha.wait_state(redundancy=2)
                        more(clients[0], 200, running[0])
                    for client in running:
                        client.finish()
                assert p.alpha.process.alive(), p.alpha.process.tail()
                assert peak_of(p.alpha) <= limit
                settle(p, clients[0], p.alpha)
            finally:
                p.alpha.kill()


# --- clocks ---

# Allocates nothing and asks no linker: AddressSanitizer reads the clock inside malloc, before anything is set up.
STEP = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long jump(void) {  /* seconds, from a file that the test rewrites */
  char text[32];
  const char* path = getenv("TB_CLOCK_FILE");
  int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  if (n <= 0) return 0;
  text[n] = 0;
  return strtol(text, NULL, 10);
}
int clock_gettime(clockid_t id, struct timespec* t) {
  int r = (int)syscall(SYS_clock_gettime, id, t);
  if (r == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) t->tv_sec += jump();
  return r;
}
time_t time(time_t* out) { struct timespec t; clock_gettime(CLOCK_REALTIME, &t); if (out) *out = t.tv_sec; return t.tv_sec; }
int gettimeofday(struct timeval* v, void* z) { struct timespec t; (void)z; clock_gettime(CLOCK_REALTIME, &t);
  v->tv_sec = t.tv_sec; v->tv_usec = t.tv_nsec / 1000; return 0; }
"""
YEAR = 366 * 86400


def test_steps_of_the_wall_clock_do_nothing(d):
    """Row 79: years forward and back on either node, under load: only the stamps of the log move."""
    need_nbd()
    need("gcc")
    source = d / "step.c"
    source.write_text(STEP)
    library = d / "step.so"
    run("gcc", "-shared", "-fPIC", "-O1", "-o", library, source)
    with pair(d, "peer_timeout_s = 2", size=SIZE) as p:
        clocks = {}
        for node in (p.alpha, p.beta):
            clocks[node] = node.dir / "clock"
            clocks[node].write_text("0")
        start = harness.Node.start
        for node in (p.alpha, p.beta):
            node.start = lambda node=node, **options: start(
                node, env={"LD_PRELOAD": str(library), "TB_CLOCK_FILE": str(clocks[node])}, **options)
        p.create()
        before = [p.alpha.cli("events").stdout.count(kind) for kind in ("session.started", "link.down", "degraded")]
        books = ledger.Ledger()
        with ledger.writing(p.alpha, books, SIZE, 8) as client:
            for steps in ((YEAR, 0), (-YEAR, YEAR), (3600, -3600), (0, -2 * YEAR), (0, 0)):
                for node, seconds in zip((p.alpha, p.beta), steps):
                    clocks[node].write_text(str(seconds))
                more(books, client=client)
                assert p.alpha.status()["redundancy"] == 2
            clocks[p.alpha].write_text(str(5 * YEAR))
            client.finish()
        after = [p.alpha.cli("events").stdout.count(kind) for kind in ("session.started", "link.down", "degraded")]
        assert after == before, "a session or the link was lost"
        p.relay.flap()
        p.alpha.wait_state(redundancy=2)
        later = p.alpha.cli("events").stdout.splitlines()[-1]
        assert int(later[:4]) >= 2030, f"the wall clock did not move: {later}"
        settle(p, books, p.alpha)


# --- io_uring refused ---

def refuse_io_uring():
    """For preexec: a seccomp filter that answers io_uring_setup (425) with EPERM, as containers do."""
    prctl = harness.PRCTL
    code = [(0x20, 0, 0, 0),               # load the number of the system call
            (0x15, 0, 1, 425),             # is it io_uring_setup?
            (0x06, 0, 0, 0x00050000 | 1),  # yes: EPERM
            (0x06, 0, 0, 0x7fff0000)]      # no: allowed
    filters = b"".join(struct.pack("HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(filters, len(filters))
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer))
    if prctl(38, 1, 0, 0, 0) != 0 or prctl(22, 2, program, 0, 0) != 0:
        os._exit(99)


def test_without_io_uring_everything_works(d):
    need_nbd()
    probe = subprocess.run([sys.executable, "-c", "import ctypes; print(ctypes.CDLL(None, use_errno=True)"
                            ".syscall(425, 1, 0), ctypes.get_errno())"], preexec_fn=refuse_io_uring, text=True,
                           capture_output=True, check=False)
    if probe.returncode != 0:
        raise Skip("seccomp filters are not permitted")
    with pair(d, "peer_timeout_s = 2", size=SIZE) as p:
        start = harness.Node.start
        for node in (p.alpha, p.beta):
            node.start = lambda node=node, **options: start(node, preexec=refuse_io_uring, **options)
        p.create()
        for node in (p.alpha, p.beta):
            assert "ring.fallback" in node.process.log.read_text(), "io_uring was not refused"
        books = ledger.Ledger()
        with ledger.writing(p.alpha, books, SIZE, 9) as client:
            for _ in range(3):
                p.relay.flap()
                p.alpha.wait_state(redundancy=2)
                more(books, client=client)
            p.beta.kill()
            more(books, client=client)
            p.beta.start()
            p.alpha.wait_state(redundancy=2)
            client.finish()
        p.alpha.cli("switchover", "data")
        p.wait_synced(p.beta)
        settle(p, books, p.beta)
        p.beta.kill()
        p.alpha.wait_state(peer_link="connecting")
        p.alpha.cli("promote", "data", "--confirm-dead", "beta")
        books.check(p.alpha)
        p.beta.start()
        settle(p, books, p.alpha)
        p.alpha.stop()
        p.beta.stop()


if __name__ == "__main__":
    harness.main()
