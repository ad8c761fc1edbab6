#!/usr/bin/python3
# ctest: labels=mount timeout=300
"""Replicas on block devices (loop devices over files): claimed exclusively, zeroed and discarded alike, refused
when in use, of another size or block size, or changed behind the mirror's back. Skipped where the machine has
no loop devices to give.
"""
import contextlib
import errno
import os
import random

import harness
from harness import MIB, Skip, run, wait_for

SIZE = 64 * MIB


class Loop:
    """A loop device over a new sparse file."""

    def __init__(self, path, size=SIZE, sector=512):
        self.file = path
        with open(path, "wb") as f:
            f.truncate(size)
        if os.geteuid() != 0 or not os.path.exists("/dev/loop-control"):
            raise Skip("loop devices need root and /dev/loop-control")
        try:
            done = run("losetup", "--find", "--show", "--sector-size", sector, path, check=False)
        except FileNotFoundError:
            raise Skip("losetup is not installed") from None
        if done.returncode != 0:
            raise Skip(f"losetup: {done.stdout.strip()}")
        self.device = done.stdout.strip()

    def detach(self):
        # Busy for a moment after the daemon's end: the ring closes its files after the process.
        wait_for(f"{self.device} to be free", lambda: run("losetup", "-d", self.device, check=False).returncode == 0)


@contextlib.contextmanager
def block_pair(directory, settings="", alpha=None, beta=None):
    """A pair whose disks are loop devices; alpha and beta are arguments of Loop."""
    with contextlib.ExitStack() as stack:
        loops = []
        for name, options in (("alpha", alpha), ("beta", beta)):
            loops.append(Loop(directory / f"{name}.img", **(options or {})))
            stack.callback(loops[-1].detach)
        p = stack.enter_context(harness.pair(directory, settings))
        for node, loop in zip((p.alpha, p.beta), loops):
            node.disk.symlink_to(loop.device)
            node.loop = loop
        yield p


def created(p):
    for node, extra in ((p.alpha, ["--source"]), (p.beta, [])):
        node.start()
        node.cli("create", "data", *extra)
        node.cli("up", "data")
    p.alpha.cli("promote", "data")


def exclusive_open(path):
    """The errno of an exclusive open; 0: the device is free."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_EXCL))
        return 0
    except OSError as error:
        return error.errno


def scribble(handle, seed, count=60):
    """Writes, zeroes and trims at random places; what has to be there, as a bytearray overlay of what was known."""
    import nbd
    rng = random.Random(seed)
    content = bytearray(handle.pread(SIZE // 4, 0) + handle.pread(SIZE // 4, SIZE // 4)
                        + handle.pread(SIZE // 4, SIZE // 2) + handle.pread(SIZE // 4, 3 * SIZE // 4))
    for _ in range(count):
        length = 512 * rng.randrange(1, 2000)
        at = 512 * rng.randrange(0, (SIZE - length) // 512)
        kind = rng.choice(("write", "write", "zero", "hole", "trim"))
        if kind == "write":
            data = rng.randbytes(length)
            handle.pwrite(data, at, nbd.CMD_FLAG_FUA if rng.random() < 0.1 else 0)
            content[at:at + length] = data
        else:
            if kind == "trim":
                handle.trim(length, at)
            else:
                handle.zero(length, at, nbd.CMD_FLAG_NO_HOLE if kind == "zero" else 0)
            content[at:at + length] = bytes(length)
    handle.flush()
    return content


def read_all(node):
    h = node.handle()
    content = b"".join(h.pread(4 * MIB, at) for at in range(0, SIZE, 4 * MIB))
    h.shutdown()
    return content


def test_failover_with_writes_zeroes_and_trims(directory):
    with block_pair(directory) as p:
        created(p)
        p.wait_synced(p.alpha)
        assert exclusive_open(p.alpha.loop.device) == errno.EBUSY
        assert exclusive_open(p.beta.loop.device) == errno.EBUSY
        h = p.alpha.handle()
        assert h.get_size() == SIZE and h.can_trim() and h.can_zero()
        expected = scribble(h, 1)
        p.alpha.kill()
        p.beta.wait_state(peer_link="connecting")
        p.beta.cli("promote", "data", "--confirm-dead", "alpha")
        assert read_all(p.beta) == expected
        h = p.beta.handle()
        expected = scribble(h, 2)
        h.shutdown()
        p.alpha.start()
        p.wait_synced(p.beta)
        p.beta.cli("switchover", "data")
        p.wait_synced(p.alpha)
        assert read_all(p.alpha) == expected
        for node in (p.alpha, p.beta):
            node.stop()
            assert exclusive_open(node.loop.device) == 0
        p.compare()


def test_a_device_in_use_is_refused(directory):
    with block_pair(directory) as p:
        harness.need("mkfs.ext4")
        run("mkfs.ext4", "-q", p.beta.loop.device)
        p.beta.start()
        refused = p.beta.cli("create", "data", check=False)
        assert refused.returncode == 3 and "ext2/3/4" in refused.stdout, refused.stdout
        mount = directory / "mnt"
        mount.mkdir()
        if run("mount", p.beta.loop.device, mount, check=False).returncode != 0:
            raise Skip("mount is not permitted")
        try:
            refused = p.beta.cli("create", "data", "--force", check=False)
            assert refused.returncode == 3 and "mounted on" in refused.stdout, refused.stdout
        finally:
            run("umount", mount)
        p.beta.cli("create", "data", "--force")
        p.beta.cli("up", "data")
        assert run("mount", p.beta.loop.device, mount, check=False).returncode != 0
        p.beta.cli("down", "data")
        run("mount", p.beta.loop.device, mount)
        try:
            refused = p.beta.cli("up", "data", check=False)
            assert refused.returncode == 3 and "mounted on" in refused.stdout, refused.stdout
            assert p.beta.status()["state"] == "Failed"
        finally:
            run("umount", mount)


def test_block_sizes_are_agreed_by_the_configuration(directory):
    with block_pair(directory, beta={"sector": 4096}) as p:
        created(p)
        assert "block size" in p.alpha.wait_state(peer_link="refused")["reason"]
        for node in (p.alpha, p.beta):
            node.stop()
        p.configure("logical_block_size = 4096")
        for node, extra in ((p.alpha, ["--source"]), (p.beta, [])):
            node.start()
            node.cli("down", "data")
            node.cli("create", "data", "--force", *extra)
            node.cli("up", "data")
        p.alpha.cli("promote", "data")
        p.wait_synced(p.alpha)
        out = run("nbdinfo", p.alpha.uri).stdout
        assert "block_size_minimum: 4096" in out, out
        import nbd
        h = p.alpha.handle()
        h.set_strict_mode(0)
        h.pwrite(b"a" * 4096, 4096)
        try:
            h.pwrite(b"b" * 512, 512)
            raise AssertionError("a write below the minimum was taken")
        except nbd.Error as error:
            assert error.errnum == errno.EINVAL, error
        h.flush()
        h.shutdown()
        for node in (p.alpha, p.beta):
            node.stop()
        p.compare()


def test_another_size_is_refused_and_nothing_is_written(directory):
    with block_pair(directory, beta={"size": SIZE // 2}) as p:
        with open(p.beta.loop.device, "r+b") as f:
            f.write(b"keep me" * 100)
        p.beta.start()
        p.beta.cli("create", "data", "--force")
        p.beta.cli("up", "data")
        p.alpha.start()
        p.alpha.cli("create", "data", "--source")
        p.alpha.cli("up", "data")
        for node in (p.alpha, p.beta):
            assert "same size" in node.wait_state(peer_link="refused")["reason"]
        assert p.beta.cli("promote", "data", check=False).returncode == 3
        for node in (p.alpha, p.beta):
            node.stop()
        with open(p.beta.loop.device, "rb") as f:
            assert f.read(700) == b"keep me" * 100


def test_a_disk_that_changed_while_stopped_is_refused(directory):
    with block_pair(directory) as p:
        created(p)
        p.wait_synced(p.alpha)
        p.beta.cli("down", "data")
        with open(p.beta.loop.device, "r+b") as f:
            f.write(b"x" * 4096)
            f.flush()
            os.fsync(f.fileno())
        refused = p.beta.cli("up", "data", check=False)
        assert refused.returncode == 3 and "changed while the mirror was stopped" in refused.stdout, refused.stdout
        p.beta.cli("create", "data", "--force")
        p.beta.cli("up", "data")
        p.wait_synced(p.alpha)
        for node in (p.alpha, p.beta):
            node.stop()
        p.compare()


if __name__ == "__main__":
    harness.main()
