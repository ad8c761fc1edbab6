"""Crash states of a disk from a log of dm-log-writes (kernel: Documentation/admin-guide/device-mapper/log-writes.rst).

The log begins with a sector {magic u64, version u64, entries u64, sector size u32}. Each entry is a sector {sector u64,
count u64, flags u64, data length u64, text}, followed by `count` sectors of data unless it is a discard; a mark has
text instead. All numbers are little-endian.

The recorded disk is divided into areas (dm-linear above dm-log-writes), each of which stands for a disk with a volatile
cache of its own: a flush arrives with the first sector of its area and makes that area durable, no other. What a power
cut may leave of an area: what a flush of it has covered, every FUA write, and any subset of the other writes since, in
order, one of them torn at a sector of 512 bytes.
"""
import collections
import pathlib
import struct

SECTOR = 512
MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
HEAD = struct.Struct("<QQQI")
ENTRY = struct.Struct("<QQQQ")

Entry = collections.namedtuple("Entry", "index flags sector count position text")
Area = collections.namedtuple("Area", "name first size")  # bytes
Write = collections.namedtuple("Write", "area offset data fua")


class Log:
    def __init__(self, path):
        self.file = open(path, "rb")  # pylint: disable=consider-using-with
        magic, version, self.count, self.sector = HEAD.unpack(self.file.read(HEAD.size))
        assert magic == MAGIC and version == 1, f"{path} is no log of dm-log-writes"

    def entries(self):
        position = self.sector
        for index in range(self.count):
            self.file.seek(position)
            head = self.file.read(self.sector)
            sector, count, flags, length = ENTRY.unpack_from(head)
            text = head[ENTRY.size:ENTRY.size + length].rstrip(b"\0").decode() if flags & MARK else ""
            position += self.sector
            yield Entry(index, flags, sector, count, position, text)
            if not flags & DISCARD:
                position += count * self.sector

    def data(self, entry):
        if entry.flags & DISCARD:
            return bytes(entry.count * self.sector)
        self.file.seek(entry.position)
        return self.file.read(entry.count * self.sector)


class Disk:
    """One area as the log goes by: what is durable, in a file, and what is not yet."""

    def __init__(self, area, directory):
        self.area = area
        self.pending = []
        self.fuas = []  # [write, flushes since]
        path = pathlib.Path(directory) / area.name
        path.write_bytes(bytes(area.size))
        self.file = open(path, "r+b", buffering=0)  # pylint: disable=consider-using-with

    def write(self, offset, data, fua):
        write = Write(self.area.name, offset, data, fua)
        if fua:
            self.fuas.append([write, 0])
            self.pending.append(write)
        else:
            self.pending += self.without_older(write)

    def without_older(self, write):
        """The log notes a plain write when the next flush comes, a FUA write at once: so a write that a FUA write has
        replaced may stand behind it. Where both are of the load (their sectors tell their versions), what is older
        than a FUA write of the moment is left out; the recorded order cannot have been the true one."""
        older = set()
        for fua, _ in self.fuas:
            for at in range(max(fua.offset, write.offset),
                            min(fua.offset + len(fua.data), write.offset + len(write.data)), SECTOR):
                if version(write, at) < version(fua, at):
                    older.add(at)
        if not older:
            return [write]
        return [Write(write.area, at, write.data[at - write.offset:at - write.offset + SECTOR], False)
                for at in range(write.offset, write.offset + len(write.data), SECTOR) if at not in older]

    def flush(self):
        # The flush that belongs to a FUA write (RWF_DSYNC) comes after it; one that began before may end in between.
        self.fuas = [[write, flushes + 1] for write, flushes in self.fuas if flushes < 2]
        for write in self.pending:
            self.file.seek(write.offset)
            self.file.write(write.data)
        self.pending = []

    def survivors(self, keep, rng):
        """What the power cut leaves of what is pending. keep: "all", "none" (but FUA) or "some"."""
        if keep == "all":
            return list(self.pending)
        left, lost = [], []
        for number, write in enumerate(self.pending):
            kept = write.fua or (keep == "some" and rng.random() < 0.5)
            (left if kept else lost).append(number)
        torn = rng.choice(lost) if lost and keep == "some" and rng.random() < 0.7 else None
        result = []
        for number, write in enumerate(self.pending):
            if number == torn:
                result += shreds(write, rng)
            elif number in left:
                result.append(write)
        return result


def version(write, offset):
    return int.from_bytes(write.data[offset - write.offset:offset - write.offset + 8], "little")


def shreds(write, rng):
    """Some sectors of a write: a beginning, an end, or any."""
    count = len(write.data) // SECTOR
    cut = rng.randrange(count + 1)
    sectors = rng.choice([range(cut), range(cut, count), [s for s in range(count) if rng.random() < 0.5]])
    return [Write(write.area, write.offset + s * SECTOR, write.data[s * SECTOR:(s + 1) * SECTOR], write.fua)
            for s in sectors]


class Replay:
    """Plays a log entry by entry; the disks are then as of that moment."""

    def __init__(self, log, areas, directory, disk=Disk):
        self.log = log
        self.disks = {area.name: disk(area, directory) for area in areas}
        self.by_sector = sorted((area.first // SECTOR, area) for area in areas)

    def area_at(self, sector):
        for first, area in reversed(self.by_sector):
            if sector >= first:
                return area if sector < first + area.size // SECTOR else None
        return None

    def play(self, entry):
        """The area that the entry is about; None for marks and what lies outside of all areas."""
        if entry.flags & MARK:
            return None
        area = self.area_at(entry.sector)
        if area is None:
            return None
        disk = self.disks[area.name]
        if entry.flags & FLUSH:
            disk.flush()
        if entry.count:
            disk.write(entry.sector * SECTOR - area.first, self.log.data(entry), bool(entry.flags & FUA))
        return area

    def in_flight(self, entry, rng):
        """What of this write, the next one, may already be there: it was on its way."""
        area = None if entry.flags & MARK or not entry.count else self.area_at(entry.sector)
        if area is None:
            return []
        write = Write(area.name, entry.sector * SECTOR - area.first, self.log.data(entry), False)
        return shreds(write, rng)
