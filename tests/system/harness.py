"""What the system tests share: daemons in a directory of their own, a relay that can misbehave between them,
a CLI wrapper, and waits that look at states with a deadline.

A test is a script: functions named test_*, each called with a fresh working directory, and `harness.main()`.
Exit 0: all passed, 77: all skipped, else failed.
"""
import contextlib
import ctypes
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

from relay import Relay

BUILD = pathlib.Path(os.environ.get("TWINBLOCK_BUILD_DIR", "build/release")).resolve()
DAEMON = BUILD / "replicator" / "twinblockd"
CLI = BUILD / "cli" / "twinblock"
MIB = 1 << 20
PRCTL = ctypes.CDLL(None, use_errno=True).prctl
# Generous: a deadline is for what never comes, not for what is slow on a busy machine.
PATIENCE = float(os.environ.get("TWINBLOCK_TEST_PATIENCE_S", "60"))


class Skip(Exception):
    pass


def need(*programs):
    for program in programs:
        if shutil.which(program) is None:
            raise Skip(f"{program} is not installed")


def need_nbd():
    try:
        import nbd  # noqa: F401
    except ImportError:
        raise Skip("python3-libnbd is not installed") from None


def need_mounts():
    need("nbdfuse", "losetup", "mount")
    if os.geteuid() != 0 or not os.path.exists("/dev/loop-control") or not os.path.exists("/dev/fuse"):
        raise Skip("needs root, loop devices and fuse")


def end_with_parent():
    """For preexec_fn: whatever ends the test (a time limit, for one) ends the child."""
    PRCTL(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG


def temporary_directory():
    """A fresh directory, below that of the run if `./run` gave us one. Never on tmpfs, which metadata refuses."""
    run_directory = os.environ.get("TWINBLOCK_TEST_RUN")
    return tempfile.mkdtemp(prefix="tb-", dir=run_directory or ("/var/tmp" if os.path.ismount("/tmp") else "/tmp"))


def pause(seconds=0.02):
    time.sleep(seconds)  # poll-interval: between two looks at a state


def wait_for(what, condition, patience=None):
    """The first true value of condition(); an AssertionError that says what never came."""
    deadline = time.monotonic() + (patience or PATIENCE)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for: {what}")
        pause()


def run(*command, patience=None, check=True, **options):
    """Runs a program to its end; its output as text in the result."""
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=patience or PATIENCE * 2, check=False, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(str(c) for c in command)}: exit {done.returncode}\n{done.stdout}")
    return done


class Process:
    """A daemon: started, watched, killed by its pid."""

    def __init__(self, command, directory, name, env=None, pass_fds=(), preexec=None):
        self.log = pathlib.Path(directory) / f"{name}.log"
        self.out = pathlib.Path(directory) / f"{name}.out"
        self.name = name
        with open(self.log, "ab") as log, open(self.out, "wb") as out:
            self.process = subprocess.Popen([str(c) for c in command], stdout=out, stderr=log,
                                            env={**os.environ, **(env or {})}, pass_fds=pass_fds, preexec_fn=preexec)

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def lines(self):
        return self.out.read_text(encoding="utf-8", errors="replace").splitlines()

    def wait_line(self, prefix):
        def look():
            for line in self.lines():
                if line.startswith(prefix):
                    return line
            if not self.alive():
                raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
            return None
        return wait_for(f"line {prefix!r} of {self.name}", look)

    def tail(self, count=30):
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])

    def signal(self, number):
        if self.alive():
            os.kill(self.pid, number)

    def stop(self):
        """Orderly; the exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait(timeout=PATIENCE)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


CONFIG = """
[node]
name = "{name}"
state_dir = "{dir}/state"
control = "{dir}/control.sock"

[[mirror]]
name = "data"
nbd = "unix:{dir}/nbd.sock"
{settings}
[[mirror.node]]
name = "alpha"
disk = "{alpha}/disk"
metadata = "{alpha}/meta"
replication = ["127.0.0.1:{alpha_port}"]
[[mirror.node]]
name = "beta"
disk = "{beta}/disk"
metadata = "{beta}/meta"
replication = ["127.0.0.1:{beta_port}"]
"""


class Node:
    """One machine of a pair."""

    def __init__(self, pair, name):
        self.pair = pair
        self.name = name
        self.dir = pair.dir / name
        self.dir.mkdir()
        self.control = self.dir / "control.sock"
        self.config = self.dir / "twinblock.toml"
        self.disk = self.dir / "disk"
        self.nbd = self.dir / "nbd.sock"
        self.uri = f"nbd+unix:///?socket={self.nbd}"
        self.process = None
        self.faults = None   # tests/system/faults.py

    @property
    def peer(self):
        return self.pair.beta if self is self.pair.alpha else self.pair.alpha

    def start(self, env=None, preexec=None):
        if self.faults is not None:
            env = {**(env or {}), **self.faults.prepare()}
        self.process = Process([DAEMON, "--config", self.config, "--exit-with-parent"], self.dir, self.name, env=env,
                               preexec=preexec)
        self.process.wait_line("control on")
        return self

    def kill(self):
        self.process.kill()

    def stop(self):
        code = self.process.stop()
        assert code == 0, f"{self.name} ended with {code}:\n{self.process.tail()}"

    def stop_or_kill(self):
        """Orderly if it can: a daemon with a broken disk may not."""
        if self.process.stop() not in (0, 1):
            raise AssertionError(f"{self.name} ended with {self.process.process.returncode}:\n{self.process.tail()}")

    def cli(self, *arguments, check=True, patience=None):
        return run(CLI, "--control", self.control, *arguments, check=check, patience=patience)

    def status(self):
        done = self.cli("status", "--json")
        return json.loads(done.stdout)["mirrors"][0]

    def peer_status(self):
        return self.status()["peers"][0]

    def metadata(self):
        """The bytes of the metadata, to show that nothing changed."""
        path = self.dir / "meta"
        return path.read_bytes() if path.exists() else None

    def facts(self):
        """What the metadata of a living pair in sync says, without the numbers that move by themselves (sequences
        are saved every 10 s), once the end of the resync is written there too."""
        def look():
            text = self.cli("metadata", "dump", "data").stdout
            settled = "2 of 2 copies" in text and "data lacks" not in text and "resync active yes" not in text
            return settled and re.sub(r"(sequence|limit|log block) \d+", r"\1 N", text)
        return wait_for(f"the metadata of {self.name} to settle", look)

    def wait_state(self, **wanted):
        """Waits until each field has its value; a field of the peer is given as peer_FIELD."""
        def look():
            self.last = self.status()
            flat = {**self.last, **{"peer_" + k: v for k, v in self.last["peers"][0].items()}}
            return all(flat[k] == v for k, v in wanted.items()) and self.last
        try:
            return wait_for(f"{self.name}: {wanted}", look)
        except AssertionError as error:
            raise AssertionError(f"{error}\nlast status: {json.dumps(self.last, indent=1)}\n"
                                 f"{self.process.tail()}") from None

    def export_refusal(self):
        """The sentence that a client gets which asks for the export of a target."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.nbd))
            s.recv(18, socket.MSG_WAITALL)
            go = bytes(4) + bytes(2)   # default export, no info requests
            s.sendall(b"\0\0\0\x03" + b"IHAVEOPT" + (7).to_bytes(4, "big") + len(go).to_bytes(4, "big") + go)
            header = s.recv(20, socket.MSG_WAITALL)
            text = s.recv(int.from_bytes(header[16:20], "big"), socket.MSG_WAITALL).decode()
            assert header[12:16] == bytes.fromhex("80000002"), header
            return text

    def handle(self):
        """A libnbd handle, connected."""
        import nbd  # Debian's python3-libnbd; not everywhere
        h = nbd.NBD()
        h.connect_unix(str(self.nbd))
        return h


class Pair:
    """Two nodes with file-backed replicas and a relay between them."""

    def __init__(self, directory, settings="", size=64 * MIB):
        self.dir = pathlib.Path(directory)
        self.size = size
        self.beta_port = free_port()
        self.relay = Relay(self.beta_port)
        self.alpha = Node(self, "alpha")
        self.beta = Node(self, "beta")
        self.configure(settings)

    def configure(self, settings):
        for node in (self.alpha, self.beta):
            # beta listens on its port; alpha dials the relay in front of it
            port = self.relay.port if node is self.alpha else self.beta_port
            node.config.write_text(CONFIG.format(
                name=node.name, dir=node.dir, alpha=self.alpha.dir, beta=self.beta.dir, settings=settings,
                alpha_port=1, beta_port=port), encoding="utf-8")

    def create(self, source_file=None):
        """Both replicas made, both daemons running, alpha promoted, in sync."""
        if source_file is not None:
            shutil.copyfile(source_file, self.alpha.disk)
        for node in (self.alpha, self.beta):
            node.start()
            extra = ["--source"] if node is self.alpha else []
            if not node.disk.exists():
                extra += ["--size", str(self.size)]
            node.cli("create", "data", *extra)
            node.cli("up", "data")
        self.alpha.cli("promote", "data")
        self.wait_synced(self.alpha)
        return self

    def wait_synced(self, source):
        source.wait_state(role="source", state="Source", redundancy=2, peer_link="connected", peer_dirty_bytes=0)

    def flushed(self, source):
        h = source.handle()
        h.flush()
        h.shutdown()

    def compare(self):
        """Both replicas are byte-identical."""
        with open(self.alpha.disk, "rb") as a, open(self.beta.disk, "rb") as b:
            at = 0
            while True:
                x, y = a.read(MIB), b.read(MIB)
                if x != y:
                    first = next(i for i in range(max(len(x), len(y))) if x[i:i + 1] != y[i:i + 1])
                    raise AssertionError(f"the replicas differ at byte {at + first}")
                if not x:
                    return
                at += len(x)

    def close(self):
        for node in (self.alpha, self.beta):
            if node.process is not None and node.process.alive():
                node.kill()
        self.relay.close()


@contextlib.contextmanager
def pair(directory, settings="", size=64 * MIB):
    p = Pair(directory, settings, size)
    try:
        yield p
    except BaseException:
        for node in (p.alpha, p.beta):
            if node.process is not None:
                print(f"--- log of {node.name}\n{node.process.tail(40)}", flush=True)
        raise
    finally:
        p.close()


def main():
    module = sys.modules["__main__"]
    names = [n for n in sys.argv[1:] if not n.startswith("-")]
    tests = [(n, f) for n, f in vars(module).items() if n.startswith("test_") and (not names or n in names)]
    failed = skipped = 0
    for name, function in tests:
        begun = time.monotonic()
        directory = temporary_directory()
        try:
            function(pathlib.Path(directory))
            print(f"PASS {name} {time.monotonic() - begun:.1f}s", flush=True)
        except Skip as reason:
            skipped += 1
            print(f"SKIP: {name}: {reason}", flush=True)
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print(f"FAIL {name} {time.monotonic() - begun:.1f}s\n{traceback.format_exc()}", flush=True)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    print(f"{len(tests) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 77 if skipped == len(tests) else 0)
