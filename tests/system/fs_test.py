#!/usr/bin/python3
# ctest: labels=mount timeout=300 serial
"""ext4 and xfs on a mirror: a real tree, the source killed, the file system clean on the other node, and every
synced file there."""
import hashlib
import os
import shutil
import subprocess

import demo
import harness
from harness import MIB, need, need_mounts, pair, run, wait_for


def story(d, mkfs, check, options=""):
    need_mounts()
    need(mkfs[0], check[0])
    with pair(d, "hot_extents = 16", size=512 * MIB) as p:
        p.create()
        with demo.mounted(p.alpha, d, mkfs, options) as mount:
            shutil.copytree("/usr/include", mount / "tree", symlinks=True, ignore=lambda _, names: names[60:])
            run("sync", "-f", mount)
            writer = demo.Writer(mount)
            writer.start()
            wait_for("some files", lambda: len(writer.kept) > 60)
            p.alpha.kill()
            writer.stop = True
            writer.join(timeout=60)
        p.beta.cli("promote", "data", "--confirm-dead", "alpha")
        with demo.mounted(p.beta, d, mkfs, options) as mount:
            for name, digest in writer.kept.items():
                assert hashlib.sha256((mount / name).read_bytes()).hexdigest() == digest, name
            for root, _, files in os.walk("/usr/include"):
                copied = mount / "tree" / os.path.relpath(root, "/usr/include")
                for name in files:
                    path = copied / name
                    if path.is_file() and not path.is_symlink():
                        with open(os.path.join(root, name), "rb") as original:
                            assert path.read_bytes() == original.read(), path
        (d / "check").mkdir()
        bridge = subprocess.Popen(["nbdfuse", d / "check" / "disk", p.beta.uri])
        try:
            wait_for("nbdfuse", (d / "check" / "disk").exists)
            run(*check, d / "check" / "disk")
        finally:
            run("umount", d / "check", check=False)
            bridge.wait(timeout=harness.PATIENCE)
        p.alpha.start()
        p.wait_synced(p.beta)
        p.flushed(p.beta)
        p.compare()


def test_ext4(d):
    story(d, ("mkfs.ext4", "-q", "-F"), ("e2fsck", "-f", "-n"))


def test_xfs(d):
    story(d, ("mkfs.xfs", "-q", "-f"), ("xfs_repair", "-n", "-f"))


if __name__ == "__main__":
    harness.main()
