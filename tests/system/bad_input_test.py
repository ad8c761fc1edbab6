#!/usr/bin/python3
# ctest: timeout=300
"""Bad input, line by line: the message names what happened, nothing changed, the daemon lives."""
import contextlib
import ctypes
import os
import random
import shutil
import socket
import struct
import subprocess

import harness
from harness import MIB, need, need_nbd, pair, run

SIZE = 16 * MIB

GOOD = """[node]
name = "alpha"
state_dir = "/tmp/none"
control = "/tmp/none/control.sock"
[[mirror]]
name = "data"
nbd = "unix:/tmp/none/nbd.sock"
[[mirror.node]]
name = "alpha"
disk = "/tmp/none/a"
metadata = "/tmp/none/a.meta"
replication = ["127.0.0.1:7789"]
[[mirror.node]]
name = "beta"
disk = "/tmp/none/b"
metadata = "/tmp/none/b.meta"
replication = ["127.0.0.2:7789"]
"""

SECOND = """[[mirror]]
name = "other"
nbd = "unix:/tmp/none/other.sock"
[[mirror.node]]
name = "alpha"
disk = "/tmp/none/a"
metadata = "/tmp/none/c.meta"
replication = ["127.0.0.1:7790"]
[[mirror.node]]
name = "beta"
disk = "/tmp/none/d"
metadata = "/tmp/none/d.meta"
replication = ["127.0.0.2:7790"]
"""

# replaced text, its replacement, line of the problem, key, and what else the message has to say
CONFIG_ERRORS = [
    ('[[mirror]]', '[[mirror]]\nmode = "fast"', 6, "mirror.mode", ["fast", "sync", "memsync", "async"]),
    ('[[mirror]]', '[[mirror]]\nqeue_policy = "track"', 6, "mirror.qeue_policy",
     ["unknown key", "did you mean \"queue_policy\""]),
    ('[[mirror]]', '[[mirror]]\nwrite_alone = true', 6, "mirror.write_alone", ["free", "fenced", "quorum", "never"]),
    ('[[mirror]]', '[[mirror]]\nregion_size = "5000"', 6, "mirror.region_size", ["5000", "allowed"]),
    ('[[mirror]]', '[[mirror]]\nhot_extents = -1', 6, "mirror.hot_extents", ["-1", "allowed"]),
    ('[[mirror]]', '[[mirror]]\npeer_timeout_s = "soon"', 6, "mirror.peer_timeout_s", ["soon", "allowed"]),
    ('nbd = "unix:/tmp/none/nbd.sock"', 'nbd = "tcp:10.1.2.3:10809"', 7, "mirror.nbd", ["beyond loopback", "insecure"]),
    ('nbd = "unix:/tmp/none/nbd.sock"', 'nbd = "nbd.sock"', 7, "mirror.nbd", ["unix:", "tcp:"]),
    ('"127.0.0.1:7789"', '"10.1.2.3:7789"', 12, "mirror.node.replication", ["beyond loopback", "insecure = true"]),
    ('"127.0.0.1:7789"', '"127.0.0.1"', 12, "mirror.node.replication", ["HOST:PORT"]),
    ('"127.0.0.1:7789"', '"127.0.0.2:7789"', 13, "mirror.node.replication", ["also an address of the other node"]),
    ('disk = "/tmp/none/a"', 'disk = "a"', 10, "mirror.node.disk", ["absolute path"]),
    ('disk = "/tmp/none/a"', 'dsik = "/tmp/none/a"', 10, "mirror.node.dsik", ["disk"]),
    ('metadata = "/tmp/none/a.meta"', 'metadata = "/tmp/none/../none/a"', 8, "mirror.node.metadata", ["data disk"]),
    ('name = "alpha"\nstate_dir', 'name = "gamma"\nstate_dir', 5, "node.name", ["gamma", "alpha", "beta"]),
    ('name = "data"', 'name = "da ta"', 6, "mirror.name", ["da ta", "letters"]),
    ('[[mirror]]', '[mirror]', 5, "mirror", ["[[mirror]]"]),
    ('[[mirror]]', '[[[mirror]]', 5, "", ["syntax error"]),
    ('name = "data"', 'name = "data', 6, "", ["syntax error"]),
    ('replication = ["127.0.0.2:7789"]\n', 'replication = ["127.0.0.2:7789"]\n' + SECOND, 21, "mirror.node.disk",
     ["already the disk of mirror", "data"]),
]


def test_configuration_errors(d):
    file = d / "twinblock.toml"
    file.write_text(GOOD)
    good = run(harness.DAEMON, "--check-config", file, check=False)
    assert good.returncode == 0, good.stdout
    for old, new, line, key, parts in CONFIG_ERRORS:
        assert old in GOOD, old
        file.write_text(GOOD.replace(old, new, 1))
        for command in ((harness.DAEMON, "--check-config", file), (harness.DAEMON, "--config", file),
                        (harness.CLI, "check", "--config", file)):
            done = run(*command, check=False)
            wanted = 1 if command[0] == harness.CLI else 2
            assert done.returncode == wanted, f"{new}: {command} exit {done.returncode}\n{done.stdout}"
            place = f"{file}:{line}: {key}"
            assert place in done.stdout, f"{new!r}: {place} is not in\n{done.stdout}"
            for part in parts:
                assert part in done.stdout, f"{new!r}: {part!r} is not in\n{done.stdout}"
    missing = run(harness.DAEMON, "--config", d / "nowhere.toml", check=False)
    assert missing.returncode == 2 and "cannot be opened" in missing.stdout, missing.stdout
    file.write_bytes(random.Random(1).randbytes(4000))
    assert run(harness.DAEMON, "--check-config", file, check=False).returncode == 2


# --- disks ---

@contextlib.contextmanager
def unchanged(node):
    """Disk and metadata of the node have the same bytes afterwards, and its daemon lives."""
    disk = node.disk.read_bytes() if node.disk.is_file() else None
    before = node.metadata()
    yield
    assert node.process.alive(), "the daemon died"
    assert node.metadata() == before, "the metadata changed"
    assert disk is None or node.disk.read_bytes() == disk, "the disk changed"


def refused(node, *arguments, code, parts):
    done = node.cli(*arguments, check=False)
    assert done.returncode == code, f"{arguments}: exit {done.returncode}, expected {code}\n{done.stdout}"
    for part in (*parts, "safe:", "next:"):
        assert part in done.stdout, f"{arguments}: {part!r} is not in\n{done.stdout}"


def plain(p):
    """alpha's daemon runs; its disk is a file of random bytes without a signature, no metadata yet."""
    p.alpha.disk.write_bytes(random.Random(2).randbytes(SIZE - MIB) + bytes(MIB))
    return p.alpha.start()


SIGNATURES = [
    (1080, b"\x53\xef", "ext2/3/4"), (0, b"XFSB", "xfs"), (0x10040, b"_BHRfS_M", "btrfs"),
    (4086, b"SWAPSPACE2", "swap"), (536, b"LVM2 001", "LVM"), (512, b"EFI PART", "GPT"),
    (0, b"LUKS\xba\xbe", "LUKS"),
]


def test_a_disk_with_a_signature_needs_force(d):
    with pair(d, size=SIZE) as p:
        a = p.alpha.start()
        for offset, magic, name in SIGNATURES:
            disk = bytearray(SIZE)
            disk[offset:offset + len(magic)] = magic
            a.disk.write_bytes(disk)
            with unchanged(a):
                refused(a, "create", "data", code=3, parts=[name, "--source", "--force"])
        a.cli("create", "data", "--force")


def test_disks_in_use(d):
    need("losetup", "mount", "mkfs.ext4")
    if os.geteuid() != 0 or not os.path.exists("/dev/loop-control"):
        raise harness.Skip("needs root and loop devices")
    with pair(d, size=SIZE) as p:
        a = p.alpha.start()
        image = d / "image"
        with open(image, "wb") as f:
            f.truncate(SIZE)
        run("mkfs.ext4", "-q", "-F", image)
        loop = run("losetup", "--find", "--show", image).stdout.strip()
        mount = d / "mnt"
        mount.mkdir()
        try:
            a.disk.symlink_to(loop)
            run("mount", loop, mount)
            try:
                with unchanged(a):
                    refused(a, "create", "data", "--force", code=3, parts=[str(a.disk), "mounted"])
            finally:
                run("umount", mount)
            a.disk.unlink()
            # The file below a loop device is in use, too.
            a.disk.symlink_to(image)
            with unchanged(a):
                refused(a, "create", "data", "--force", code=3, parts=["/dev/loop"])
        finally:
            run("losetup", "-d", loop)


def test_a_replica_is_not_created_over(d):
    with pair(d, size=SIZE) as p:
        a = plain(p)
        a.cli("create", "data", "--source")
        a.cli("up", "data")
        a.cli("down", "data")
        with unchanged(a):
            refused(a, "create", "data", code=3, parts=["already a replica"])
            refused(a, "create", "data", "--size", "8MiB", code=3, parts=["exists with", str(SIZE)])
        # Two daemons, one disk: the second one waits, and says for what.
        a.cli("up", "data")
        shutil.copyfile(a.dir / "meta", p.beta.dir / "meta")
        p.beta.disk.symlink_to(a.disk)
        b = p.beta.start()
        assert "locked by another process" in b.status()["reason"], b.status()["reason"]
        refused(b, "up", "data", code=3, parts=["locked by another process"])
        refused(b, "create", "data", "--force", code=3, parts=["locked by another process"])
        a.cli("promote", "data", "--force", check=False)
        assert a.process.alive() and b.process.alive()


def test_disk_and_metadata_in_bad_places(d):
    with pair(d, size=SIZE) as p:
        a = plain(p)
        (a.dir / "meta").symlink_to(a.disk)
        with unchanged(a):
            refused(a, "create", "data", "--force", code=3, parts=["are the same"])
        (a.dir / "meta").unlink()
        if os.path.ismount("/dev/shm"):
            volatile = f"/dev/shm/{d.name}.meta"
            (a.dir / "meta").symlink_to(volatile)
            try:
                open(volatile, "wb").close()
                with unchanged(a):
                    refused(a, "create", "data", "--force", code=3, parts=["tmpfs"])
            finally:
                os.unlink(volatile)
                (a.dir / "meta").unlink()
        (a.dir / "meta").write_bytes(b"a letter to my aunt" * 1000)
        with unchanged(a):
            refused(a, "create", "data", code=3, parts=["something else is in the place of the metadata"])
        (a.dir / "meta").unlink()
        a.disk.unlink()
        refused(a, "create", "data", code=1, parts=["does not exist", "--size"])
        refused(a, "create", "data", "--size", "1", code=3, parts=["too small"])
        assert not a.disk.exists() and a.metadata() is None


def test_metadata_that_does_not_fit(d):
    """Of another disk, of the other node, damaged on both copies, none at all, of a disk that shrank."""
    with pair(d, size=SIZE) as p:
        a = plain(p)
        a.cli("create", "data", "--source")
        a.cli("up", "data")
        a.cli("down", "data")
        good = a.metadata()
        meta = a.dir / "meta"

        def up_fails(parts, code=3):
            with unchanged(a):
                refused(a, "up", "data", code=code, parts=parts)
                assert a.status()["state"] == "Failed" and parts[0] in a.status()["reason"], a.status()["reason"]
                assert json_text(a, "metadata", "dump", "data")
            a.cli("down", "data")

        keep = d / "keep"
        os.rename(a.disk, keep)
        shutil.copyfile(keep, a.disk)              # the same bytes, another file
        up_fails(["was made for another disk"])
        os.rename(keep, a.disk)

        damaged = bytearray(good)
        damaged[100] ^= 1
        damaged[4096 + 100] ^= 1
        meta.write_bytes(damaged)
        up_fails(["cannot be used"])
        meta.write_bytes(bytes(len(good)))
        up_fails(["has no metadata"], code=1)
        meta.write_bytes(good)

        os.truncate(a.disk, SIZE - MIB)
        up_fails(["has 15728640 bytes"])
        os.truncate(a.disk, SIZE)

        p.beta.start()
        shutil.copyfile(meta, p.beta.dir / "meta")
        p.beta.disk.symlink_to(a.disk)
        with unchanged(p.beta):
            refused(p.beta, "up", "data", code=3, parts=["belongs to node index 0"])

        # One copy of the superblock is enough.
        half = bytearray(good)
        half[100] ^= 1
        meta.write_bytes(half)
        a.cli("up", "data")


def json_text(node, *arguments):
    return node.cli(*arguments, check=False).stdout


# --- peers ---

def test_peer_of_another_mirror(d):
    with pair(d, size=SIZE) as p:
        p.create()
        p.beta.stop()
        p.beta.disk.unlink()
        (p.beta.dir / "meta").unlink()
        # A mirror of its own under the same name: both are sources of different data.
        p.beta.start()
        p.beta.cli("create", "data", "--source", "--size", str(SIZE))
        before = p.beta.disk.read_bytes()
        p.beta.cli("up", "data")
        status = p.alpha.wait_state(peer_link="refused")
        assert "belongs to another mirror" in status["reason"], status["reason"]
        assert "belongs to another mirror" in p.beta.wait_state(peer_link="refused")["reason"]
        assert p.beta.disk.read_bytes() == before
        assert status["role"] == "source" and p.alpha.process.alive() and p.beta.process.alive()


def xxh3():
    try:
        library = ctypes.CDLL("libxxhash.so.0")
    except OSError:
        raise harness.Skip("libxxhash is not installed") from None
    library.XXH3_64bits.restype = ctypes.c_uint64
    library.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return lambda data: library.XXH3_64bits(bytes(data), len(data))


def message(hash_of, kind, body=b"", **fields):
    """A message of the replication protocol (docs/internals/wire_protocol.md), every field of the header free."""
    f = {"magic": b"TBK1", "flags": 0, "mirror": 0, "lacks": 0, "session": 0, "handle": 0, "sequence": 0, "term": 0,
         "offset": 0, "length": len(body), "wire_length": len(body), "aux": hash_of(body) if body else 0, **fields}
    head = f["magic"] + struct.pack("<BBBBIIQQQIIQ", kind, f["flags"], f["mirror"], f["lacks"], f["session"],
                                    f["handle"], f["sequence"], f["term"], f["offset"], f["length"],
                                    f["wire_length"], f["aux"])
    assert len(head) == 56
    return head + struct.pack("<Q", fields.get("hash", hash_of(head))) + body


def hello(name=b"data", config=b"", low=1, high=1, required=0, mirror_id=0, node=0, size=SIZE, region=65536):
    fixed = struct.pack("<HHQQQBQQQIII", low, high, required, 0, mirror_id, node, 0x1234, 0x5678, size, region, 512, 64)
    return fixed + struct.pack("<H", len(name)) + name + struct.pack("<H", len(config)) + config


def talk(port, *messages):
    """Says all of it and returns what came until the other side closed."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=harness.PATIENCE) as s:
        with contextlib.suppress(OSError):
            for m in messages:
                s.sendall(m)
            s.shutdown(socket.SHUT_WR)
            while piece := s.recv(65536):
                answer += piece
    return answer


def test_peers_that_talk_nonsense(d):
    """Another version, features, name, place, size; broken hashes, lengths, types; cut in the middle."""
    hash_of = xxh3()
    with pair(d, size=SIZE) as p:
        p.create()
        p.alpha.cli("disconnect", "data")
        p.beta.wait_state(peer_link="connecting")
        ok = message(hash_of, 1, hello())
        cases = {
            "version 9": message(hash_of, 1, hello(low=9, high=9)),
            "version 0": message(hash_of, 1, hello(low=0, high=0)),
            "required feature": message(hash_of, 1, hello(required=1 << 40)),
            "name": message(hash_of, 1, hello(name=b"atad")),
            "name with control characters": message(hash_of, 1, hello(name=b"da\nta")),
            "empty name": message(hash_of, 1, hello(name=b"")),
            "mirror id": message(hash_of, 1, hello(mirror_id=77)),
            "own place": message(hash_of, 1, hello(node=1)),
            "place 9": message(hash_of, 1, hello(node=9)),
            "size": message(hash_of, 1, hello(size=SIZE * 2)),
            "region": message(hash_of, 1, hello(region=1)),
            "configuration": message(hash_of, 1, hello(config=b"mode=whatever\n")),
            "truncated body": message(hash_of, 1, hello()[:40]),
            "wrong hash of the header": message(hash_of, 1, hello(), hash=1),
            "wrong hash of the body": message(hash_of, 1, hello(), aux=1),
            "wrong magic": message(hash_of, 1, hello(), magic=b"TBK2"),
            "unknown type": message(hash_of, 99),
            "unknown codec": message(hash_of, 1, hello(), wire_length=len(hello()) | 5 << 28),
            "a body of 256 MiB": message(hash_of, 1, wire_length=(1 << 28) - 1, length=(1 << 28) - 1),
            "write before hello": message(hash_of, 16, b"x" * 512),
            "write after hello": ok + message(hash_of, 16, b"x" * 512, session=1, sequence=1, handle=1),
            "state of 3 bytes": ok + message(hash_of, 2, b"abc"),
            "bits beyond the end": ok + message(hash_of, 4, b"\xff" * 4096, offset=1 << 62),
            "two hellos": ok + ok,
            "a term from the future": ok + message(hash_of, 40, sequence=(1 << 64) - 1, term=(1 << 64) - 1),
            "cut in the header": ok[:30],
            "cut in the body": ok[:-5],
        }
        disk = p.beta.disk.read_bytes()
        before = p.beta.facts()
        for name, data in cases.items():
            talk(p.beta_port, data)
            assert p.beta.process.alive(), f"{name}: the daemon died\n{p.beta.process.tail()}"
        status = p.beta.status()
        assert status["replica"] in ("consistent", "uptodate"), status
        assert p.beta.facts() == before and p.beta.disk.read_bytes() == disk, "nonsense changed something"
        log = p.beta.process.log.read_text()
        assert "version" in log, "the log does not name the version\n" + p.beta.process.tail()
        p.alpha.cli("connect", "data")
        p.wait_synced(p.alpha)
        p.compare()


def test_a_stale_process_plays_its_connection_again(d):
    """Row 40: every byte that the source once said, from the hello to the writes, said again by somebody else: beside the
    living session, and while there is none. It costs at most the connection; nothing of it is applied."""
    with pair(d, "peer_timeout_s = 2", size=SIZE) as p:
        p.create()
        p.alpha.cli("disconnect", "data")
        p.beta.wait_state(peer_link="connecting")
        p.relay.tape = bytearray()
        p.alpha.cli("connect", "data")
        p.wait_synced(p.alpha)
        h = p.alpha.handle()
        for block in range(64):
            h.pwrite(b"old!" * 1024, block * 4096)
        h.flush()
        tape = bytes(p.relay.tape)
        p.relay.tape = None
        assert tape.count(b"old!" * 1024) == 64, "the tape lacks what was written"
        for block in range(64):
            h.pwrite(b"new!" * 1024, block * 4096)
        h.flush()
        disk = p.beta.disk.read_bytes()
        for cut in (len(tape), tape.index(b"old!" * 1024), 200):
            talk(p.beta_port, tape[:cut])
            h.pwrite(b"more" * 1024, 8 << 20)  # the source has an answer, with its target or without
            p.wait_synced(p.alpha)
        p.alpha.cli("disconnect", "data")
        p.beta.wait_state(peer_link="connecting")
        talk(p.beta_port, tape)
        status = p.beta.status()  # the tape ends with a refusal
        assert status["role"] == "target" and status["replica"] == "consistent", status
        now = p.beta.disk.read_bytes()
        assert now[:8 << 20] == disk[:8 << 20], "old writes were applied again"
        p.alpha.cli("connect", "data")
        p.wait_synced(p.alpha)
        assert h.pread(4096, 0) == b"new!" * 1024
        h.flush()
        h.shutdown()
        p.compare()


# --- clients ---

REQUEST, REPLY = 0x25609513, 0x67446698
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
EPERM, EINVAL, ENOSPC, ENOTSUP = 1, 22, 28, 95


class RawClient:
    """NBD by hand, with simple replies: libnbd would not say such things."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(harness.PATIENCE)
        self.socket.connect(str(path))
        self.socket.recv(18, socket.MSG_WAITALL)
        self.socket.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, 0))
        self.socket.recv(10, socket.MSG_WAITALL)
        self.cookie = 0

    def send(self, command, offset, length, payload=b"", flags=0, magic=REQUEST):
        self.cookie += 1
        self.socket.sendall(struct.pack(">IHHQQI", magic, flags, command, self.cookie, offset, length) + payload)

    def error(self):
        magic, error, cookie = struct.unpack(">IIQ", self.socket.recv(16, socket.MSG_WAITALL))
        assert (magic, cookie) == (REPLY, self.cookie)
        return error

    def dropped(self):
        with contextlib.suppress(ConnectionError):
            return self.socket.recv(1) == b""
        return True


def test_nbd_requests(d):
    need_nbd()
    with pair(d, size=SIZE) as p:
        p.create()
        h = p.alpha.handle()
        h.pwrite(b"k" * 4096, 0)
        h.flush()
        before = p.alpha.disk.read_bytes(), p.beta.disk.read_bytes()
        answered = [
            ("read beyond the end", READ, SIZE, 512, b"", 0, EINVAL),
            ("read across the end", READ, SIZE - 512, 1024, b"", 0, EINVAL),
            ("read at the end of numbers", READ, (1 << 64) - 512, 512, b"", 0, EINVAL),
            ("write beyond the end", WRITE, SIZE, 512, b"w" * 512, 0, ENOSPC),
            ("write across the end", WRITE, SIZE - 512, 1024, b"w" * 1024, 0, ENOSPC),
            ("zeroes beyond the end", ZEROES, SIZE, 512, b"", 0, ENOSPC),
            ("trim beyond the end", TRIM, SIZE, 512, b"", 0, EINVAL),
            ("unaligned offset", WRITE, 100, 512, b"w" * 512, 0, EINVAL),
            ("unaligned length", WRITE, 0, 100, b"w" * 100, 0, EINVAL),
            ("unaligned zeroes", ZEROES, 0, 4095, b"", 0, EINVAL),
            ("read of 64 MiB", READ, 0, 64 * MIB, b"", 0, EINVAL),
            ("length zero", READ, 0, 0, b"", 0, EINVAL),
            ("unknown command", 77, 0, 512, b"", 0, EINVAL),
            ("unknown flag", WRITE, 0, 512, b"w" * 512, 1 << 15, EINVAL),
            ("block status without a context", STATUS, 0, 512, b"", 0, EINVAL),
        ]
        client = RawClient(p.alpha.nbd)
        for name, command, offset, length, payload, flags, wanted in answered:
            client.send(command, offset, length, payload, flags)
            error = client.error()
            assert error == wanted, f"{name}: error {error}, expected {wanted}"
        for length in (64 * MIB, (1 << 32) - 1):
            other = RawClient(p.alpha.nbd)
            other.send(WRITE, 0, length)
            assert other.dropped(), f"a write of {length} bytes"
        other = RawClient(p.alpha.nbd)
        other.send(READ, 0, 512, magic=0xdeadbeef)
        assert other.dropped(), "wrong magic"
        client.send(READ, 0, 512)
        assert client.error() == 0, "the connection goes on"
        assert client.socket.recv(512, socket.MSG_WAITALL) == b"k" * 512
        h.flush()
        assert (p.alpha.disk.read_bytes(), p.beta.disk.read_bytes()) == before
        p.wait_synced(p.alpha)


def test_garbage_on_every_port(d):
    need_nbd()
    rng = random.Random(4)
    with pair(d, size=SIZE) as p:
        p.create()
        before = p.alpha.disk.read_bytes()

        def connections():
            yield lambda: socket.create_connection(("127.0.0.1", p.beta_port), timeout=harness.PATIENCE)
            for path in (p.alpha.nbd, p.beta.nbd, p.alpha.control, p.beta.control):
                def unix(path=path):
                    s = socket.socket(socket.AF_UNIX)
                    s.settimeout(harness.PATIENCE)
                    s.connect(str(path))
                    return s
                yield unix

        prefixes = (b"", b"TBK1", b"\0\0\0\x03IHAVEOPT\0\0\0\x07",
                    b"GET /v1/status HTTP/1.1\r\nContent-Length: 99999999999\r\n",
                    b"POST /v1/mirrors/data/promote HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{{{{{")
        for connect in connections():
            for prefix in prefixes:
                for length in (0, 1, 3000):
                    with contextlib.suppress(OSError), connect() as s:
                        s.sendall(prefix + rng.randbytes(length))
        assert p.alpha.process.alive() and p.beta.process.alive()
        p.wait_synced(p.alpha)
        assert p.alpha.disk.read_bytes() == before
        p.compare()


def test_control_requests(d):
    """HTTP that is well formed and wrong."""
    need("curl")
    with pair(d, size=SIZE) as p:
        a = p.create().alpha
        before = a.facts()
        cases = [
            ("GET", "/", "", 404), ("GET", "/v2/status", "", 404), ("DELETE", "/v1/status", "", 405),
            ("GET", "/v1/mirrors/data/promote", "", 405), ("POST", "/v1/mirrors/data/explode", "{}", 404),
            ("POST", "/v1/mirrors/data/promote", "{", 400), ("POST", "/v1/mirrors/data/promote", "[]", 400),
            ("POST", "/v1/mirrors/data/promote", '{"force": "yes"}', 400),
            ("POST", "/v1/mirrors/data/create", '{"size_bytes": -1}', 400),
            ("POST", "/v1/mirrors/..%2f/promote", "{}", 400), ("POST", "/v1/mirrors/none/promote", "{}", 404),
            ("GET", "/v1/events?since=yesterday", "", 400), ("GET", "/v1/events?wait_s=100000", "", 400),
        ]
        for method, target, body, wanted in cases:
            done = subprocess.run(["curl", "-s", "--path-as-is", "-X", method, "--unix-socket", a.control, "-d", body,
                                   "-w", "%{http_code}", "http://x" + target], stdout=subprocess.PIPE, text=True,
                                  timeout=harness.PATIENCE, check=True)
            assert done.stdout.endswith(str(wanted)), f"{method} {target} {body}: {done.stdout}, expected {wanted}"
            assert '"message"' in done.stdout, done.stdout
        assert a.facts() == before and a.process.alive()
        p.wait_synced(a)


if __name__ == "__main__":
    harness.main()
