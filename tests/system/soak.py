#!/usr/bin/python3
"""./run soak: two daemons, a relay between them, clients that check every acknowledged sector, and faults chosen by a
seed. After each round everything is healed, the pair must converge by itself, and both replicas are compared.

soak.py --minutes M [--seed S] [--evidence DIR]. Exit 1 with a directory of evidence on the first violation.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import time
import traceback

import faults
import harness
import register
import soak_client
from harness import MIB, wait_for

SIZE = 48 * MIB
SECTORS = SIZE // register.SECTOR
CLIENTS = 3
SETTINGS = "hot_extents = 8\npeer_timeout_s = 2\ndisk_timeout_s = 12\n"
ANSWER_LIMIT_S = 60.0
MEMORY_MAX = 4096 * MIB   # of this script: libnbd keeps a little of every asynchronous request, gigabytes in an hour
SYNCED = {"role": "source", "state": "Source", "redundancy": 2, "peer_link": "connected", "peer_dirty_bytes": 0}


class Story:
    def __init__(self, pair, seed):
        self.pair = pair
        self.rng = random.Random(seed)
        self.source = pair.alpha
        self.register = register.Register(SECTORS)
        self.mode = "sync"
        self.what = "start"
        self.errors_allowed = False     # EIO towards the clients is a legitimate answer in this round
        self.answer_limit = ANSWER_LIMIT_S
        share = SECTORS // CLIENTS
        self.clients = [soak_client.Client(self, self.register, (i * share, share), seed * 100 + i)
                        for i in range(CLIENTS)]

    @property
    def target(self):
        return self.source.peer

    # --- what rounds are made of ---

    def moment(self, longest=0.6):
        """The random moment at which something happens. Nothing depends on it."""
        time.sleep(self.rng.uniform(0.02, longest))  # poll-interval: chance, not a wait for a state
        self.look()

    def look(self):
        for client in self.clients:
            if client.violation is not None:
                raise client.violation

    def working(self, more=20):
        """Waits until the clients have got on."""
        before = self.register.acknowledged

        def enough():
            self.look()
            return self.register.acknowledged >= before + more
        wait_for("the clients to get on", enough, patience=self.answer_limit + 30)

    def degraded(self):
        self.source.wait_state(role="source", redundancy=1)

    def replace(self, node):
        """A new disk after a failed one: an empty target, a full resync."""
        if node.process.alive():
            node.stop_or_kill()
        node.faults.clear()
        (node.dir / "meta").unlink()
        node.disk.unlink()
        node.start()
        node.cli("create", "data", "--size", str(SIZE))
        node.cli("up", "data")

    def switch_over(self):
        old = self.source
        asked = self.rng.choice([self.source, self.target])
        asked.cli("switchover", "data", "--force")   # the clients reconnect
        old.peer.wait_state(role="source")
        self.source = old.peer

    def promote_peer(self):
        """The source is dead; its peer takes over on the operator's word."""
        dead = self.source
        dead.peer.wait_state(peer_link="connecting")
        dead.peer.cli("promote", "data", "--confirm-dead", dead.name)
        self.source = dead.peer

    def heal(self):
        """Ends every fault; a daemon that died is started again."""
        for node in (self.pair.alpha, self.pair.beta):
            node.faults.clear()
            if node.process.alive():
                os.kill(node.process.pid, signal.SIGCONT)
            else:
                node.start()
        self.pair.relay.flow()

    def converge(self):
        """P14: without help, however long the round was."""
        deadline = time.monotonic() + 180
        while True:
            self.look()
            try:
                self.source.wait_state(**SYNCED)
                return
            except AssertionError as error:
                if time.monotonic() > deadline:
                    raise register.Violation(f"the pair does not converge: {error}") from None

    def same_mode(self):
        """A mode that was set holds until the daemon ends: set it again after a restart or a change of roles."""
        if self.source.status()["mode"] != self.mode:
            self.source.cli("set", "data", f"mode={self.mode}")
            self.source.wait_state(mode=self.mode)

    def audit(self):
        """Everything stands still: what is uncertain is read, both replicas are compared, both bitmaps are empty."""
        for client in self.clients:
            client.pause()
        for client in self.clients:
            wait_for("a client to come to rest", client.idle.is_set, patience=self.answer_limit + 60)
        self.look()
        handle = self.source.handle()
        handle.flush()
        for sector in self.register.uncertain():
            self.read(handle, sector, 1)
        for _ in range(64):
            self.read(handle, self.rng.randrange(SECTORS - 256), 256)
        handle.shutdown()
        self.converge()
        wait_for("the queue to drain", lambda: self.source.peer_status()["queue_bytes"] == 0)
        self.flushed()
        try:
            self.pair.compare()
            target = self.target.peer_status()
            assert target["dirty_bytes"] == 0, f"the target's bitmap: {target}"
        except AssertionError as error:
            raise register.Violation(f"after {self.what}: {error}") from None
        for client in self.clients:
            client.resume()

    def flushed(self):
        """A flush waits for sync and memsync targets only; one in sync has reached the target's file in any mode."""
        if self.mode == "async":
            self.source.cli("set", "data", "mode=sync")
            self.source.wait_state(mode="sync")
        self.pair.flushed(self.source)
        if self.mode == "async":
            self.source.cli("set", "data", "mode=async")
            self.source.wait_state(mode="async")

    def read(self, handle, first, count):
        data = handle.pread(count * register.SECTOR, first * register.SECTOR)
        self.register.check(self.source.name, bytes(data), first)

    def read_all(self):
        handle = self.source.handle()
        for first in range(0, SECTORS, 2048):
            self.read(handle, first, 2048)
        handle.shutdown()


# --- the rounds: each begins with a pair in sync under load, and leaves what it did for heal() ---

def kill_target(s):
    for _ in range(s.rng.randrange(1, 4)):
        s.target.kill()
        s.moment()
        s.target.start()
        s.moment()


def kill_source(s):
    for _ in range(s.rng.randrange(1, 3)):
        s.source.kill()
        s.moment()
        s.source.start()
        s.source.wait_state(role="source")
        s.moment()


def kill_both(s):
    first, second = s.rng.sample([s.source, s.target], 2)
    first.kill()
    second.kill()
    s.moment(0.1)
    second.start()
    s.moment(0.1)
    first.start()


def fail_over(s):
    if s.mode == "async":
        return kill_source(s)   # an async target may lack what was acknowledged last
    dead = s.source
    dead.kill()
    s.promote_peer()
    s.working()
    dead.start()
    return None


def freeze_target(s):
    os.kill(s.target.process.pid, signal.SIGSTOP)
    s.moment(0.5)
    if s.rng.randrange(2):
        s.degraded()
        s.working()


def freeze_source(s):
    os.kill(s.source.process.pid, signal.SIGSTOP)
    s.moment(4)


def flap(s):
    for _ in range(s.rng.randrange(1, 6)):
        s.pair.relay.flap()
        s.moment(0.4)


def cut(s):
    s.pair.relay.cut()
    s.degraded()
    s.working()


def half_open(s):
    s.pair.relay.stall(s.rng.choice([("forward", "back"), ("forward",), ("back",)]))
    s.degraded()
    s.working()


def slow_link(s):
    s.pair.relay.slow(s.rng.uniform(0.005, 0.08))
    s.working()


def slow_disk(s):
    node = s.rng.choice([s.source, s.target])
    node.faults.set(f"seed={s.rng.randrange(1000)}", f"{s.rng.choice(['data', 'metadata', 'any'])}.any@1in:4=delay:1-120")
    s.working()


def short_transfers(s):
    for node in (s.source, s.target):
        node.faults.set("data.write@1in:2=short:4096", "data.read@1in:2=short:4096", "metadata.write@1in:3=short:4096")
    s.working(60)


def target_disk_fails(s):
    node = s.target
    rule = s.rng.choice(["data.write@1in:20=fail:EIO", "data.flush@1in:3=fail:EIO", "data.write@1in:20=fail:ENOSPC",
                         "data.write@1in:20=failafter:EIO"])
    node.faults.set(f"seed={s.rng.randrange(1000)}", rule)
    node.wait_state(replica="failed")
    s.degraded()
    s.working()
    s.replace(node)


def source_disk_fails(s):
    node = s.source
    rule = s.rng.choice(["data.write@1in:20=fail:EIO", "data.flush@1in:3=fail:EIO", "data.write@1in:20=failafter:EIO"])
    node.faults.set(f"seed={s.rng.randrange(1000)}", rule)
    node.wait_state(replica="failed")
    s.working()
    s.switch_over()
    s.replace(node)


def source_reads_fail(s):
    s.source.faults.set(f"seed={s.rng.randrange(1000)}", "data.read@1in:8=fail:EIO")
    s.working(40)


def target_disk_hangs(s):
    s.target.faults.set("data.write@from:3=hang")
    s.moment(1.5)
    if s.rng.randrange(2):
        node = s.target
        node.wait_state(replica="failed")
        s.degraded()
        s.working()
        node.faults.clear()   # late completions into a replica that has been given up
        s.moment()
        s.replace(node)


def metadata_fails(s):
    node = s.target
    node.faults.set(f"seed={s.rng.randrange(1000)}", f"metadata.write@1in:6=fail:{s.rng.choice(['EIO', 'ENOSPC'])}")
    node.wait_state(replica="failed")
    s.degraded()
    s.working()
    node.stop_or_kill()


def source_disk_hangs(s):
    """No completion within disk_timeout_s: the disk is given up; what completes later must harm nobody."""
    node = s.source
    node.faults.set(s.rng.choice(["data.write@from:3=hang", "data.any@from:3=hang", "data.flush=hang"]))
    node.wait_state(replica="failed")
    s.working()
    s.switch_over()
    node.faults.clear()
    s.moment()
    s.replace(node)


def source_metadata_fails(s):
    """What cannot be tracked here is not acknowledged from here alone."""
    node = s.source
    node.faults.set(f"seed={s.rng.randrange(1000)}", f"metadata.write@1in:6=fail:{s.rng.choice(['EIO', 'ENOSPC'])}")
    node.wait_state(replica="failed")
    s.working()
    s.switch_over()
    node.stop_or_kill()


def connection_errors(s):
    for node in (s.source, s.target):
        node.faults.set(f"seed={s.rng.randrange(1000)}", "peer.any@1in:40=fail:ECONNRESET", "peer.any@1in:8=delay:1-30")
    s.working(40)


def restart_both(s):
    first, second = s.rng.sample([s.source, s.target], 2)
    first.stop()
    second.stop()
    s.rng.choice([first, second]).start()
    s.moment(0.2)


def stale_promotion(s):
    """The source dies before its target has caught up: the target must refuse, even on the operator's word."""
    s.pair.relay.cut()
    s.degraded()
    s.working(40)
    s.pair.relay.slow(0.05)
    s.pair.relay.refusing = False
    s.moment(0.4)
    s.source.kill()
    s.target.wait_state(peer_link="connecting")
    replica = s.target.status()["replica"]
    if replica in ("inconsistent", "outdated"):
        said = s.target.cli("promote", "data", "--confirm-dead", s.source.name, check=False)
        if said.returncode != 3:
            raise register.Violation(f"an {replica} target was promoted: {said.returncode} {said.stdout}")
    s.source.start()
    s.source.wait_state(role="source")


def torn_crash(s):
    """One of the nodes dies in the middle of a write, or of a metadata write."""
    node = s.rng.choice([s.source, s.target])
    what = s.rng.choice(["data", "metadata"])
    rule = s.rng.choice([f"torn:{512 * s.rng.randrange(8)}", "crash", "crashafter"])
    node.faults.set(f"{what}.write@nth:{s.rng.randrange(1, 12)}={rule}", wait=False)
    wait_for(f"{node.name} to die of {what} {rule}", lambda: not node.process.alive())
    node.process.process.wait()
    node.faults.clear()
    s.moment(0.3)
    node.start()
    s.source.wait_state(role="source")


def hand_over(s):
    for _ in range(s.rng.randrange(1, 4)):
        s.switch_over()
        s.working(5)
        s.converge()


def change_mode(s):
    s.mode = s.rng.choice(["sync", "sync", "memsync", "async"])
    s.source.cli("set", "data", f"mode={s.mode}", f"queue_policy={s.rng.choice(['track', 'block'])}")
    s.source.wait_state(mode=s.mode)
    s.working()


def pause(s):
    s.source.cli("pause", "data")
    s.source.wait_state(state="Paused")
    s.working()
    s.source.cli("resume", "data")


def disconnect(s):
    node = s.rng.choice([s.source, s.target])
    node.cli("disconnect", "data")
    s.degraded()
    s.working()
    node.cli("connect", "data")


def restart_target(s):
    s.target.stop()
    s.moment()
    s.target.start()


def kill_in_resync(s):
    """The target or the source dies again while the first death is being mended."""
    s.pair.relay.cut()
    s.degraded()
    s.working(60)
    s.pair.relay.flow()
    s.moment(0.3)
    node = s.rng.choice([s.source, s.target])
    node.kill()
    s.moment(0.2)
    node.start()
    s.source.wait_state(role="source")


ROUNDS = [kill_target, kill_target, kill_source, kill_source, kill_both, fail_over, fail_over, freeze_target, freeze_source,
          flap, cut, half_open, half_open, slow_link, slow_disk, short_transfers, target_disk_fails, source_disk_fails,
          source_reads_fail, target_disk_hangs, source_disk_hangs, metadata_fails, source_metadata_fails, connection_errors, restart_both,
          stale_promotion, torn_crash, torn_crash, torn_crash, hand_over, change_mode,
          change_mode, pause, disconnect, restart_target, kill_in_resync, kill_in_resync]


# What may be going on beneath a round. Rules of its own replace it on that node.
BACKGROUNDS = [None, None, None, slow_link, slow_disk, short_transfers]


def play(story, minutes, sabotage=False):
    """Rounds until the time is over; at least one."""
    story.pair.create()
    for client in story.clients:
        client.start()
    begun = time.monotonic()
    number = 0
    while number == 0 or time.monotonic() - begun < minutes * 60:
        number += 1
        what = story.rng.choice(ROUNDS)
        under = story.rng.choice(BACKGROUNDS)
        story.what = f"round {number}: {what.__name__}" + (f" ({under.__name__})" if under else "")
        start = time.monotonic()
        acknowledged = story.register.acknowledged
        if under:
            under(story)
        if sabotage:
            story.target.faults.set("data.write@1in:50=drop")
        what(story)
        story.heal()
        story.converge()
        story.same_mode()
        story.audit()
        resident = int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        assert resident < MEMORY_MAX, f"the soak itself has grown to {resident // MIB} MiB"
        print(f"{story.what:44} {time.monotonic() - start:5.1f} s  source {story.source.name:5} {story.mode:7} "
              f"{story.register.acknowledged - acknowledged:6} writes", flush=True)
    for client in story.clients:
        client.pause()
        wait_for("a client to come to rest", client.idle.is_set)
    story.read_all()
    return number


def keep_evidence(story, directory):
    """Logs, metadata, disks, and what each node says of itself."""
    directory.mkdir(parents=True, exist_ok=True)
    for node in (story.pair.alpha, story.pair.beta):
        for verb in (["status", "--json"], ["explain", "data"], ["events"], ["metadata", "dump", "data"]):
            name = directory / f"{node.name}-{verb[0]}.txt"
            try:
                name.write_text(node.cli(*verb, check=False, patience=10).stdout, encoding="utf-8")
            except Exception as error:  # pylint: disable=broad-except
                name.write_text(f"{error}\n", encoding="utf-8")
    story.pair.close()
    for node in (story.pair.alpha, story.pair.beta):
        for file in node.dir.iterdir():
            if file.is_file():
                shutil.copy(file, directory / f"{node.name}-{file.name}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    parser.add_argument("--evidence", type=pathlib.Path, default=pathlib.Path("soak-evidence"))
    parser.add_argument("--sabotage", action="store_true", help="the target's disk loses writes: this must be found")
    arguments = parser.parse_args()
    try:
        harness.need_nbd()
    except harness.Skip as reason:
        print(f"SKIP: {reason}")
        return 77
    directory = pathlib.Path(harness.temporary_directory())
    print(f"soak: seed {arguments.seed}, {arguments.minutes:g} minutes", flush=True)
    begun = time.monotonic()
    pair = faults.with_faults(harness.Pair(directory, SETTINGS, SIZE))
    story = Story(pair, arguments.seed)
    try:
        rounds = play(story, arguments.minutes, arguments.sabotage)
    except BaseException as error:  # pylint: disable=broad-except
        place = arguments.evidence / f"seed-{arguments.seed}"
        print(f"soak: FAILED in {story.what} (source {story.source.name}, mode {story.mode}): {error}")
        traceback.print_exc(file=sys.stdout)
        for client in story.clients:
            client.stopping = True
        keep_evidence(story, place)
        (place / "story.txt").write_text(json.dumps({"seed": arguments.seed, "round": story.what, "error": str(error)}))
        print(f"soak: evidence in {place}; again: ./run soak --seed {arguments.seed} --minutes {arguments.minutes:g}")
        return 1
    finally:
        for client in story.clients:
            client.stopping = True
        for client in story.clients:
            if client.is_alive():
                client.join(timeout=10)
        pair.close()
        shutil.rmtree(directory, ignore_errors=True)
    books = story.register
    print(f"soak: seed {arguments.seed}: {rounds} rounds in {(time.monotonic() - begun) / 60:.1f} min, "
          f"{books.acknowledged} writes acknowledged, {books.checked} sectors checked, "
          f"{sum(c.connections for c in story.clients)} connections; no violation")
    return 0


if __name__ == "__main__":
    sys.exit(main())
