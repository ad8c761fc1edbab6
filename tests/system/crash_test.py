#!/usr/bin/python3
# ctest: timeout=900
"""SIGKILL of either daemon at random moments under load, with restart: content equal, the cost of each crash
bounded by the hot extents, never a full resync."""
import random
import re
import subprocess
import time

import harness
from harness import MIB, need, pair

SIZE = 256 * MIB
HOT_EXTENTS = 8
# What a crash may cost: the hot extents, and what was written while the other one was down.
ALONE_MAX = 128 * MIB
KILLS = 50


def load(node, seed):
    return subprocess.Popen(
        ["fio", "--name=load", "--ioengine=nbd", f"--uri={node.uri}", "--rw=randwrite", "--bs=4k", "--iodepth=8",
         f"--size={SIZE}", "--time_based", "--runtime=600", "--rate_iops=1000", f"--randseed={seed}",
         "--output-format=terse"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def let_run(rng):
    time.sleep(rng.uniform(0.0, 0.25))  # poll-interval: the random moment itself; nothing depends on it


def test_random_kills(d):
    need("fio")
    rng = random.Random(2026)
    with pair(d, f"hot_extents = {HOT_EXTENTS}", size=SIZE) as p:
        p.create()
        client = load(p.alpha, 0)
        try:
            for i in range(KILLS):
                if client.poll() is not None:
                    client = load(p.alpha, i)
                let_run(rng)
                victim = p.alpha if rng.randrange(2) else p.beta
                victim.kill()
                if victim is p.alpha:
                    client.kill()
                    client.wait()
                let_run(rng)
                victim.start()
                p.alpha.wait_state(role="source", redundancy=2)
        finally:
            client.kill()
            client.wait()
        p.wait_synced(p.alpha)
        p.compare()
        # The first resync, right after creation, is the only full one.
        resyncs = re.findall(r"resync\.started .* bytes=(\d+) full=(\d)", p.alpha.process.log.read_text())
        assert len(resyncs) > 1 and resyncs[0][0] == str(SIZE), resyncs
        bound = HOT_EXTENTS * 4 * MIB + ALONE_MAX
        assert all(int(size) <= bound and full == "0" for size, full in resyncs[1:]), resyncs


if __name__ == "__main__":
    harness.main()
