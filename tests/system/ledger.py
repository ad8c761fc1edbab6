"""A client that keeps books: every block it wrote, what was acknowledged, and what may or may not have arrived.

Each 512-byte sector of a block carries {version, block, sector}. A sector must show the last acknowledged version
or one that was sent after it and never answered. What an interrupted write left is read back once and then holds:
a later read that shows anything else is a failure too (P15).
"""
import collections
import contextlib
import random
import struct
import threading

import harness

BLOCK = 4096
SECTOR = 512
SECTORS = BLOCK // SECTOR
STAMP = struct.Struct("<QII")


def content(version, block):
    return b"".join(STAMP.pack(version, block, sector) * (SECTOR // STAMP.size) for sector in range(SECTORS))


class Ledger:
    def __init__(self):
        self.lock = threading.Lock()
        self.version = 0
        self.held = {}                                 # block: version per sector that must be there
        self.maybe = collections.defaultdict(set)      # block: versions sent later and never answered
        self.touched = set()                           # blocks sent since the last forget()
        self.acknowledged = 0

    def sent(self, block):
        with self.lock:
            self.version += 1
            self.touched.add(block)
            self.maybe[block].add(self.version)
            return self.version

    def answered(self, block, version):
        with self.lock:
            self.held[block] = (version,) * SECTORS
            self.maybe.pop(block)                      # never two of one block in flight
            self.acknowledged += 1

    def forget(self):
        with self.lock:
            self.touched = set()

    def regions_touched(self, region=65536):
        with self.lock:
            return len({block * BLOCK // region for block in self.touched})

    def check(self, node, rng=None, sample=None):
        """Reads back what is uncertain, and all of the rest or a sample of it."""
        with self.lock:
            uncertain = [b for b, versions in self.maybe.items() if versions]
            certain = [b for b in self.held if not self.maybe.get(b)]
        if sample is not None and sample < len(certain):
            certain = rng.sample(certain, sample)
        handle = node.handle()
        for block in uncertain + certain:
            data = handle.pread(BLOCK, block * BLOCK)
            found = []
            before = self.held.get(block, (0,) * SECTORS)
            for sector in range(SECTORS):
                piece = data[sector * SECTOR:(sector + 1) * SECTOR]
                version, where, which = STAMP.unpack_from(piece)
                allowed = {before[sector]} | self.maybe.get(block, set())
                whole = piece == bytes(SECTOR) if version == 0 else piece == piece[:STAMP.size] * (SECTOR // STAMP.size)
                placed = version == 0 or (where, which) == (block, sector)
                assert version in allowed and whole and placed, (
                    f"{node.name}: block {block} sector {sector} shows version {version} of ({where}, {which}); "
                    f"acknowledged {before[sector]}, unanswered {sorted(allowed - {before[sector]})}")
                found.append(version)
            with self.lock:
                self.held[block] = tuple(found)
                self.maybe.pop(block, None)
        handle.shutdown()
        return len(uncertain) + len(certain)


class Client(threading.Thread):
    """Random 4 KiB writes, `depth` at a time, a flush now and then, until stopped or cut off."""

    def __init__(self, node, ledger, size, seed, depth=8):
        super().__init__(daemon=True)
        self.node = node
        self.ledger = ledger
        self.blocks = size // BLOCK
        self.rng = random.Random(seed)
        self.depth = depth
        self.stopping = False
        self.error = None
        self.flying = set()

    def run(self):
        import nbd
        try:
            handle = self.node.handle()
            while not self.stopping:
                while len(self.flying) < self.depth:
                    self._send(nbd, handle)
                handle.poll(20)
            while self.flying:
                handle.poll(20)
            handle.shutdown()
        except (nbd.Error, AssertionError) as error:
            self.error = error

    def _send(self, nbd, handle):
        block = self.rng.randrange(self.blocks)
        if block in self.flying:
            return
        self.flying.add(block)
        version = self.ledger.sent(block)
        buffer = nbd.Buffer.from_bytearray(bytearray(content(version, block)))

        def done(number):
            error = getattr(number, "value", number)   # libnbd hands over a c_int
            if error == 0:
                self.ledger.answered(block, version)
            elif self.error is None:
                self.error = AssertionError(f"block {block}: errno {error}")
            self.flying.discard(block)
            return 1

        handle.aio_pwrite(buffer, block * BLOCK, completion=done)
        if version % 64 == 0:
            handle.aio_flush()

    def finish(self):
        """Waits for the last answers; an error is a failure, for nobody was killed that it talked to."""
        self.stopping = True
        self.join(timeout=harness.PATIENCE)
        assert not self.is_alive(), "the client waits for answers that never come"
        assert self.error is None, f"a write failed: {self.error}"

    def cut_off(self):
        """Its server is dead: what was in flight stays uncertain."""
        self.stopping = True
        self.join(timeout=harness.PATIENCE)
        assert not self.is_alive(), "the client still waits for a dead server"
        return self.error


@contextlib.contextmanager
def writing(node, ledger, size, seed, **options):
    client = Client(node, ledger, size, seed, **options)
    client.start()
    try:
        yield client
    finally:
        client.stopping = True
