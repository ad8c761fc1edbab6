"""Per-library link check: symbols_test.py MANIFEST, a file of lines `room library archive`.

For each archive: every twinblock symbol that it lacks must be defined in an archive of a room that it may
use, and an archive of a room that only decides must not ask for a thread, clock, file, socket or ring.
This is what the linker would say if each library were linked with nothing but its allowed neighbours.
"""
import pathlib
import re
import subprocess
import sys

import house

OURS = "9twinblock"  # twinblock:: in a mangled name
FORBIDDEN = re.compile(
    r"pthread_\w+|clock_\w+|gettimeofday|time|(nano|u)?sleep|open(at)?(64)?|creat|read|p?readv?(64)?|write|p?writev?(64)?|"
    r"f(data)?sync|fallocate(64)?|mmap(64)?|ioctl|socket|connect|bind|listen|accept4?|send(to|msg)?|recv(from|msg)?|"
    r"poll|ppoll|p?select|epoll_\w+|eventfd|timerfd_\w+|fork|vfork|exec\w+|posix_spawn\w*|io_uring_\w+|getrandom|getentropy|"
    r"rand|random|fopen(64)?|getenv|_ZNSt6thread\w*|_ZNSt6chrono\w*|_ZNSt13random_device\w*|_ZNSt18condition_variable\w*|"
    r"_ZNSt1[34]basic_[io]?f(ile|stream)\w*")


def symbols(archive):
    """(undefined, defined) names of an archive; what one member defines, another does not lack."""
    undefined, defined = set(), set()
    listing = subprocess.run(["nm", "-P", str(archive)], capture_output=True, text=True, check=True)
    for line in listing.stdout.splitlines():
        words = line.split()
        if len(words) < 2 or words[0].endswith(":"):
            continue
        name, kind = words[0].split("@")[0], words[1]
        if kind in "Uwv":
            undefined.add(name)
        elif kind.isupper() or kind == "u":
            defined.add(name)
    return undefined - defined, defined


def check(manifest):
    """manifest: list of (room, library, archive path)."""
    tables = {library: (room, *symbols(archive)) for room, library, archive in manifest}
    findings = []
    for library, (room, undefined, _) in tables.items():
        for name in sorted(undefined):
            if OURS in name:
                homes = [(other, other_room) for other, (other_room, _, defined) in tables.items() if name in defined]
                if not any(house.allowed(room, other_room) for _, other_room in homes):
                    where = ", ".join(f"{other} ({other_room})" for other, other_room in homes) or "no library"
                    findings.append(f"{library} ({room}) needs {name}, which is defined in {where}")
            elif room in house.SANS_IO and FORBIDDEN.fullmatch(name):
                findings.append(f"{library} ({room}) only decides, but calls {name}")
    return findings


def read_manifest(path):
    rows = [line.split(" ", 2) for line in pathlib.Path(path).read_text().splitlines() if line.strip()]
    missing = [archive for _, _, archive in rows if not pathlib.Path(archive).exists()]
    if missing:
        raise SystemExit(f"not built: {', '.join(missing)}")
    if not rows:
        raise SystemExit("no library in the manifest")
    return rows


if __name__ == "__main__":
    sys.exit(house.report(check(read_manifest(sys.argv[1]))))
