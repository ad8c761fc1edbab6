"""The clients of a soak: random reads, writes, zeroes, trims and flushes, each in an area of its own, through every
failure. They reconnect to whoever is source, check each read, and watch that nothing waits for ever."""
import errno
import random
import threading
import time

import harness
from register import SECTOR, Violation, content

DEPTH = 8
COUNTS = [1, 2, 8, 8, 8, 16, 64, 128, 256]   # sectors of a request


class Client(threading.Thread):
    """One connection after the other to `story.source`; its area is [first, first + count) sectors."""

    def __init__(self, story, register, area, seed):
        super().__init__(daemon=True)
        self.story = story
        self.register = register
        self.first, self.count = area
        self.rng = random.Random(seed)
        self.flying = {}          # number: (first, count, since)
        # libnbd 1.14 never gives back the buffer of an asynchronous request: these are used again and again.
        self.memory = [bytearray(max(COUNTS) * SECTOR) for _ in range(DEPTH)]
        self.free_memory = list(self.memory)
        self.number = 0
        self.pausing = False
        self.idle = threading.Event()
        self.stopping = False
        self.violation = None
        self.connections = self.errors = 0

    def run(self):
        import nbd
        while not self.stopping and self.violation is None:
            if self.pausing:
                self.idle.set()
                harness.pause()
                continue
            try:
                self._converse(nbd)
            except nbd.Error:
                pass  # the daemon died, handed over, or dropped us: what was in flight stays uncertain
            except (Violation, AssertionError) as error:
                self.violation = error
            self.flying.clear()
            self.free_memory = list(self.memory)
            harness.pause()
        self.idle.set()

    def _converse(self, nbd):
        node = self.story.source
        handle = nbd.NBD()
        handle.connect_unix(str(node.nbd))
        self.connections += 1
        while not self.stopping and not self.pausing and self.violation is None and node is self.story.source:
            while len(self.flying) < DEPTH and self._send(nbd, handle):
                pass
            handle.poll(20)
            self._watch()
        # Whatever is in flight is waited for: a source that hands over or stops answers all of it.
        while self.flying and self.violation is None:
            handle.poll(20)
            self._watch()
        if self.violation is None:
            handle.flush()
            handle.shutdown()

    def _watch(self):
        oldest = min((since for _, _, since in self.flying.values()), default=None)
        limit = self.story.answer_limit
        if oldest is not None and time.monotonic() - oldest > limit:
            where = [(first, count) for first, count, _ in self.flying.values()]
            raise Violation(f"no answer within {limit:.0f} s from {self.story.source.name}: sectors {where}")

    def _free_range(self):
        count = self.rng.choice(COUNTS)
        first = self.first + self.rng.randrange(self.count - count)
        if self.rng.randrange(4):
            first &= ~7
        busy = any(first < f + c and f < first + count for f, c, _ in self.flying.values())
        return None if busy else (first, count)

    def _send(self, nbd, handle):
        free = self._free_range()
        if free is None:
            return False
        first, count = free
        self.number += 1
        number = self.number
        verb = self.rng.randrange(20)
        if verb == 0:
            self.flying[number] = (0, 0, time.monotonic())
            handle.aio_flush(completion=self._done(number))
            return True
        self.flying[number] = (first, count, time.monotonic())
        if verb < 7:
            self._read(nbd, handle, number, first, count)
        else:
            self._write(nbd, handle, number, verb, first, count)
        return True

    def _done(self, number, good=lambda: None, memory=None):
        def done(result):
            error = getattr(result, "value", result)   # libnbd hands over a c_int
            if self.flying.pop(number, None) is None:
                return 1
            if memory is not None:
                self.free_memory.append(memory)
            try:
                if error == 0:
                    good()
                else:
                    self._error(error)
            except (Violation, AssertionError) as violation:
                self.violation = violation
            return 1
        return done

    def _error(self, error):
        """An EIO needs a round that allows it; that the source is one no more, or died (libnbd's ENOTCONN), does not."""
        self.errors += 1
        if error not in (errno.ESHUTDOWN, errno.ENOTCONN) and not self.story.errors_allowed:
            raise Violation(f"errno {error} from {self.story.source.name}: {self.story.what}")

    def _read(self, nbd, handle, number, first, count):
        memory = self.free_memory.pop()
        where = self.story.source.name

        def good():
            self.register.check(where, bytes(memory[:count * SECTOR]), first)
        buffer = nbd.Buffer.from_buffer(memoryview(memory)[:count * SECTOR])
        handle.aio_pread(buffer, first * SECTOR, completion=self._done(number, good, memory))

    def _write(self, nbd, handle, number, verb, first, count):
        zero = verb < 10
        version = self.register.sent(first, count, zero)
        memory = None if zero else self.free_memory.pop()
        done = self._done(number, lambda: self.register.answered(first, count, version), memory)
        flags = nbd.CMD_FLAG_FUA if verb % 5 == 0 else 0
        if verb < 8:
            handle.aio_trim(count * SECTOR, first * SECTOR, completion=done, flags=flags)
        elif zero:
            handle.aio_zero(count * SECTOR, first * SECTOR, completion=done, flags=flags)
        else:
            memory[:count * SECTOR] = content(version, first, count)
            data = nbd.Buffer.from_buffer(memoryview(memory)[:count * SECTOR])
            handle.aio_pwrite(data, first * SECTOR, completion=done, flags=flags)

    def pause(self):
        self.idle.clear()
        self.pausing = True

    def resume(self):
        self.pausing = False
