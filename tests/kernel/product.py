"""Twinblock in guests: daemons, the command line, and the ledger of what a load in a guest was told is safe."""
import json
import signal

from vm import PATIENCE, wait_for

CONFIG = """
[node]
name = "{name}"
realtime = {realtime}
state_dir = "/var/lib/twinblock/{name}"
control = "/run/{name}.sock"

[[mirror]]
name = "data"
nbd = "unix:/run/{name}.nbd"
insecure = true
hot_extents = 8
disk_timeout_s = 120
{settings}
[[mirror.node]]
name = "alpha"
disk = "{alpha_disk}"
metadata = "{alpha_meta}"
replication = ["{alpha_address}"]
[[mirror.node]]
name = "beta"
disk = "{beta_disk}"
metadata = "{beta_meta}"
replication = ["{beta_address}"]
"""
NAMES = ("alpha", "beta")


class Daemon:
    """One node of the mirror, in a guest of its own or beside the other one."""

    def __init__(self, guest, name, config):
        self.guest = guest
        self.name = name
        self.config = config
        self.job = None
        self.pid = None
        self.log = []  # of earlier lives

    @property
    def nbd(self):
        return f"/run/{self.name}.nbd"

    def start(self):
        path = f"/etc/twinblock/{self.name}.toml"
        self.guest.write(path, self.config)
        if self.job is not None:
            self.log += self.job.lines
        self.job = self.guest.spawn("sh", "-c", f"mkdir -p /var/lib/twinblock/{self.name}; echo pid $$; "
                                                f"exec twinblockd --config {path}")
        self.job.wait_line("control on")
        self.pid = int(next(line for line in self.job.lines if line.startswith("pid ")).split()[1])
        return self

    def kill(self):
        self.job.signal(signal.SIGKILL)
        self.job.wait(check=False)

    def stop(self):
        self.job.signal(signal.SIGTERM)
        self.job.wait()

    def cli(self, *arguments, check=True, patience=None):
        return self.guest.run("twinblock", "--control", f"/run/{self.name}.sock", *arguments, check=check,
                              patience=patience)

    def status(self):
        return json.loads(self.cli("status", "--json"))["mirrors"][0]

    def wait_state(self, patience=None, **wanted):
        """Waits until each field has its value; a field of the peer is given as peer_FIELD."""
        last = {}

        def look():
            assert self.job.code is None, f"{self.name} ended with {self.job.code}:\n{self.job.output[-3000:]}"
            last.clear()
            last.update(self.status())
            flat = {**last, **{"peer_" + k: v for k, v in last["peers"][0].items()}}
            return all(flat[k] == v for k, v in wanted.items())
        try:
            wait_for(f"{self.name}: {wanted}", look, patience or PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}\nlast status: {json.dumps(last, indent=1)}\n"
                                 f"{self.job.output[-3000:]}") from None

    def wait_synced(self, patience=None):
        self.wait_state(patience, role="source", state="Source", redundancy=2, peer_link="connected",
                        peer_dirty_bytes=0)

    def wait_served(self):
        """The export is open."""
        self.wait_state(role="source")
        wait_for(f"the export of {self.name}", lambda: not self.guest.run(
            "python3", "-c", f"import sys; sys.path.insert(0, '/twinblock/guest'); import nbd; "
                             f"nbd.connect('{self.nbd}', 'data')", check=False).strip(), PATIENCE)

    def metadata(self):
        return self.cli("metadata", "dump", "data")


def configure(places, settings="", realtime="false"):
    """Configuration texts by name. `places`: by name {disk, meta, address}."""
    fields = {f"{name}_{key}": value for name, place in places.items() for key, value in place.items()}
    return {name: CONFIG.format(name=name, settings=settings, realtime=realtime, **fields) for name in NAMES}


def create(alpha, beta):
    """Both replicas made, alpha promoted, in sync."""
    for daemon in (alpha, beta):
        daemon.start()
        daemon.cli("create", "data", *(["--source"] if daemon is alpha else []))
        daemon.cli("up", "data")
    alpha.cli("promote", "data")
    alpha.wait_synced()


class Ledger:
    """Versions by block, as guest/load.py reports them: `answered` and `flushed` hold the newest acknowledged one."""

    BLOCK = 4096

    def __init__(self):
        self.answered = {}
        self.flushed = {}
        self.high = 0
        self.marks = {}  # name of the mark: what it says

    def take(self, job, seed, apply=True):
        """Reads the lines of a load that has ended. apply: at once, else by mark."""
        for line in job.lines:
            word, _, rest = line.partition(" ")
            if word == "mark":
                number, _, text = rest.partition(" ")
                said = json.loads(text)
                self.marks[f"m{seed}.{number}"] = said
                self.high = max(self.high, said["high"])
                if apply:
                    self.apply(said)
            elif word in ("end", "cut"):
                self.high = max(self.high, int(rest.split()[0]))

    def apply(self, said):
        """The blocks that changed."""
        changed = []
        for ledger, writes in ((self.answered, said["answered"]), (self.flushed, said["flushed"])):
            for first, count, version in writes:
                for block in range(first, first + count):
                    if ledger.get(block, 0) < version:
                        ledger[block] = version
                        changed.append(block)
        return changed

    def check(self, path, ledger=None):
        """Every acknowledged write is in the file at `path`: this version of the block or a later one, unmixed."""
        ledger = self.answered if ledger is None else ledger
        with open(path, "rb") as disk:
            for block, least in ledger.items():
                disk.seek(block * self.BLOCK)
                data = disk.read(self.BLOCK)
                for sector in range(8):
                    piece = data[sector * 512:(sector + 1) * 512]
                    version = int.from_bytes(piece[:8], "little")
                    where = (int.from_bytes(piece[8:12], "little"), int.from_bytes(piece[12:16], "little"))
                    whole = piece == piece[:16] * 32
                    assert version >= least and where == (block, sector) and whole, (
                        f"{path}: block {block} sector {sector} shows version {version} of {where}"
                        f"{'' if whole else ' (mixed)'}, acknowledged was {least}")
        return len(ledger)


def compare(one, other, size):
    """Two files are identical in their first `size` bytes."""
    with open(one, "rb") as a, open(other, "rb") as b:
        for at in range(0, size, 1 << 20):
            length = min(1 << 20, size - at)
            x, y = a.read(length), b.read(length)
            if x != y:
                first = next(i for i in range(length) if x[i] != y[i])
                raise AssertionError(f"the replicas differ at byte {at + first}")
