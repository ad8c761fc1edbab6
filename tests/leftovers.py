"""What the tests of one run have left on the machine: leftovers.py DIRECTORY [GRACE_S].

DIRECTORY is the run's own temporary directory: every test of the run got it as TMPDIR and in TWINBLOCK_TEST_RUN. A
process belongs to the run if its environment names the directory in that variable (inherited by all that the tests
start), or if its command line, working directory or program lies in the directory (PostgreSQL overwrites its
environment). Mounts, loop devices and network namespaces belong to it by their paths. Others' processes, and other
runs on the same machine, match nothing of this. What is about to end gets GRACE_S seconds (10).

Names each leftover, one per line, and exits 1 if there is any; removes the directory if there is none.
"""
import os
import pathlib
import shutil
import sys
import time

VARIABLE = "TWINBLOCK_TEST_RUN"


def ancestors(pid):
    """PID and those that wait for it: `run`, the shell that runs this script."""
    found = set()
    while pid > 1 and pid not in found:
        found.add(pid)
        try:
            pid = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
    return found


def link(path):
    try:
        return os.readlink(path)
    except OSError:
        return ""


def content(path):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError:
        return b""


def beneath(path, directory):
    """Also of a file that was deleted: the kernel then appends " (deleted)"."""
    return path == directory or path.startswith(directory + "/")


def processes(directory):
    own = ancestors(os.getpid())
    mark = f"{VARIABLE}={directory}".encode()
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in own:
            continue
        proc = f"/proc/{entry}"
        command = content(f"{proc}/cmdline").split(b"\0")
        ours = mark in content(f"{proc}/environ").split(b"\0")
        # A word of the command line that names a file of the run, alone or behind a prefix (unix:, file=).
        ours = ours or any(directory.encode() + b"/" in word for word in command)
        ours = ours or any(beneath(link(f"{proc}/{what}"), directory) for what in ("cwd", "exe", "root"))
        zombie = content(f"{proc}/stat").rpartition(b")")[2].split()[:1] == [b"Z"]
        if ours and not zombie:
            yield f"process {entry}: {b' '.join(command).decode(errors='replace').strip()[:200]}"


def mounts(directory):
    for line in content("/proc/self/mountinfo").decode(errors="replace").splitlines():
        fields = line.split(" ")
        # Spaces and the like stand there as octal escapes: \040.
        point = fields[4].encode().decode("unicode_escape") if "\\" in fields[4] else fields[4]
        if beneath(point, directory):
            yield f"mount {point} ({fields[fields.index('-') + 1]})"


def loops(directory):
    for path in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
        backing = content(path).decode(errors="replace").strip()
        if beneath(backing, directory):
            yield f"loop device /dev/{path.parts[3]} of {backing}"


def namespaces(directory):
    """Named ones: tests call theirs after the run's directory. Unnamed ones live as long as their processes."""
    name = os.path.basename(directory)
    for root in ("/run/netns", "/var/run/netns"):
        if os.path.isdir(root) and not os.path.islink(os.path.dirname(root)):
            yield from (f"network namespace {entry}" for entry in os.listdir(root) if entry.startswith(name))


def control_groups(directory):
    name = os.path.basename(directory)
    for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory"):
        if os.path.isdir(root):
            yield from (f"control group {root}/{entry}" for entry in os.listdir(root) if entry.startswith(name))


def files(directory):
    for entry in sorted(os.listdir(directory)):
        yield f"file {directory}/{entry}"


def check(directory):
    found = []
    for kind in (processes, mounts, loops, namespaces, control_groups, files):
        found += list(kind(directory))
    return found


def main(directory, grace_s=10.0):
    directory = os.path.realpath(directory)
    deadline = time.monotonic() + grace_s
    found = check(directory)
    while found and time.monotonic() < deadline:
        time.sleep(0.1)  # poll-interval: what is about to end
        found = check(directory)
    for line in found:
        print(f"left over: {line}")
    if found:
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3 or not os.path.isdir(sys.argv[1]):
        sys.exit("usage: leftovers.py DIRECTORY [GRACE_S]")
    sys.exit(main(sys.argv[1], *[float(word) for word in sys.argv[2:]]))
