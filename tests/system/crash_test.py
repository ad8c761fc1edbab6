#!/usr/bin/python3
# ctest: timeout=900
"""SIGKILL of either daemon at random moments under load, with restart or failover: acknowledged writes are there,
content equal, the cost of each crash bounded by the hot extents and what was written alone, never a full resync."""
import random
import re
import time

import harness
import ledger
from harness import MIB, need_nbd, pair, wait_for

SIZE = 256 * MIB
REGION = 65536
HOT_EXTENTS = 8
EXTENT = 4 * MIB


def let_run(rng, longest=0.25):
    time.sleep(rng.uniform(0.0, longest))  # poll-interval: the random moment itself; nothing depends on it


class Resyncs:
    """The resyncs that a node has begun as leader, read from its log."""

    def __init__(self, *nodes):
        self.nodes = nodes
        self.seen = {node: 0 for node in nodes}

    def new(self):
        found = []
        for node in self.nodes:
            if not node.process.log.exists():
                continue
            lines = re.findall(r"resync\.started .* bytes=(\d+) full=(\d)", node.process.log.read_text())
            found += [(int(size), full == "1") for size, full in lines[self.seen[node]:]]
            self.seen[node] = len(lines)
        return found


class Story:
    """One run: a source under load, kills, and after each the books are compared."""

    def __init__(self, p, seed, tight):
        self.p = p
        self.rng = random.Random(seed)
        self.ledger = ledger.Ledger()
        self.source = p.alpha
        self.resyncs = Resyncs(p.alpha, p.beta)
        self.client = None
        self.count = 0
        self.costs = []
        self.tight = tight

    def load(self):
        self.count += 1
        self.client = ledger.Client(self.source, self.ledger, SIZE, self.count)
        self.client.start()
        before = self.ledger.acknowledged
        wait_for("the load to begin",
                 lambda: self.ledger.acknowledged > before + 20 or self.client.error)
        assert self.client.error is None, self.client.error

    def kill_target(self):
        target = self.source.peer
        self.ledger.forget()
        target.kill()
        let_run(self.rng)
        target.start()

    def kill_source(self, fail_over):
        """All that was in flight is uncertain; the rest has to be there, on whoever serves next."""
        dead = self.source
        dead.kill()
        assert self.client.cut_off() is not None, "the kill was not noticed"
        self.ledger.forget()
        if fail_over:
            self.source = dead.peer
            self.source.wait_state(peer_link="connecting")
            self.source.cli("promote", "data", "--confirm-dead", dead.name)
            self.ledger.check(self.source, self.rng, sample=100)
            self.load()
            let_run(self.rng)
            dead.start()
        else:
            dead.start()
            self.source.wait_state(role="source")
            self.ledger.check(self.source, self.rng, sample=100)
            self.load()

    def settle(self, what):
        """Waits for two copies; what the crash cost stays below the bound."""
        self.source.wait_state(role="source", redundancy=2, peer_link="connected")
        assert self.client.error is None, f"{what}: {self.client.error}"
        # What was in flight at the kill is in hot extents; what came after it was written alone or during the resync.
        bound = HOT_EXTENTS * EXTENT + self.ledger.regions_touched() * REGION
        # Outside sync the bits of the resync before may still stand on disk: cleared, but not yet durably.
        if not self.tight:
            bound += max(self.costs[-2:], default=0)
        for size, full in self.resyncs.new():
            self.costs.append(size)
            assert not full, f"{what}: a full resync"
            assert size <= bound, f"{what}: {size} bytes to resync, at most {bound} expected"

    def end(self):
        self.client.finish()
        self.p.wait_synced(self.source)
        self.p.flushed(self.source)
        checked = self.ledger.check(self.source)
        self.p.compare()
        print(f"  {checked} blocks checked, {self.ledger.acknowledged} writes acknowledged; largest resync "
              f"{max(self.costs, default=0) / MIB:.1f} MiB of {SIZE // MIB} MiB")


def random_kills(d, kills, seed, settings="", fail_over=True):
    need_nbd()
    with pair(d, f"hot_extents = {HOT_EXTENTS}\n{settings}", size=SIZE) as p:
        p.create()
        story = Story(p, seed, tight="mode" not in settings)
        first = story.resyncs.new()
        assert len(first) == 1 and first[0][0] == SIZE, f"the first copy is the only full one: {first}"
        story.load()
        try:
            for i in range(kills):
                let_run(story.rng)
                if story.rng.randrange(2):
                    story.kill_target()
                    story.settle(f"kill {i}: target")
                else:
                    over = fail_over and story.rng.randrange(2) == 1
                    story.kill_source(over)
                    story.settle(f"kill {i}: source, {'failover' if over else 'restart'}")
            assert story.costs, "no crash cost anything: the load did not run"
            story.end()
        finally:
            story.client.stopping = True


def test_fifty_kills_in_sync(d):
    random_kills(d, 50, 2026)


def test_kills_in_memsync(d):
    # One node dies at a time: what the other one received it also writes, before it is promoted.
    random_kills(d, 8, 7, 'mode = "memsync"')


def test_kills_in_async_tracking(d):
    random_kills(d, 6, 8, 'mode = "async"\nqueue_policy = "track"\nqueue_bytes_max = "64MiB"', fail_over=False)


def test_kills_in_async_blocking(d):
    random_kills(d, 6, 9, 'mode = "async"\nqueue_policy = "block"\nqueue_bytes_max = "4MiB"', fail_over=False)


if __name__ == "__main__":
    harness.main()
