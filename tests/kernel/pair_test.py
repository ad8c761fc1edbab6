#!/usr/bin/python3
"""Two machines with a kernel and a network each: delay and loss, a silent network, a pulled cable, power cuts. After
each they converge by themselves, replicas are byte-identical, and no acknowledged write is missing."""
import contextlib

import kernel_nbd_test as files
import product
import vm
from vm import harness

MIB = 1 << 20
SIZE = 64 * MIB
ADDRESSES = {"alpha": "10.0.0.1", "beta": "10.0.0.2"}


class Pair:
    """Two guests with a daemon each. Disks are files here, so what is on them can be seen without asking anybody."""

    def __init__(self, machines, size=SIZE):
        self.size = size
        self.ledger = product.Ledger()
        self.loads = 0
        places = {name: {"disk": "/dev/vda", "meta": "/dev/vdb", "address": f"{ADDRESSES[name]}:7789"}
                  for name in product.NAMES}
        texts = product.configure(places, "peer_timeout_s = 8")
        self.alpha, self.beta = (product.Daemon(machine, name, texts[name])
                                 for machine, name in zip(machines, product.NAMES))
        for machine in machines:
            self.network(machine)
        product.create(self.alpha, self.beta)

    @staticmethod
    def network(machine):
        machine.run(f"ip link set eth0 mtu 9000 up; ip addr add {ADDRESSES[machine.name]}/24 dev eth0")

    @contextlib.contextmanager
    def load(self, daemon):
        """A load while the block runs, which sees no error."""
        job = self.start_load(daemon)
        yield job
        self.more(job)
        job.signal(15)
        job.wait(check=False)
        assert not any(line.startswith("cut") for line in job.lines), f"the load lost its server: {job.lines[-1]}"
        self.take(job)

    def start_load(self, daemon):
        self.loads += 1
        job = daemon.guest.python("load.py", daemon.nbd, "data", self.loads, self.ledger.high + 1, 0)
        self.more(job, 2)
        return job

    def more(self, job, count=4):
        """The load goes on: more flushes are acknowledged."""
        begun = len(job.lines)

        def look():
            assert job.code is None, f"the load ended: {job.output[-500:]}"
            return len(job.lines) >= begun + count
        harness.wait_for(f"{count} more flushes", look, vm.PATIENCE)

    def take(self, job):
        self.ledger.take(job, self.loads)
        self.ledger.high += 1000  # what was sent after the last line

    def disk(self, daemon):
        return daemon.guest.disks[0]

    def whole(self, source, what):
        """Nothing acknowledged is missing, anywhere."""
        source.wait_synced()
        product.compare(self.disk(self.alpha), self.disk(self.beta), self.size)
        checked = self.ledger.check(self.disk(source))
        print(f"  {what}: {checked} blocks acknowledged so far, all there, replicas identical", flush=True)

    def boot(self, daemon):
        daemon.guest.start()
        self.network(daemon.guest)
        daemon.start()


def test_network(d):
    with vm.guests(d, list(product.NAMES), [SIZE, MIB], network=True) as machines:
        p = Pair(machines)
        for machine in machines:
            machine.run("/usr/bin/tc qdisc add dev eth0 root netem delay 10ms 3ms loss 2%")
        with p.load(p.alpha):
            pass
        for machine in machines:
            machine.run("/usr/bin/tc qdisc del dev eth0 root")
        p.whole(p.alpha, "delay of 20 ms and loss of 4 % in a round trip")

        with p.load(p.alpha) as job:
            machines[1].run("/usr/bin/tc qdisc add dev eth0 root netem loss 100%")
            p.alpha.wait_state(redundancy=1)
            p.more(job)
            machines[1].run("/usr/bin/tc qdisc del dev eth0 root")
        p.whole(p.alpha, "a network that swallows everything in one direction")

        with p.load(p.alpha) as job:
            for machine in machines:
                machine.carrier(False)
            p.alpha.wait_state(redundancy=1)
            p.more(job)
            for machine in machines:
                machine.carrier(True)
        p.whole(p.alpha, "a pulled cable")


def test_power(d):
    with vm.guests(d, list(product.NAMES), [SIZE, MIB], network=True) as machines:
        p = Pair(machines)
        with p.load(p.alpha) as job:
            machines[1].power_cut()
            p.alpha.wait_state(redundancy=1)
            p.more(job)
            p.boot(p.beta)
        p.whole(p.alpha, "power cut of the target")

        job = p.start_load(p.alpha)
        p.more(job)
        machines[0].power_cut()
        p.take(job)
        p.beta.wait_state(peer_link="connecting")
        checked = p.ledger.check(p.disk(p.beta))
        refused = p.beta.cli("promote", "data", check=False)
        assert "--confirm-dead" in refused, refused
        p.beta.cli("promote", "data", "--confirm-dead", "alpha")
        print(f"  power cut of the source: {checked} blocks on the target at once", flush=True)
        with p.load(p.beta):
            p.boot(p.alpha)
        p.whole(p.beta, "return of the old source")


def test_file_system_fails_over(d):
    """ext4 on /dev/nbd0 of one machine, its power cut, mounted on the other: every synced file is there."""
    size = 128 * MIB
    with vm.guests(d, list(product.NAMES), [size, MIB], network=True) as machines:
        p = Pair(machines, size)
        files.attach(machines[0], p.alpha)
        machines[0].run("mkfs.ext4 -q -F /dev/nbd0; mount -t ext4 /dev/nbd0 /mnt")
        writer = machines[0].python("files.py", "write", "/mnt", 1)
        files.wait_more(writer, 15)
        machines[0].power_cut()
        kept = files.kept(writer)
        p.beta.wait_state(peer_link="connecting")
        p.beta.cli("promote", "data", "--confirm-dead", "alpha")
        files.attach(machines[1], p.beta)
        machines[1].run("mount -t ext4 /dev/nbd0 /mnt")
        files.check_files(machines[1], kept)
        p.boot(p.alpha)
        machines[1].run("umount /mnt; e2fsck -f -n /dev/nbd0; sync")
        p.whole(p.beta, f"ext4 with {len(kept)} synced files on the other machine")


if __name__ == "__main__":
    harness.main()
