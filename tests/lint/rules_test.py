"""Forbidden things: rules_test.py [ROOT]. Each rule is a function (name, text) -> findings."""
import pathlib
import re
import subprocess
import sys

import house

FILE_LINES_MAX = 700
HEADER_LINES_MAX = 400
COLUMNS_MAX = 110
FUNCTION_LINES_MAX = 100
# file -> (lines, lines of its longest function) for what a split would make harder to read, and why.
WIDER = {
    # One private struct is the state of a node's half of a mirror; every machine of the core works on it.
    "replicator/core/impl.hpp": (580, FUNCTION_LINES_MAX),
    # The table of docs/internals/generations.md, row by row: one initialiser, no control flow.
    "tests/unit/core/decide_test.cpp": (760, 400),
}
HEAVY_UNITS_MAX = 3  # .cpp files that may include Boost.Beast or Boost.JSON: they cost half a minute each

HEAVY = re.compile(r"#\s*include\s*<boost/(beast|json)\b")
USING_NAMESPACE = re.compile(r"^\s*using\s+namespace\b", re.M)
# Written in two halves so that this file does not find itself.
MACHINE_PATH = re.compile("(?<![\\w/.])(/" + "work/|/" + "home/\\w|/" + "Users/|/" + "root/|/" + "mnt/data)")
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
ALLOWED_WAIT = "poll-interval:"
WAITS = {
    ".cpp": re.compile(r"\b(sleep_for|sleep_until|usleep|nanosleep)\s*\(|(?<![\w.:>])sleep\s*\("),
    ".hpp": re.compile(r"\b(sleep_for|sleep_until|usleep|nanosleep)\s*\(|(?<![\w.:>])sleep\s*\("),
    ".py": re.compile(r"\b(time\.sleep|asyncio\.sleep)\s*\(|(?<![\w.])sleep\s*\("),
    ".sh": re.compile(r"(?:^|[;&|({]|\bdo|\bthen|\belse)\s*sleep\s+[\"'$\d.]"),
}
SANS_IO_HEADERS = re.compile(
    r"#\s*include\s*<(thread|mutex|shared_mutex|condition_variable|future|semaphore|latch|barrier|stop_token|chrono|"
    r"coroutine|fstream|iostream|filesystem|random|ctime|time\.h|unistd\.h|fcntl\.h|poll\.h|signal\.h|"
    r"pthread\.h|sys/\w+\.h|netinet/\w+\.h|arpa/\w+\.h|linux/\w+\.h|liburing\.h|boost/asio[\w/.]*|boost/beast[\w/.]*|"
    r"spdlog/[\w/.]*)>")
SANS_IO_WORDS = re.compile(r"\b(co_await|co_yield|co_return|std::(thread|jthread|mutex|atomic|unordered_map|unordered_set|"
                           r"random_device)|steady_clock|system_clock|clock_gettime)\b")
SANS_IO_STATE = re.compile(r"\b(float|double)\b")  # step() must give the same digest everywhere


def line_of(text, match):
    return text.count("\n", 0, match.start()) + 1


def each(pattern, name, text, what):
    return [f"{name}:{line_of(text, match)}: {what} ({match.group(0).strip()})" for match in pattern.finditer(text)]


def shape(name, text):
    lines = text.splitlines()
    findings = []
    limit = HEADER_LINES_MAX if name.endswith(".hpp") else FILE_LINES_MAX
    limit = WIDER.get(name, (limit, 0))[0]
    if len(lines) > limit:
        findings.append(f"{name}: {len(lines)} lines, at most {limit}")
    if name.endswith((".hpp", ".cpp")):
        findings += [f"{name}:{number}: {len(line)} columns, at most {COLUMNS_MAX}"
                     for number, line in enumerate(lines, 1) if len(line) > COLUMNS_MAX]
    if name.endswith(".hpp") and "#pragma once" not in text:
        findings.append(f"{name}: no #pragma once")
    return findings


def function_lengths(name, text):
    """Bodies whose opening line stands at the margin or one class deep and looks like a function."""
    findings = []
    limit = WIDER.get(name, (0, FUNCTION_LINES_MAX))[1]
    begin = None
    for number, line in enumerate(house.without_comments(text).splitlines(), 1):
        if begin is None:
            head = re.match(r"( {0,2})(?!namespace|class|struct|enum|union|extern|typedef|#)[\w~:\[].*\)[^;={}]*\{$", line)
            if head:
                begin, indent = number, head.group(1)
        elif line.startswith(indent + "}"):
            if number - begin + 1 > limit:
                findings.append(f"{name}:{begin}: function of {number - begin + 1} lines, at most {limit}")
            begin = None
    return findings


def sans_io(name, text):
    if house.room_of(name) not in house.SANS_IO:
        return []
    code = house.without_comments(text)
    findings = each(SANS_IO_HEADERS, name, text, "header of the world outside in a room that only decides")
    findings += each(SANS_IO_WORDS, name, code, "not in a room that only decides")
    if house.room_of(name) == "replicator/core":
        findings += each(SANS_IO_STATE, name, code, "floating point in the core")
    return findings


def waits(name, text):
    pattern = WAITS.get(pathlib.PurePosixPath(name).suffix)
    if not name.startswith(("tests/", "bench/")) or name.startswith("tests/lint/") or pattern is None:
        return []
    return [f"{name}:{number}: a wait for time; wait for a state, or say `{ALLOWED_WAIT} why` on the line"
            for number, line in enumerate(text.splitlines(), 1)
            if pattern.search(line) and ALLOWED_WAIT not in line]


def cpp_rules(name, text):
    findings = each(USING_NAMESPACE, name, house.without_comments(text), "using namespace")
    if name.endswith(".hpp"):
        findings += each(HEAVY, name, text, "Boost.Beast or Boost.JSON in a header")
    return findings + function_lengths(name, text) + sans_io(name, text)


def committed(root):
    """Text files of the tree as git sees them, or all of them where there is no git (self-test, tarball)."""
    listing = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, text=True)
    names = [name for name in listing.stdout.split("\0") if name] if listing.returncode == 0 else []
    if not names:
        return house.walk(root, ["*"])
    return [(name, pathlib.Path(root) / name) for name in names if (pathlib.Path(root) / name).is_file()]


def check(root):
    findings, heavy = [], []
    for name, path in committed(root):
        data = path.read_bytes()
        if b"\0" in data or "/corpus/" in name:
            continue
        text = data.decode("utf-8", errors="replace")
        findings += each(MACHINE_PATH, name, text, "path of one machine")
        if name.endswith((".hpp", ".cpp", ".py", ".sh", ".cmake")) or name in ("run", "CMakeLists.txt"):
            findings += each(UNFINISHED, name, text, "unfinished") + shape(name, text) + waits(name, text)
        if name.endswith((".hpp", ".cpp")):
            findings += cpp_rules(name, text)
            if name.endswith(".cpp") and not name.startswith("tests/") and HEAVY.search(text):
                heavy.append(name)
    if len(heavy) > HEAVY_UNITS_MAX:
        findings.append(f"Boost.Beast or Boost.JSON in {len(heavy)} sources, at most {HEAVY_UNITS_MAX}: {', '.join(heavy)}")
    return findings


if __name__ == "__main__":
    sys.exit(house.report(check(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2])))
