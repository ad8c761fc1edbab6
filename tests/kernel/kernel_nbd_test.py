#!/usr/bin/python3
"""/dev/nbd0 of a real kernel on a mirror, with ext4 and xfs: the daemons are killed under the mounted file system and
start again. The application sees no error and misses nothing, both replicas are identical and clean for fsck."""
import signal

import product
import vm
from vm import harness

MIB = 1 << 20
SIZES = {"ext4": 128 * MIB, "xfs": 320 * MIB}  # mkfs.xfs refuses less than 300 MiB
MKFS = {"ext4": "mkfs.ext4 -q -F", "xfs": "mkfs.xfs -q -f"}
FSCK = {"ext4": ("e2fsck", "-f", "-n"), "xfs": ("xfs_repair", "-n", "-f")}
NBD_FLAGS = "for f in write_cache fua; do cat /sys/block/nbd0/queue/$f; done"


def attach(guest, daemon, *timeout_s):
    job = guest.python("nbd.py", "attach", daemon.nbd, "data", 0, *timeout_s)
    job.wait_line("attached")
    return job


def kept(job):
    return [line.split()[1:] for line in list(job.lines) if line.startswith("kept ")]


def wait_more(job, count):
    """The application goes on: `count` more files are safe."""
    begun = len(kept(job))

    def look():
        assert job.code is None, f"the application ended:\n{job.output[-2000:]}"
        return len(kept(job)) >= begun + count
    harness.wait_for(f"{count} more files", look, vm.PATIENCE)


def check_files(guest, files):
    guest.write("/run/files", "\n".join(" ".join(pair) for pair in files))
    assert f"checked {len(files)}" in guest.run("python3", "/twinblock/guest/files.py", "check", "/mnt", "/run/files")


def story(d, fs):
    for program in ("mkfs.xfs", "e2fsck", "xfs_repair", "nbd-client"):
        harness.need(program)
    size = SIZES[fs]
    with vm.guests(d, [fs], [size, size, MIB, MIB]) as (guest,):
        places = {name: {"disk": f"/dev/vd{'ab'[n]}", "meta": f"/dev/vd{'cd'[n]}", "address": f"127.0.0.1:{7789 + n}"}
                  for n, name in enumerate(product.NAMES)}
        texts = product.configure(places, "peer_timeout_s = 30")
        alpha, beta = (product.Daemon(guest, name, texts[name]) for name in product.NAMES)
        product.create(alpha, beta)

        attached = attach(guest, alpha)
        assert guest.run(NBD_FLAGS).split() == ["write", "back", "1"], "the kernel sees neither flush nor FUA"
        guest.run(f"{MKFS[fs]} /dev/nbd0; mount -t {fs} /dev/nbd0 /mnt")
        writer = guest.python("files.py", "write", "/mnt", 1)
        wait_more(writer, 10)
        for daemon in (alpha, beta, alpha):
            daemon.kill()
            if daemon is beta:
                alpha.wait_state(redundancy=1)
            daemon.start()
            alpha.wait_state(role="source")
            wait_more(writer, 10)
        alpha.wait_synced()
        assert attached.lines.count("reconnected") >= 2, attached.output
        guest.run("touch /mnt/stop")
        writer.wait()
        files = kept(writer)
        guest.run("umount /mnt")
        attached.signal(signal.SIGKILL)
        guest.run("python3", "/twinblock/guest/nbd.py", "detach", 0)

        # The command line of the README; the page cache of before is gone.
        guest.run(f"nbd-client -unix {alpha.nbd} /dev/nbd1 -name data -block-size 4096")
        guest.run(f"mount -t {fs} /dev/nbd1 /mnt")
        check_files(guest, files)
        guest.run("umount /mnt; nbd-client -d /dev/nbd1")
        problems = guest.run("dmesg | grep -iE 'I/O error|xfs.*(corrupt|shutdown)|ext4-fs error' || true")
        assert not problems.strip(), problems
        alpha.wait_synced()
        for daemon in (alpha, beta):
            daemon.stop()
        product.compare(guest.disks[0], guest.disks[1], size)
        for disk in guest.disks[:2]:
            harness.run(*FSCK[fs], disk)
        print(f"  {fs} on /dev/nbd0: 3 kills under the mounted file system, {len(files)} synced files whole, no I/O "
              f"error, both replicas identical and clean", flush=True)


TWO_MIRRORS = """
[node]
name = "alpha"
state_dir = "/var/lib/twinblock/alpha"
control = "/run/alpha.sock"
"""
ONE_OF_TWO = """
[[mirror]]
name = "{name}"
nbd = "unix:/run/{name}.nbd"
[[mirror.node]]
name = "alpha"
disk = "/dev/vd{disk}"
metadata = "/dev/vd{meta}"
replication = ["127.0.0.1:{port}1"]
[[mirror.node]]
name = "beta"
disk = "/dev/none/{name}"
metadata = "/dev/none/{name}.meta"
replication = ["127.0.0.1:{port}2"]
"""


def test_down_and_up_beside_an_idle_client(d):
    """Up to Linux 6.12 a ring lets go of a registered file only after every operation on a registered file that began
    earlier. A client of another mirror that says nothing is such an operation if its socket is registered: the disk
    of a mirror that had gone down stayed locked until that client spoke."""
    with vm.guests(d, ["two"], [16 * MIB, 16 * MIB, MIB, MIB]) as (guest,):
        config = TWO_MIRRORS + "".join(ONE_OF_TWO.format(name=name, disk="ab"[n], meta="cd"[n], port=778 + n)
                                       for n, name in enumerate(("data", "other")))
        alpha = product.Daemon(guest, "alpha", config).start()
        for name in ("data", "other"):
            alpha.cli("create", name, "--source")
            alpha.cli("up", name)
            alpha.cli("promote", name)
        idle = guest.python("nbd.py", "attach", "/run/data.nbd", "data", 0)
        idle.wait_line("attached")
        for _ in range(3):
            alpha.cli("down", "other")
            alpha.cli("up", "other")
        idle.signal(signal.SIGKILL)
        guest.run("python3", "/twinblock/guest/nbd.py", "detach", 0)
        alpha.stop()


def test_ext4(d):
    story(d, "ext4")


def test_xfs(d):
    story(d, "xfs")


if __name__ == "__main__":
    harness.main()
