#!/usr/bin/python3
# ctest: timeout=600
"""fio with verification and a client of every other command, on several connections at once, while the link flaps
and the target is killed and restarted. Afterwards the replicas are byte-identical and nothing is dirty."""
import random
import subprocess
import threading

import harness
from harness import MIB, need, need_nbd, pair

AREA = 16 * MIB          # of each fio job; the last area belongs to the model
JOBS = 4
SIZE = (JOBS + 1) * AREA


def fio_verify(node, *arguments):
    """Four jobs with a connection each: three write random sizes, flush, and check each block soon after and all at
    the end; one trims (fio verifies no trims; the replicas are compared, and the model below reads what it trimmed).
    """
    common = ["--ioengine=nbd", f"--uri={node.uri}", "--blockalign=4k", f"--size={AREA}", "--iodepth=16"]
    # Threads: killing the one process that we know ends them all, where forked jobs would live on.
    return subprocess.Popen(
        ["fio", "--output-format=terse", "--thread", "--name=verify", *common, "--rw=randwrite", "--bsrange=4k-128k",
         f"--numjobs={JOBS - 1}", f"--offset_increment={AREA}", "--fsync=40", "--randseed=5", "--verify=crc32c",
         "--verify_fatal=1", "--verify_backlog=64", "--verify_state_save=0", *arguments,
         "--name=trim", *common, "--rw=randtrim", "--bs=64k", f"--offset={(JOBS - 1) * AREA}", "--randseed=6",
         "--rate_iops=200", "--io_size=32m"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=node.pair.dir,
        preexec_fn=harness.end_with_parent)


class Model(threading.Thread):
    """Writes, zeroes, trims, FUA and flushes in the last area over two connections, compared with a copy in memory."""

    def __init__(self, node, seed):
        super().__init__(daemon=True)
        self.node = node
        self.rng = random.Random(seed)
        self.memory = bytearray(AREA)
        self.stopping = False
        self.error = None
        self.steps = 0

    def run(self):
        try:
            import nbd
            handles = [self.node.handle(), self.node.handle()]
            while not self.stopping:
                self._step(nbd, self.rng.choice(handles))
                self.steps += 1
            for handle in handles:
                handle.shutdown()
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def _step(self, nbd, h):
        length = 512 * self.rng.choice([1, 7, 8, 64, 200, 1500])
        at = 512 * self.rng.randrange((AREA - length) // 512 + 1)
        offset = JOBS * AREA + at
        fua = nbd.CMD_FLAG_FUA if self.rng.randrange(3) == 0 else 0
        verb = self.rng.randrange(6)
        if verb < 2:
            data = self.rng.randbytes(length)
            h.pwrite(data, offset, fua)
            self.memory[at:at + length] = data
        elif verb == 2:
            h.zero(length, offset, fua | (nbd.CMD_FLAG_NO_HOLE if length % 1024 else 0))
            self.memory[at:at + length] = bytes(length)
        elif verb == 3:
            h.trim(length, offset, fua)
            self.memory[at:at + length] = bytes(length)
        elif verb == 4:
            assert h.pread(length, offset) == self.memory[at:at + length], f"step {self.steps}: read at {offset}"
        else:
            h.flush()

    def end(self):
        self.stopping = True
        self.join(timeout=harness.PATIENCE)
        assert not self.is_alive(), "the model's client hangs"
        if self.error is not None:
            raise self.error
        assert self.steps > 0


def both(d, settings, *fio):
    need("fio")
    need_nbd()
    with pair(d, "hot_extents = 8\n" + settings, size=SIZE) as p:
        p.create()
        model = Model(p.alpha, 3)
        model.start()
        load = fio_verify(p.alpha, *fio)
        flaps = kills = 0
        try:
            # At least so many, however fast fio is: the model goes on until they are done.
            while (load.poll() is None or flaps + kills < 6) and model.error is None:
                if (flaps + kills) % 3 == 0:
                    p.beta.kill()
                    p.alpha.wait_state(redundancy=1)
                    p.beta.start()
                    kills += 1
                else:
                    p.relay.flap()
                    flaps += 1
                p.alpha.wait_state(redundancy=2)
            output, _ = load.communicate(timeout=harness.PATIENCE * 2)
        finally:
            model.stopping = True
            if load.poll() is None:
                load.kill()
                load.wait()
        assert load.returncode == 0, output
        model.end()
        assert flaps > 1 and kills > 1, f"{flaps} flaps, {kills} kills"
        p.wait_synced(p.alpha)
        p.flushed(p.alpha)
        assert p.alpha.peer_status()["dirty_bytes"] == 0
        p.compare()
        with open(p.beta.disk, "rb") as f:
            f.seek(JOBS * AREA)
            assert f.read(AREA) == model.memory, "the target's copy is not what the client wrote"
        print(f"  {flaps} flaps, {kills} kills of the target, {model.steps} steps of the model")


def test_sync_while_the_link_flaps_and_the_target_dies(d):
    both(d, "", "--io_size=160m")


def test_async_while_the_link_flaps_and_the_target_dies(d):
    both(d, 'mode = "async"\nqueue_bytes_max = "64MiB"', "--io_size=96m")


if __name__ == "__main__":
    harness.main()
