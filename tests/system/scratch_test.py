#!/usr/bin/python3
# ctest: timeout=300
"""twinblockd --scratch against real NBD clients, and against garbage."""
import contextlib
import os
import pathlib
import random
import socket

import harness
from harness import MIB, need, run


@contextlib.contextmanager
def scratch(directory, *arguments, size=64 * MIB, nbd=None, **options):
    file = pathlib.Path(directory) / "file"
    address = nbd or f"unix:{directory}/sock"
    daemon = harness.Process([harness.DAEMON, "--scratch", file, "--size", str(size), "--nbd", address,
                              "--exit-with-parent", *arguments], directory, "scratch", **options)
    try:
        daemon.address = daemon.wait_line("listening on ").removeprefix("listening on ")
        daemon.file = file
        daemon.uri = f"nbd+unix:///?socket={directory}/sock"
        yield daemon
    except BaseException:
        print(daemon.tail(), flush=True)
        raise
    finally:
        if daemon.alive():
            daemon.kill()


def libnbd():
    try:
        import nbd
        return nbd
    except ImportError:
        raise harness.Skip("python3-libnbd is not installed") from None


def test_nbdinfo(d):
    need("nbdinfo")
    with scratch(d) as daemon:
        text = run("nbdinfo", daemon.uri).stdout
        for wanted in ("export-size: 67108864", "can_flush: true", "can_fua: true", "can_multi_conn: true",
                       "block_size_preferred: 4096", "x-twinblock:dirty"):
            assert wanted in text, text
        listing = run("nbdinfo", "--map", daemon.uri).stdout
        assert "67108864" in listing, listing


def test_tcp_port_zero_and_export_name(d):
    need("nbdinfo")
    with scratch(d, "--export", "disk one", nbd="tcp:127.0.0.1:0") as daemon:
        port = int(daemon.address.rsplit(":", 1)[1])
        assert port != 0
        assert "export-size" in run("nbdinfo", f"nbd://127.0.0.1:{port}/disk%20one").stdout
        assert run("nbdinfo", f"nbd://127.0.0.1:{port}/other", check=False).returncode != 0


def test_nbdcopy_there_and_back(d):
    need("nbdcopy")
    source = d / "source"
    source.write_bytes(random.Random(1).randbytes(16 * MIB) + bytes(16 * MIB) + b"\xa5" * 32 * MIB)
    with scratch(d) as daemon:
        run("nbdcopy", "--connections=4", source, daemon.uri)
        run("nbdcopy", "--flush", daemon.uri, d / "back")
        assert (d / "back").read_bytes() == source.read_bytes()
        assert daemon.stop() == 0
        assert daemon.file.read_bytes() == source.read_bytes()


def test_qemu_tools(d):
    need("qemu-img", "qemu-io")
    with scratch(d) as daemon:
        image = f"nbd:unix:{d}/sock"
        run("qemu-io", "-f", "raw", "-c", "write -P 0x5a 0 1M", "-c", "write -z 64k 128k", "-c", "write -f -P 1 3M 512",
            "-c", "flush", "-c", "discard 2M 1M", "-c", "read -P 0x5a 0 64k", "-c", "read -P 0 64k 128k",
            "-c", "read -P 1 3M 512", image)
        run("qemu-img", "convert", "-f", "raw", "-O", "raw", image, d / "out.raw")
        assert (d / "out.raw").read_bytes() == daemon.file.read_bytes()


def test_every_command_against_a_model(d):
    nbd = libnbd()
    size = 16 * MIB
    rng = random.Random(7)
    model = bytearray(size)
    with scratch(d, size=size) as daemon:
        handles = []
        for _ in range(3):
            h = nbd.NBD()
            h.add_meta_context("base:allocation")
            h.add_meta_context("x-twinblock:dirty")
            h.connect_unix(f"{d}/sock")
            handles.append(h)
        for step in range(400):
            h = rng.choice(handles)
            length = 512 * rng.choice([1, 3, 8, 64, 1000, 9000])
            offset = 512 * rng.randrange((size - length) // 512 + 1)
            verb = rng.randrange(6)
            fua = nbd.CMD_FLAG_FUA if rng.randrange(4) == 0 else 0
            if verb < 2:
                data = rng.randbytes(length)
                h.pwrite(data, offset, fua)
                model[offset:offset + length] = data
            elif verb == 2:
                h.zero(length, offset, fua | (nbd.CMD_FLAG_NO_HOLE if step % 2 else 0))
                model[offset:offset + length] = bytes(length)
            elif verb == 3:
                h.trim(length, offset, fua)
                model[offset:offset + length] = bytes(length)
            elif verb == 4:
                assert h.pread(length, offset) == model[offset:offset + length], f"step {step}"
            else:
                h.flush()
        extents = []
        handles[0].block_status(size, 0, lambda context, _o, entries, _e: extents.append((context, sum(entries[::2]))))
        assert ("base:allocation", size) in extents and ("x-twinblock:dirty", size) in extents, extents
        for h in handles:
            h.shutdown()
        assert daemon.stop() == 0
        assert daemon.file.read_bytes() == model


def test_large_requests(d):
    nbd = libnbd()
    data = random.Random(2).randbytes(32 * MIB)
    with scratch(d):
        h = nbd.NBD()
        h.connect_unix(f"{d}/sock")
        h.pwrite(data, 512 * 7)
        assert h.pread(len(data), 512 * 7) == data
        h.zero(60 * MIB, MIB)
        assert h.pread(20 * MIB, 5 * MIB) == bytes(20 * MIB)


def test_bad_requests_change_nothing_and_keep_the_connection(d):
    nbd = libnbd()
    with scratch(d, size=MIB) as daemon:
        h = nbd.NBD()
        h.set_strict_mode(0)
        h.connect_unix(f"{d}/sock")
        before = daemon.file.read_bytes()
        for action in (lambda: h.pwrite(b"x" * 512, MIB), lambda: h.pread(512, MIB), lambda: h.pwrite(b"x" * 100, 0),
                       lambda: h.pread(512, 100), lambda: h.zero(2 * MIB, 0), lambda: h.trim(512, MIB * 4)):
            try:
                action()
                raise AssertionError("a bad request was served")
            except nbd.Error:
                pass
        h.pwrite(b"y" * 512, 512)
        assert h.pread(512, 512) == b"y" * 512
        assert daemon.file.read_bytes()[1024:] == before[1024:]


def test_garbage_on_the_port(d):
    nbd = libnbd()
    rng = random.Random(3)
    with scratch(d) as daemon:
        for i in range(60):
            s = socket.socket(socket.AF_UNIX)
            s.connect(f"{d}/sock")
            with contextlib.suppress(OSError):
                if i % 3:
                    s.sendall(b"\0\0\0\x03" + b"IHAVEOPT" * (i % 2) + rng.randbytes(rng.randrange(1, 5000)))
                else:
                    s.sendall(rng.randbytes(rng.randrange(1, 5000)))
            s.close()
        h = nbd.NBD()
        h.connect_unix(f"{d}/sock")
        h.pwrite(b"z" * 4096, 0)
        assert daemon.alive() and h.pread(4096, 0) == b"z" * 4096


def test_a_client_that_vanishes_in_a_write(d):
    nbd = libnbd()
    with scratch(d) as daemon:
        for length in (0, 1, 100, 4096, 70000):
            s = socket.socket(socket.AF_UNIX)
            s.connect(f"{d}/sock")
            s.recv(18, socket.MSG_WAITALL)
            s.sendall(b"\0\0\0\x03" + b"IHAVEOPT" + b"\0\0\0\x01" + b"\0\0\0\0")   # EXPORT_NAME ""
            s.recv(10, socket.MSG_WAITALL)
            header = bytes.fromhex("25609513" "0000" "0001") + b"c" * 8 + bytes(8) + (2 * MIB).to_bytes(4, "big")
            s.sendall(header + b"q" * length)
            s.close()
        h = nbd.NBD()
        h.connect_unix(f"{d}/sock")
        assert h.pread(4096, 0) is not None and daemon.alive()
        h.shutdown()
        assert daemon.stop() == 0


def fio(uri, name, *arguments):
    return run("fio", f"--name={name}", "--ioengine=nbd", f"--uri={uri}", "--size=48m", "--verify=crc32c",
               "--verify_fatal=1", "--verify_state_save=0", "--output-format=terse", *arguments)


def test_fio_verify(d):
    need("fio")
    with scratch(d) as daemon:
        fio(daemon.uri, "random", "--rw=randwrite", "--bsrange=512-256k", "--blockalign=512", "--iodepth=32",
            "--fsync=50", "--randseed=1")


def test_fio_four_connections(d):
    need("fio")
    with scratch(d) as daemon:
        run("fio", "--name=four", "--ioengine=nbd", f"--uri={daemon.uri}", "--rw=randwrite", "--bs=4k", "--numjobs=4",
            "--size=12m", "--offset_increment=16m", "--iodepth=32", "--verify=crc32c", "--verify_fatal=1",
            "--fsync=64", "--verify_state_save=0", "--output-format=terse")


def test_restart_and_orderly_stop(d):
    nbd = libnbd()
    with scratch(d) as daemon:
        h = nbd.NBD()
        h.connect_unix(f"{d}/sock")
        h.pwrite(b"k" * 4096, 8192)
        assert daemon.stop() == 0
    with scratch(d) as daemon:
        h = nbd.NBD()
        h.connect_unix(f"{d}/sock")
        assert h.pread(4096, 8192) == b"k" * 4096
        daemon.kill()
    with scratch(d) as daemon:   # a socket file of the dead one is in the way, and its lock is gone
        assert daemon.file.read_bytes()[8192:12288] == b"k" * 4096


def test_fallback_without_io_uring(d):
    nbd = libnbd()
    with scratch(d, env={"TWINBLOCK_NO_IO_URING": "1"}) as daemon:
        assert "ring.fallback" in daemon.log.read_text()
        h = nbd.NBD()
        h.connect_unix(f"{d}/sock")
        data = random.Random(5).randbytes(3 * MIB)
        h.pwrite(data, 512, nbd.CMD_FLAG_FUA)
        assert h.pread(len(data), 512) == data


def test_systemd_hands_over_the_socket(d):
    need("nbdinfo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{d}/sock")
    listener.listen()
    fd = listener.fileno()
    # LISTEN_PID must be that of the daemon: a shell sets it and becomes the daemon.
    command = f"exec env LISTEN_PID=$$ LISTEN_FDS=1 {harness.DAEMON} --scratch {d}/file --size 1MiB --exit-with-parent"
    if fd != 3:
        command = f"exec 3<&{fd}; " + command
    daemon = harness.Process(["bash", "-c", command], d, "activated", pass_fds=(fd,))
    try:
        daemon.wait_line("listening on")
        assert "export-size: 1048576" in run("nbdinfo", f"nbd+unix:///?socket={d}/sock").stdout
        assert daemon.stop() == 0
        assert os.path.exists(f"{d}/sock"), "the socket file is systemd's"
    finally:
        if daemon.alive():
            daemon.kill()
        listener.close()


def test_usage_and_failures(d):
    daemon = harness.DAEMON
    assert run(daemon, "--scratch", d / "none", "--nbd", f"unix:{d}/s", check=False).returncode == 1
    assert run(daemon, "--scratch", d / "f", "--size", "12 apples", "--nbd", f"unix:{d}/s",
               check=False).returncode == 2
    assert run(daemon, "--bogus", check=False).returncode == 2
    refused = run(daemon, "--scratch", d / "f", "--size", "1MiB", "--nbd", f"unix:{'x' * 200}", check=False)
    assert refused.returncode == 1 and "cannot listen" in refused.stdout, refused.stdout
    with scratch(d) as first:
        second = run(daemon, "--scratch", first.file, "--nbd", f"unix:{d}/other", check=False)
        assert second.returncode == 1, second.stdout


if __name__ == "__main__":
    harness.main()
