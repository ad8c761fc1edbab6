"""Writes to an export in a guest, and tells the host what was acknowledged.

  load.py SOCKET EXPORT SEED FIRST_VERSION WRITES [LOG_DEVICE TICK_DEVICE]

Writes of 4 to 64 KiB, eight at a time, most of them in a few extents that change slowly; a flush after some dozen,
one write in 16 with FUA. Each write has a version greater than all before it, and every 512-byte sector of it is
filled with {version, block, sector}. Never two writes of one block at the same time, so versions of a block grow.

After each flush one line goes to the host:
  mark N {"answered": [block, version, ...], "flushed": [...], "high": version}
`answered`: acknowledged since the line before. `flushed`: acknowledged before the flush was sent, or with FUA.
With LOG_DEVICE (dm-log-writes) the same moment is marked in the log as `mSEED.N`, before the line is sent. The log notes a
plain write only when the next flush comes, so TICK_DEVICE, a disk on the same log that nobody else uses, is flushed
before: what is acknowledged at a mark stands before it in the log.

Ends after WRITES writes (0: never) or when the server hangs up: then with `cut N`, else with `end N`.
"""
import fcntl
import json
import os
import random
import struct
import sys

import nbd

BLOCK = 4096
EXTENT = 4 << 20
STAMP = struct.Struct("<QII")
DEPTH = 8


def content(version, first, count):
    return b"".join(STAMP.pack(version, block, sector) * (512 // STAMP.size)
                    for block in range(first, first + count) for sector in range(BLOCK // 512))


def device_message(device, text):
    """DM_TARGET_MSG of linux/dm-ioctl.h; dmsetup would be a new process for each."""
    payload = struct.pack("=Q", 0) + text.encode() + b"\0"
    head = struct.pack("=3IIIIiIIIQ128s129s7x", 4, 0, 0, 312 + len(payload), 312, 0, 0, 0, 0, 0, 0, device.encode(), b"")
    buffer = bytearray(head + payload)
    with open("/dev/mapper/control", "rb") as control:
        fcntl.ioctl(control, 0xC138FD0E, buffer, True)


class Load:
    def __init__(self, path, export, seed, version, log=None, tick=None):
        self.connection, size, _ = nbd.connect(path, export)
        self.blocks = size // BLOCK
        self.seed = seed
        self.random = random.Random(seed)
        self.version = version
        self.log = log
        self.tick = os.open(tick, os.O_RDWR) if tick else None
        self.flying = {}        # handle: (block, count, version), or a list of those for a flush
        self.busy = set()       # blocks
        self.answered = []      # since the last line: (block, count, version)
        self.unflushed = []     # since the last flush was sent
        self.flushed = []
        self.handle = 0
        self.marks = 0
        self.written = 0
        self.received = b""
        self.favourites = []
        self.until_flush = 20

    def pick(self):
        """A run of blocks; most of them in the favourite extents."""
        if self.written % 64 == 0:
            extents = self.blocks * BLOCK // EXTENT
            self.favourites = [self.random.randrange(extents) for _ in range(3)]
        count = self.random.choice((1, 1, 1, 1, 2, 4, 16))
        if self.random.random() < 0.9:
            first = self.random.choice(self.favourites) * EXTENT // BLOCK
            return first + self.random.randrange(EXTENT // BLOCK - count), count
        return self.random.randrange(self.blocks - count), count

    def send_write(self):
        block, count = self.pick()
        if self.busy.intersection(range(block, block + count)):
            return
        self.busy.update(range(block, block + count))
        self.version += 1
        self.written += 1
        fua = self.random.randrange(16) == 0
        self.request(nbd.WRITE, nbd.FLAG_FUA if fua else 0, block * BLOCK, content(self.version, block, count),
                     (block, count, self.version, fua))

    def send_flush(self):
        covered, self.unflushed = self.unflushed, []
        self.until_flush = self.random.randrange(10, 60)
        self.request(nbd.FLUSH, 0, 0, b"", covered)

    def request(self, command, flags, offset, data, what):
        self.handle += 1
        self.flying[self.handle] = what
        length = len(data)
        self.connection.sendall(nbd.REQUEST.pack(nbd.REQUEST_MAGIC, flags, command, self.handle, offset, length) + data)

    def take_replies(self):
        data = self.connection.recv(65536)
        if not data:
            raise ConnectionError("the server hung up")
        self.received += data
        while len(self.received) >= nbd.REPLY.size:
            magic, error, handle = nbd.REPLY.unpack_from(self.received)
            self.received = self.received[nbd.REPLY.size:]
            assert magic == nbd.REPLY_MAGIC, hex(magic)
            what = self.flying.pop(handle)
            if error:
                raise ConnectionError(f"error {error}")
            self.note(what)

    def note(self, what):
        if isinstance(what, list):
            self.flushed += what
            self.mark()
            return
        block, count, version, fua = what
        self.busy.difference_update(range(block, block + count))
        self.answered.append((block, count, version))
        self.until_flush -= 1
        if fua:
            self.flushed.append((block, count, version))
        else:
            self.unflushed.append((block, count, version))

    def mark(self):
        self.marks += 1
        answered, self.answered = self.answered, []
        flushed, self.flushed = self.flushed, []
        if self.log:
            os.fsync(self.tick)
            device_message(self.log, f"mark m{self.seed}.{self.marks}")
        print(f"mark {self.marks} " + json.dumps({"answered": answered, "flushed": flushed, "high": self.version},
                                                 separators=(",", ":")), flush=True)

    def run(self, writes):
        try:
            while writes == 0 or self.written < writes:
                flushing = any(isinstance(what, list) for what in self.flying.values())
                if self.until_flush <= 0 and not flushing:
                    self.send_flush()
                while len(self.flying) < DEPTH and (writes == 0 or self.written < writes):
                    self.send_write()
                self.take_replies()
            while self.flying:
                self.take_replies()
            self.send_flush()
            while self.flying:
                self.take_replies()
            print(f"end {self.version}", flush=True)
        except ConnectionError as error:
            print(f"cut {self.version} {error}", flush=True)


def main(path, export, seed, version, writes, log=None, tick=None):
    Load(path, export, int(seed), int(version), log, tick).run(int(writes))


if __name__ == "__main__":
    main(*sys.argv[1:])
