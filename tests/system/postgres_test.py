#!/usr/bin/python3
# ctest: labels=mount timeout=300 serial
"""PostgreSQL on a mirror: the source is killed under pgbench and under clients that note each acknowledged commit;
the database starts on the other node and has every one of them.

The kernel can hang for good when the last process that holds a mount is the nbdfuse below it (its exit unmounts the
file system, which waits for nbdfuse). So the database's processes are gone before the mount, and the mount before
nbdfuse, in success and in failure.
"""
import contextlib
import glob
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import threading

import demo
import harness
from harness import MIB, need, need_mounts, need_nbd, pair, run, wait_for

CLIENTS = 4
COMMITS_BEFORE_THE_KILL = 300


def find_postgres():
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not folders or not os.path.exists(f"{folders[-1]}/pg_ctl"):
        raise harness.Skip("postgresql is not installed")
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        raise harness.Skip("there is no user postgres") from None
    need("runuser")
    return pathlib.Path(folders[-1])


class Postgres:
    """A server on DATA, reached by a unix socket in SOCKETS; run as user postgres."""

    def __init__(self, programs, data, sockets):
        self.programs = programs
        self.data = data
        self.sockets = sockets
        self.postmaster = None

    def command(self, program, *arguments):
        return ["runuser", "-u", "postgres", "--", str(self.programs / program), *[str(a) for a in arguments]]

    def call(self, program, *arguments):
        return run(*self.command(program, *arguments), cwd="/")

    def client(self, program, *arguments):
        """The command line of a client program, for the database `postgres`."""
        return self.command(program, "-h", self.sockets, "-U", "postgres", *arguments)

    def query(self, text):
        return run(*self.client("psql", "-XqtA", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-c", text),
                   cwd="/").stdout.split()

    def initialise(self):
        self.call("initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "--no-sync", "--no-instructions")

    def start(self):
        options = f"-k {self.sockets} -c listen_addresses= -c max_wal_size=64MB -c shared_buffers=16MB"
        self.call("pg_ctl", "-D", self.data, "-w", "-t", int(harness.PATIENCE), "-l", self.sockets / "server.log",
                  "-o", options, "start")
        self.postmaster = int((self.data / "postmaster.pid").read_text().split()[0])

    def processes(self):
        if self.postmaster is None:
            return []
        children = pathlib.Path(f"/proc/{self.postmaster}/task/{self.postmaster}/children")
        with contextlib.suppress(OSError):
            return [self.postmaster, *map(int, children.read_text().split())]
        return [self.postmaster]

    def kill(self):
        """At once, with its children; returns when they are gone, also from the kernel's waits for the dead disk."""
        pids = self.processes()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for("the database's processes to end", lambda: not any(os.path.exists(f"/proc/{p}") for p in pids))
        self.postmaster = None

    def stop(self):
        self.call("pg_ctl", "-D", self.data, "-w", "-m", "fast", "stop")
        self.postmaster = None

    @contextlib.contextmanager
    def running(self):
        try:
            self.start()
            yield self
        finally:
            self.kill()


class Committer(threading.Thread):
    """Inserts numbered rows, a commit each, and keeps the numbers whose commit was acknowledged."""

    def __init__(self, server, number):
        super().__init__(daemon=True)
        self.acknowledged = []
        self.number = number
        self.process = subprocess.Popen(
            server.client("psql", "-XqtA", "-d", "postgres", "-v", "ON_ERROR_STOP=1"), cwd="/",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            for i in range(1, 1_000_000):
                self.process.stdin.write(f"INSERT INTO ledger VALUES ({self.number}, {i}) RETURNING n;\n")
                self.process.stdin.flush()
                if self.process.stdout.readline().strip() != str(i):
                    break
                self.acknowledged.append(i)
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.kill()
        self.join(timeout=harness.PATIENCE)
        assert not self.is_alive(), "a client of the database hangs"


@contextlib.contextmanager
def committing(server):
    committers = [Committer(server, n) for n in range(CLIENTS)]
    bench = subprocess.Popen(server.client("pgbench", "-n", "-c", "2", "-T", "600", "postgres"), cwd="/",
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield committers
    finally:
        bench.kill()
        bench.wait(timeout=harness.PATIENCE)
        for committer in committers:
            committer.end()


def check_database(server, committers):
    there = set(server.query("SELECT client || '/' || n FROM ledger"))
    acknowledged = {f"{c.number}/{n}" for c in committers for n in c.acknowledged}
    missing = acknowledged - there
    assert not missing, f"{len(missing)} acknowledged commits are missing, e.g. {sorted(missing)[:5]}"
    # pgbench moves the same amount in four tables in one transaction.
    sums = server.query("SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(bbalance) FROM"
                        " pgbench_branches) AND (SELECT sum(tbalance) FROM pgbench_tellers) ="
                        " (SELECT coalesce(sum(delta), 0) FROM pgbench_history) AND (SELECT sum(abalance) FROM"
                        " pgbench_accounts) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)")
    assert sums == ["t"], sums
    return len(acknowledged)


def test_no_acknowledged_commit_is_lost(d):
    need_nbd()
    need_mounts()
    programs = find_postgres()
    d.chmod(0o755)
    sockets = d / "pg"
    sockets.mkdir()
    shutil.chown(sockets, "postgres")
    with pair(d, "hot_extents = 16", size=512 * MIB) as p:
        p.create()
        with demo.mounted(p.alpha, d) as mount:
            (mount / "data").mkdir()
            shutil.chown(mount / "data", "postgres")
            server = Postgres(programs, mount / "data", sockets)
            server.initialise()
            run("sync", "-f", mount)
            with server.running():
                server.query("CREATE TABLE ledger (client int, n int, PRIMARY KEY (client, n))")
                run(*server.client("pgbench", "-i", "-q", "-s", "1", "postgres"), cwd="/")
                with committing(server) as committers:
                    wait_for("commits", lambda: sum(len(c.acknowledged) for c in committers) >
                             COMMITS_BEFORE_THE_KILL, patience=harness.PATIENCE * 2)
                    p.alpha.kill()
        p.beta.wait_state(peer_link="connecting")
        p.beta.cli("promote", "data", "--confirm-dead", "alpha")
        with demo.mounted(p.beta, d) as mount:
            server = Postgres(programs, mount / "data", sockets)
            (mount / "data" / "postmaster.pid").unlink(missing_ok=True)
            with server.running():
                count = check_database(server, committers)
                server.query("INSERT INTO ledger VALUES (-1, 1)")
                server.stop()
        print(f"  {count} acknowledged commits, none missing")
        p.alpha.start()
        p.wait_synced(p.beta)
        assert p.alpha.status()["role"] == "target"
        p.flushed(p.beta)
        p.compare()


if __name__ == "__main__":
    harness.main()
