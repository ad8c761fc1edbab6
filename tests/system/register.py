"""What each sector of the mirror may show: books over every write, whatever became of it.

Each sector carries {version, sector}. It must show the last acknowledged version or one that was sent later and never
answered for good; what was read once holds (P15). A version may also be zeroes (trim, write zeroes).
"""
import struct
import threading

SECTOR = 512
STAMP = struct.Struct("<QQ")
COPIES = SECTOR // STAMP.size
ZERO = bytes(SECTOR)


def content(version, first, count):
    return b"".join(STAMP.pack(version, sector) * COPIES for sector in range(first, first + count))


class Violation(AssertionError):
    """The mirror broke a promise."""


class Register:
    def __init__(self, sectors):
        self.lock = threading.Lock()
        self.version = 0
        self.held = [0] * sectors       # the version that must be there
        self.maybe = {}                 # sector: versions sent later and not answered
        self.zeroes = {0}               # versions that are zeroes
        self.acknowledged = 0
        self.checked = 0

    def sent(self, first, count, zero=False):
        with self.lock:
            self.version += 1
            if zero:
                self.zeroes.add(self.version)
            for sector in range(first, first + count):
                self.maybe.setdefault(sector, []).append(self.version)
            return self.version

    def answered(self, first, count, version):
        """What was sent earlier and not answered is overwritten: it may never come back."""
        with self.lock:
            for sector in range(first, first + count):
                self.held[sector] = version
                self.maybe.pop(sector, None)
            self.acknowledged += 1

    def uncertain(self):
        with self.lock:
            return sorted(self.maybe)

    def check(self, where, data, first):
        """REQUIRES: no write of these sectors in flight. Raises Violation."""
        with self.lock:
            for i in range(len(data) // SECTOR):
                sector = first + i
                piece = data[i * SECTOR:(i + 1) * SECTOR]
                allowed = [self.held[sector], *self.maybe.get(sector, ())]
                found = self._version(piece, sector, allowed)
                if found is None:
                    raise Violation(f"{where}: sector {sector} shows {self._describe(piece)}; acknowledged: version "
                                    f"{self.held[sector]}, unanswered: {allowed[1:]}, zeroes among them: "
                                    f"{[v for v in allowed if v in self.zeroes]}")
                self.held[sector] = found
                self.maybe.pop(sector, None)
                self.checked += 1

    def _version(self, piece, sector, allowed):
        if piece == ZERO:
            # The newest of those that it may be: the others are zeroes too.
            return max((v for v in allowed if v in self.zeroes), default=None)
        version, where = STAMP.unpack_from(piece)
        good = version in allowed and where == sector and piece == piece[:STAMP.size] * COPIES
        return version if good and version not in self.zeroes else None

    @staticmethod
    def _describe(piece):
        if piece == ZERO:
            return "zeroes"
        stamps = sorted({piece[i:i + STAMP.size] for i in range(0, SECTOR, STAMP.size)})
        return " and ".join(f"version {v} of sector {s}" for v, s in map(STAMP.unpack, stamps[:4]))
