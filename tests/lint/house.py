"""What the lint tests share: the rooms, the arrows between them, and how to read the tree.

A room is a folder with one duty. The arrows are those of docs/ARCHITECTURE.md, written down once, here.
"""
import pathlib
import re

# room -> rooms that it may include and link. "any" is for what stands outside of the product.
ARROWS = {
    "base": set(),
    "bitmap": {"base"},
    "transport/nbd": {"base"},
    "transport/wire": {"base"},
    "transport/ring": {"base"},
    "transport/link": {"base", "transport/ring", "transport/wire"},
    "replicator/core": {"base", "bitmap", "transport/wire"},
    "replicator/control": {"base"},
    "replicator/engine": {"base", "bitmap", "transport/nbd", "transport/wire", "transport/ring", "transport/link",
                          "replicator/core", "replicator/control"},
    "replicator": {"base", "bitmap", "transport/nbd", "transport/wire", "transport/ring", "transport/link",
                   "replicator/core", "replicator/control", "replicator/engine"},  # twinblockd.cpp itself
    "cli": {"base", "replicator/control"},
    "cluster-glue": {"base", "replicator/control"},
    "tests/sim": {"base", "bitmap", "transport/wire", "replicator/core"},
    "tests": {"any"},
    "bench": {"any"},
}
# Of replicator/control only the leaves may be seen from outside of the daemon.
CONTROL_LEAVES = re.compile(r"replicator/control/(protocol|config)\w*\.hpp")
CONTROL_LEAF_ONLY = {"cli", "cluster-glue"}

# Rooms that decide and never do: no thread, clock, socket, file or coroutine.
SANS_IO = {"bitmap", "transport/nbd", "transport/wire", "replicator/core"}

ROOMS = sorted(ARROWS, key=len, reverse=True)  # the longest prefix wins
SKIPPED_FOLDERS = {"build", ".git", ".ci", ".cache", "__pycache__", "corpus", "golden"}


def room_of(path):
    """The room of a path relative to the root, or None."""
    for room in ROOMS:
        if path == room or path.startswith(room + "/"):
            return room
    return None


def allowed(source, target):
    if source == target:
        return True
    return "any" in ARROWS[source] or target in ARROWS[source]


def walk(root, patterns):
    """Files below root whose name fits one of the patterns, as (relative posix path, pathlib.Path)."""
    found = []
    for pattern in patterns:
        for path in pathlib.Path(root).rglob(pattern):
            relative = path.relative_to(root)
            if path.is_file() and not SKIPPED_FOLDERS.intersection(part for part in relative.parts[:-1]) and \
                    not relative.parts[0].startswith("build"):
                found.append((relative.as_posix(), path))
    return sorted(set(found))


def sources(root):
    return walk(root, ["*.hpp", "*.cpp"])


def read(path):
    return path.read_text(encoding="utf-8", errors="replace")


def without_comments(text):
    """C++ text with comments and string contents blanked; line breaks stay, so that line numbers do."""
    pattern = re.compile(r'R"(\w*)\(.*?\)\1"|//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'', re.S)

    def blank(match):
        piece = match.group(0)
        if piece[0] in "\"'R":
            return '""' + "\n" * piece.count("\n") if piece[0] != "'" else "' '"
        return "\n" * piece.count("\n") or " "

    return pattern.sub(blank, text)


def report(findings):
    """Prints the findings; the exit code of the script."""
    for finding in findings:
        print(finding)
    print(f"{len(findings)} finding(s)")
    return 1 if findings else 0
