#!/usr/bin/python3
"""Swap and a page cache on a mirror whose daemons run in the same, too small machine: to free a page the kernel has to
write it to the mirror, for which the daemon must not need a page. It has locked its memory and is marked as an I/O
flusher; and where swap is concerned (then nothing else can be freed) its data thread runs in real time, so that TCP gets
its buffers from the kernel's reserve. Nothing stands still, also when the target is killed and resynced meanwhile.

Without `realtime = true` the swap part stands still for ever: tb-shard in tcp_sendmsg, waiting for a page that only
its own writes can free."""
import re

import kernel_nbd_test as kernel_nbd
import product
import vm
from vm import harness

MIB = 1 << 20
SIZE = 384 * MIB
MEMORY_MIB = 768


def field(guest, path, name):
    """A number from /proc, in KiB."""
    return int(re.search(rf"^{name}:?\s+(\d+)", guest.run("cat", path), re.M).group(1))


def more_passes(job, count):
    begun = sum(line.startswith("pass ") for line in list(job.lines))

    def look():
        assert job.code is None, f"the hog ended:\n{job.output[-2000:]}"
        return sum(line.startswith("pass ") for line in list(job.lines)) >= begun + count
    harness.wait_for(f"{count} more passes", look, vm.PATIENCE)


def nothing_swapped(guest, daemons):
    for daemon in daemons:
        status = f"/proc/{daemon.pid}/status"
        assert field(guest, status, "VmLck") > 0, f"the memory of {daemon.name} is not locked"
        assert field(guest, status, "VmSwap") == 0, f"a part of {daemon.name} lies on its own mirror"
        for refused in ("process.mlock", "process.io_flusher"):
            assert refused not in daemon.job.output, daemon.job.output
        assert "SCHED_FIFO" in daemon.job.output, daemon.job.output


def test_swap_and_page_cache_under_memory_pressure(d):
    harness.need("mkfs.ext4")
    with vm.guests(d, ["small"], [SIZE, SIZE, MIB, MIB], memory_mib=MEMORY_MIB) as (guest,):
        places = {name: {"disk": f"/dev/vd{'ab'[n]}", "meta": f"/dev/vd{'cd'[n]}", "address": f"127.0.0.1:{7789 + n}"}
                  for n, name in enumerate(product.NAMES)}
        texts = product.configure(places, "peer_timeout_s = 30", realtime="true")
        alpha, beta = (product.Daemon(guest, name, texts[name]) for name in product.NAMES)
        product.create(alpha, beta)
        # Nobody could make a new connection: whoever does that may himself lie in the swap.
        attached = kernel_nbd.attach(guest, alpha, int(vm.PATIENCE))

        # The page cache: a file larger than what is free, dirty faster than it can be written.
        guest.run("mkfs.ext4 -q -F /dev/nbd0; mount -t ext4 /dev/nbd0 /mnt")
        free = field(guest, "/proc/meminfo", "MemAvailable") // 1024
        size = min(free + 48, SIZE // MIB - 64)
        assert f"same {size}" in guest.python("hog.py", "file", "/mnt/large", size).wait(vm.PATIENCE * 2)
        guest.run("umount /mnt")
        nothing_swapped(guest, (alpha, beta))

        # Swap: more memory is held, and read again and again, than there is.
        guest.run("mkswap /dev/nbd0; swapon /dev/nbd0")
        free = field(guest, "/proc/meminfo", "MemAvailable") // 1024
        hog = guest.python("hog.py", "hold", free + 96, 1000)
        hog.wait_line("held", vm.PATIENCE * 2)
        more_passes(hog, 1)
        assert field(guest, "/proc/vmstat", "pswpout") > 64 * MIB // 4096, "nothing was swapped out"
        beta.kill()
        alpha.wait_state(redundancy=1)
        more_passes(hog, 1)
        beta.start()
        more_passes(hog, 1)
        alpha.wait_synced(vm.PATIENCE * 2)
        more_passes(hog, 1)
        nothing_swapped(guest, (alpha, beta))
        swapped = field(guest, "/proc/vmstat", "pswpout") * 4096 // MIB
        hog.signal(9)
        hog.wait(check=False)
        guest.run("swapoff /dev/nbd0")
        problems = guest.run("dmesg | grep -iE 'I/O error|blocked for more|Read-error on swap' || true")
        assert not problems.strip(), problems
        alpha.wait_synced()
        attached.signal(9)
        guest.run("python3", "/twinblock/guest/nbd.py", "detach", 0)
        for daemon in (alpha, beta):
            daemon.stop()
        product.compare(guest.disks[0], guest.disks[1], SIZE)
        print(f"  {MEMORY_MIB} MiB of memory, {free} of them free: a file of {size} MiB through the page cache, {swapped} MiB swapped out to "
              f"the mirror, target killed and resynced meanwhile, replicas identical", flush=True)


if __name__ == "__main__":
    harness.main()
