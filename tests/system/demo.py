#!/usr/bin/python3
"""The demo (./run demo): two nodes on this machine. A file system with real files is written through NBD, the
source is killed in the middle of writes, the other node takes over, every file is checked, the old source
catches up, and both replicas are compared byte for byte.
"""
import contextlib
import hashlib
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import harness
from harness import MIB, run, wait_for

SIZE = 512 * MIB


def say(text):
    print(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def show(node, *arguments):
    print(f"{node.name}# twinblock {' '.join(arguments)}")
    print(node.cli(*arguments, check=False).stdout.rstrip(), flush=True)


@contextlib.contextmanager
def mounted(node, directory, mkfs=("mkfs.ext4", "-q", "-F"), options=""):
    """The mirror's file system, made if there is none: NBD, a file by nbdfuse, a loop device, a mount."""
    mount = directory / f"mnt-{node.name}"
    fuse = directory / f"fuse-{node.name}"
    mount.mkdir(exist_ok=True)
    fuse.mkdir(exist_ok=True)
    bridge = subprocess.Popen(["nbdfuse", fuse / "disk", node.uri], stderr=subprocess.DEVNULL)
    loop = None
    try:
        wait_for("nbdfuse", lambda: (fuse / "disk").exists())
        if run("blkid", "-p", fuse / "disk", check=False).returncode != 0:
            run(*mkfs, fuse / "disk")
        loop = run("losetup", "--find", "--show", fuse / "disk").stdout.strip()
        run("mount", *(["-o", options] if options else []), loop, mount)
        yield mount
    finally:
        run("umount", "-l", mount, check=False)
        if loop:
            run("losetup", "-d", loop, check=False)
        run("umount", "-l", fuse, check=False)
        bridge.terminate()
        bridge.wait()


class Writer(threading.Thread):
    """Writes files and syncs each; remembers only those whose fsync came back: these must survive."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self.kept = {}
        self.stop = False

    def run(self):
        rng = random.Random(1)
        number = 0
        with contextlib.suppress(OSError):
            while not self.stop and number < 2000:
                data = rng.randbytes(rng.randrange(1, 200_000))
                name = f"file-{number % 400}-{number}"
                with open(self.folder / name, "wb") as f:
                    f.write(data)
                    f.flush()
                    os.fsync(f.fileno())
                self.kept[name] = hashlib.sha256(data).hexdigest()
                if number >= 400:
                    old = f"file-{number % 400}-{number - 400}"
                    self.kept.pop(old, None)
                    (self.folder / old).unlink()
                number += 1


def catch_up(source):
    """The resync as a progress bar; bytes of it."""
    total = 0
    begun = time.monotonic()
    while True:
        status = source.status()
        peer = status["peers"][0]
        if peer["resync"]:
            total = max(total, peer["resync"]["total_bytes"])
            done = peer["resync"]["done_bytes"] / max(1, peer["resync"]["total_bytes"])
            print(f"\r  resync [{'#' * int(done * 40):40}] {done:4.0%}", end="", flush=True)
        if status["redundancy"] == 2 and peer["dirty_bytes"] == 0:
            print(f"\r  resync [{'#' * 40}] 100% in {time.monotonic() - begun:.1f} s", flush=True)
            return total
        harness.pause(0.05)


def demo(directory):
    with harness.pair(directory, "hot_extents = 16", size=SIZE) as p:
        say("Two nodes, alpha and beta; alpha becomes source, beta gets the first copy")
        p.create()
        show(p.alpha, "status")
        say("An ext4 file system on the mirror; files are written and synced")
        with mounted(p.alpha, directory) as mount:
            shutil.copytree("/usr/share/doc", mount / "doc", symlinks=True, dirs_exist_ok=True,
                            ignore=lambda _, names: names[40:])
            run("sync", "-f", mount)
            writer = Writer(mount)
            writer.start()
            wait_for("some files", lambda: len(writer.kept) > 150)
            show(p.alpha, "status")
            say("SIGKILL to alpha, in the middle of writes")
            p.alpha.kill()
            writer.stop = True
            writer.join(timeout=60)
        kept = writer.kept
        print(f"{len(kept)} files were synced before the kill and have to be there")
        say("beta refuses to take over on a guess, and does when the operator vouches for alpha's death")
        show(p.beta, "promote", "data")
        begun = time.monotonic()
        show(p.beta, "promote", "data", "--confirm-dead", "alpha")
        took = time.monotonic() - begun
        say("The file system on beta: mount replays the journal, every synced file is compared")
        with mounted(p.beta, directory) as mount:
            for name, digest in kept.items():
                found = hashlib.sha256((mount / name).read_bytes()).hexdigest()
                assert found == digest, f"{name} differs"
            (mount / "written-on-beta").write_bytes(b"b" * MIB)
            run("sync", "-f", mount)
        with tempfile.TemporaryDirectory() as fuse:
            bridge = subprocess.Popen(["nbdfuse", f"{fuse}/disk", p.beta.uri])
            wait_for("nbdfuse", lambda: os.path.exists(f"{fuse}/disk"))
            check = run("e2fsck", "-f", "-n", f"{fuse}/disk", check=False)
            run("umount", fuse, check=False)
            bridge.wait()
        assert check.returncode == 0, check.stdout
        print("e2fsck: clean; all files are as they were synced")
        dirty = p.beta.status()["peers"][0]["dirty_bytes"]
        say(f"alpha returns; only what differs is copied ({dirty / MIB:.1f} MiB and alpha's hot extents)")
        p.alpha.start()
        copied = catch_up(p.beta)
        show(p.beta, "status")
        say("Both replicas, byte for byte")
        p.flushed(p.beta)
        p.compare()
        say("Summary")
        print(f"  mirror               {SIZE // MIB} MiB\n"
              f"  files checked        {len(kept)}, none missing\n"
              f"  promotion took       {took * 1000:.0f} ms\n"
              f"  resynced             {max(copied, dirty) / MIB:.1f} MiB of {SIZE // MIB} MiB\n"
              f"  replicas             identical")


if __name__ == "__main__":
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tb-demo-"))
    try:
        demo(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
