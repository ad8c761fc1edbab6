"""Proof of the one-way arrows: layering_test.py [ROOT].

Reads each `#include "room/..."` and each edge of twinblock_library / target_link_libraries, and fails when
one goes against the table in house.py. A library is placed in the room whose CMakeLists.txt declares it.
"""
import pathlib
import re
import sys

import house

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.M)
CALL = re.compile(r"\b(twinblock_library|twinblock_test|add_library|add_executable|target_link_libraries)\s*\(([^()]*)\)",
                  re.S)
NOT_LIBRARIES = {"SOURCES", "PUBLIC", "PRIVATE", "INTERFACE", "LIBS", "STATIC", "OBJECT", "SHARED", "ALIAS"}


def include_findings(root):
    findings = []
    for name, path in house.sources(root):
        room = house.room_of(name)
        text = house.read(path)
        for match in INCLUDE.finditer(text):
            target = match.group(1)
            line = text.count("\n", 0, match.start()) + 1
            target_room = house.room_of(target)
            if target_room is None or not (pathlib.Path(root) / target).exists():
                findings.append(f'{name}:{line}: include "{target}" is not a path from the root of the tree')
            elif room is None:
                findings.append(f"{name}:{line}: file is in no known room (table in tests/lint/house.py)")
            elif not house.allowed(room, target_room):
                findings.append(f"{name}:{line}: {room} must not include {target_room} ({target})")
            elif room in house.CONTROL_LEAF_ONLY and target_room == "replicator/control" and \
                    not house.CONTROL_LEAVES.fullmatch(target):
                findings.append(f"{name}:{line}: {room} may see only the control protocol, not {target}")
    return findings


def cmake_calls(root):
    """(file, line, function, target name, following words, room of the file) of each call of interest."""
    for name, path in house.walk(root, ["CMakeLists.txt"]):
        text = re.sub(r"#[^\n]*", "", house.read(path))
        room = house.room_of(name.rsplit("/", 1)[0]) if "/" in name else None
        for match in CALL.finditer(text):
            words = match.group(2).split()
            if words and not words[0].startswith("$"):
                yield name, text.count("\n", 0, match.start()) + 1, match.group(1), words[0], words[1:], room


def link_findings(root):
    calls = list(cmake_calls(root))
    room_of_target = {target: room for _, _, function, target, _, room in calls
                      if function != "target_link_libraries" and room}
    findings = []
    for name, line, function, target, words, room in calls:
        if function in ("add_library", "add_executable"):
            continue
        room = room_of_target.get(target, room)
        for word in words:
            library = word.removeprefix("twinblock::")
            if word in NOT_LIBRARIES or library not in room_of_target or room is None:
                continue
            if not house.allowed(room, room_of_target[library]):
                findings.append(f"{name}:{line}: {target} ({room}) must not link {library}"
                                f" ({room_of_target[library]})")
    return findings


def check(root):
    return include_findings(root) + link_findings(root)


if __name__ == "__main__":
    sys.exit(house.report(check(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2])))
