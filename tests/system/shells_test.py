#!/usr/bin/python3
# ctest: timeout=300
"""What the shells owe the core and the operator, each test one failure story."""
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import threading

import harness
from bad_input_test import hello, message, xxh3
from faults import with_faults
from harness import MIB, need, need_mounts, need_nbd, pair, run, wait_for

SIZE = 16 << 20


def test_up_again_on_a_socket_of_systemd(d):
    """The listener is systemd's for good: `down` must not close it, or the next `up` adopts a closed descriptor."""
    with pair(d, size=SIZE) as p:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{d}/activated.sock")
        listener.listen()
        fd = listener.fileno()
        command = (f"exec 3<&{fd}; exec env LISTEN_PID=$$ LISTEN_FDS=1 {harness.DAEMON} --config {p.alpha.config} "
                   "--exit-with-parent")
        p.alpha.process = harness.Process(["bash", "-c", command], p.alpha.dir, "alpha", pass_fds=(fd,))
        p.alpha.process.wait_line("control on")
        p.alpha.cli("create", "data", "--source", "--size", str(SIZE))
        uri = f"nbd+unix:///?socket={d}/activated.sock"
        for _ in range(3):
            p.alpha.cli("up", "data")
            refused = run("nbdinfo", uri, check=False).stdout
            assert "server replied with error to opt_go" in refused, refused
            p.alpha.cli("down", "data")
        listener.close()


def metadata_that_hangs(d, who):
    """A write whose intent never becomes durable is answered in bounded time all the same (P13), and who is at fault
    says so. What lands late harms nobody."""
    with pair(d, "disk_timeout_s = 1", size=SIZE) as p:
        with_faults(p).create()
        node = getattr(p, who)
        node.faults.set("metadata.write=hang")
        h = p.alpha.handle()
        h.pwrite(b"m" * 4096, 8 * MIB)
        h.flush()
        status = node.wait_state(replica="failed")
        assert "metadata does not answer" in status["reason"], status["reason"]
        node.faults.clear()
        wait_for("the late completions", lambda: node.faults.state()["held"] == 0)
        wait_for("them to be noticed", lambda: "does not answer" not in node.status()["reason"])
        h.pwrite(b"n" * 4096, 12 * MIB)
        assert h.pread(4096, 8 * MIB) == b"m" * 4096
        h.shutdown()
        source = p.alpha
        if node is p.alpha:
            p.alpha.cli("switchover", "data", "--force")
            p.beta.wait_state(role="source")
            source = p.beta
        node.stop_or_kill()
        node.start()
        p.wait_synced(source)
        h = source.handle()
        assert h.pread(4096, 8 * MIB) == b"m" * 4096 and h.pread(4096, 12 * MIB) == b"n" * 4096
        h.flush()
        h.shutdown()
        p.compare()


def test_metadata_of_the_source_that_hangs(d):
    metadata_that_hangs(d, "alpha")


def test_metadata_of_the_target_that_hangs(d):
    metadata_that_hangs(d, "beta")


def test_a_flood_of_hellos_is_bounded(d):
    """Who is refused after a good hello is no stranger any more, and costs a connection until it is gone: there may be
    few of those at once."""
    hash_of = xxh3()
    with pair(d, size=SIZE) as p:
        p.create()
        wrong = message(hash_of, 1, hello(node=1))   # not the peer's place
        before = len(os.listdir(f"/proc/{p.beta.process.pid}/fd"))
        clients = []
        most = 0
        for i in range(3000):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", p.beta_port))
            clients.append(s)
            if i >= 30:
                with contextlib.suppress(OSError):
                    clients[i - 30].send(wrong)
            if i >= 600:
                clients[i - 600].close()
            if i % 10 == 0:
                most = max(most, len(os.listdir(f"/proc/{p.beta.process.pid}/fd")) - before)
        for s in clients:
            s.close()
        assert p.beta.process.alive()
        assert most < 64 + 8 + 16, f"{most} connections of strangers at once"
        wait_for("them to go", lambda: len(os.listdir(f"/proc/{p.beta.process.pid}/fd")) <= before + 2)
        p.wait_synced(p.alpha)


def test_addresses_that_a_killed_daemon_still_holds(d):
    """The kernel takes down the ring of a killed process behind its back, and with it, some time later, the sockets it
    listened on. The next daemon met them, called its mirror Failed for good, and the node was out of the pair."""
    with pair(d, "peer_timeout_s = 2", size=SIZE) as p:
        def server():
            with contextlib.suppress(OSError):   # the same meets us
                return socket.create_server(("127.0.0.1", p.beta_port))
        p.create()
        p.beta.kill()
        with contextlib.ExitStack() as held:
            clients = held.enter_context(socket.socket(socket.AF_UNIX))
            os.unlink(p.beta.nbd)
            clients.bind(str(p.beta.nbd))
            clients.listen()
            peers = held.enter_context(wait_for("the port of the killed daemon", server))
            p.beta.start()
            for one in (clients, peers):   # the last that is looked at is named
                wait_for("beta to say what it waits for",
                         lambda: "another process answers there" in p.beta.status()["reason"])
                one.close()
        p.wait_synced(p.alpha)
        p.compare()
        # Somebody who stays is an error, and said to be one.
        p.beta.kill()
        with socket.socket(socket.AF_UNIX) as clients:
            os.unlink(p.beta.nbd)
            clients.bind(str(p.beta.nbd))
            clients.listen()
            p.beta.start()
            wait_for("beta to give up", lambda: p.beta.status()["state"] == "Failed")
            assert "correct nbd" in p.beta.status()["reason"], p.beta.status()
        p.beta.cli("up", "data")
        p.wait_synced(p.alpha)
        p.compare()


def test_a_pipe_in_the_place_of_metadata(d):
    """Opening a FIFO waits for a writer for ever; a daemon that does so at its start serves nobody."""
    with pair(d, size=SIZE) as p:
        os.mkfifo(p.alpha.dir / "meta")
        p.alpha.start()
        assert p.alpha.status()["state"] == "Failed"
        done = p.alpha.cli("create", "data", "--source", "--size", str(SIZE), check=False)
        assert done.returncode in (1, 3), done.stdout
        os.mkfifo(p.beta.dir / "disk")
        p.beta.start()
        done = p.beta.cli("create", "data", "--source", check=False)
        assert done.returncode in (1, 3), done.stdout


def test_questions_of_readers_do_not_hold_up_commands(d):
    """Whoever may read the status asks for the metadata of a large mirror, again and again, and never waits."""
    with pair(d, size=SIZE) as p:
        port = harness.free_port()
        config = p.alpha.config.read_text()
        p.alpha.config.write_text(config.replace("[node]\n", f'[node]\nhttp = "127.0.0.1:{port}"\n', 1))
        p.alpha.disk.touch()
        os.truncate(p.alpha.disk, 2 << 40)   # 64 MiB of metadata
        p.alpha.start()
        p.alpha.cli("create", "data", "--source")
        p.alpha.cli("up", "data")
        question = b"GET /v1/metadata/data HTTP/1.1\r\nHost: x\r\n\r\n"
        for _ in range(1000):
            with socket.create_connection(("127.0.0.1", port)) as s:
                s.sendall(question)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        p.alpha.cli("down", "data", patience=harness.PATIENCE)
        assert "is down" in p.alpha.process.log.read_text()
        assert "2 of 2 copies" in p.alpha.cli("metadata", "dump", "data").stdout


def test_a_disk_that_hangs_at_the_start_holds_up_no_other_mirror(d):
    """The first look at a disk may never come back; the other mirrors and the operator do not wait for it."""
    need_mounts()
    with pair(d, size=SIZE) as p:
        behind = harness.Process([harness.DAEMON, "--scratch", d / "behind", "--size", str(SIZE), "--nbd",
                                  f"unix:{d}/behind.sock", "--exit-with-parent"], d, "behind")
        behind.wait_line("listening on")
        mount = d / "mount"
        mount.mkdir()
        fuse = harness.Process(["nbdfuse", mount, f"nbd+unix:///?socket={d}/behind.sock"], d, "fuse")
        wait_for("the mount", lambda: (mount / "nbd").exists())
        text = p.alpha.config.read_text()
        mirror = text[text.index("[[mirror]]"):]
        slow = mirror.replace('name = "data"', 'name = "slow"').replace("nbd.sock", "slow.sock").replace(
            "/disk", "/slow").replace("/meta", "/slow.meta").replace(f"{p.alpha.dir}/slow\"", f"{mount}/nbd\"")
        p.alpha.config.write_text(text.replace(mirror, slow + mirror))
        try:
            p.alpha.start()
            p.alpha.cli("create", "data", "--source", "--size", str(SIZE))
            p.alpha.cli("create", "slow", "--source")
            p.alpha.cli("up", "slow")
            p.alpha.stop()
            fuse.signal(signal.SIGSTOP)
            p.alpha.start()
            states = {m["name"]: m for m in json.loads(p.alpha.cli("status", "--json").stdout)["mirrors"]}
            assert "have not answered" in states["slow"]["reason"], states["slow"]
            p.alpha.cli("promote", "data", "--force")
            h = p.alpha.handle()
            h.pwrite(b"d" * 4096, 0, 1)
            h.shutdown()
            assert p.alpha.process.stop() == 1, "no end in order with a disk that hangs"
        finally:
            fuse.signal(signal.SIGCONT)
            run("umount", "-l", mount, check=False)
            fuse.kill()
            behind.kill()


def test_a_frozen_mirror_leaves_buffers_to_the_others(d):
    """The buffers of all mirrors are one pool. Writes that a policy holds back keep theirs for as long as it takes, and
    must not keep all of them."""
    need_nbd()
    need("qemu-io")
    import nbd
    with pair(d, size=256 * MIB) as p:
        for node in (p.alpha, p.beta):
            text = node.config.read_text()
            mirror = text[text.index("[[mirror]]"):]
            for old, new in (('"data"', '"frozen"\nwrite_alone = "never"'), ("nbd.sock", "frozen.sock"),
                             ("/disk", "/frozen"), ("/meta", "/frozen.meta")):
                mirror = mirror.replace(old, new)
            node.config.write_text(text + mirror)
        p.create()
        p.alpha.cli("create", "frozen", "--source", "--size", str(p.size))
        p.beta.cli("create", "frozen", "--size", str(p.size))
        for node in (p.alpha, p.beta):
            node.cli("up", "frozen")
        p.alpha.cli("promote", "frozen")

        def status():
            return json.loads(p.alpha.cli("status", "frozen", "--json").stdout)["mirrors"][0]
        wait_for("two copies", lambda: status()["redundancy"] == 2)
        p.beta.kill()
        client = nbd.NBD()
        client.connect_unix(str(p.alpha.dir / "frozen.sock"))
        data = nbd.Buffer.from_bytearray(bytearray(b"f" * MIB))
        for n in range(120):
            client.aio_pwrite(data, n * MIB)

        def frozen():
            client.poll(10)
            return status()["frozen"]
        wait_for("the freeze", frozen)
        for _ in range(2000):    # until the daemon takes no more
            client.poll(2)
        for size in (4096, 65536, 262144, MIB, 4 * MIB):
            run("qemu-io", "-f", "raw", "-c", f"write -P 7 0 {size}", "-c", f"read -P 7 0 {size}",
                f"nbd:unix:{p.alpha.nbd}", patience=20)
        assert status()["frozen"]


def test_a_second_daemon_leaves_the_pid_file_alone(d):
    """Started by mistake with the same options it fails, and must not take the first one's pid file with it."""
    with pair(d, size=SIZE) as p:
        file = d / "pid"
        command = [harness.DAEMON, "--config", p.alpha.config, "--pid-file", file, "--exit-with-parent"]
        file.write_text("1234567890\n")   # what a killed one left
        p.alpha.process = harness.Process(command, p.alpha.dir, "alpha")
        p.alpha.process.wait_line("control on")
        mine = f"{p.alpha.process.pid}\n"
        assert file.read_text() == mine
        second = run(*command, check=False)
        assert second.returncode != 0, second.stdout
        assert file.read_text() == mine
        assert p.alpha.process.stop() == 0 and not file.exists()


def test_a_resolver_that_does_not_answer_holds_up_no_other_mirror(d):
    """The name of our own address is looked up when a mirror goes up; the others replicate meanwhile."""
    need_nbd()
    need("unshare")
    with pair(d, "insecure = true\npeer_timeout_s = 2", size=SIZE) as p:
        deaf = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            deaf.bind(("127.0.0.1", 53))
        except OSError:
            raise harness.Skip("port 53 cannot be had") from None
        (d / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        for node in (p.alpha, p.beta):
            text = node.config.read_text()
            mirror = text[text.index("[[mirror]]"):]
            for old, new in (('"data"', '"named"'), ("nbd.sock", "named.sock"), ("/disk", "/named"),
                             ("/meta", "/named.meta")):
                mirror = mirror.replace(old, new)
            before, _, port = mirror.rpartition("127.0.0.1:")
            node.config.write_text(f"{text}{before}beta.test:{port}")
        command = (f"mount --bind {d}/resolv.conf /etc/resolv.conf && "
                   f"exec {harness.DAEMON} --config {p.beta.config} --exit-with-parent")
        if run("unshare", "-m", "mount", "--bind", d / "resolv.conf", "/etc/resolv.conf", check=False).returncode != 0:
            raise harness.Skip("may not mount")
        p.alpha.start()
        p.beta.process = harness.Process(["unshare", "-m", "bash", "-c", command], p.beta.dir, "beta")
        p.beta.process.wait_line("control on")
        p.alpha.cli("create", "data", "--source", "--size", str(SIZE))
        p.beta.cli("create", "data", "--size", str(SIZE))
        for node in (p.alpha, p.beta):
            node.cli("up", "data")
        p.alpha.cli("promote", "data")
        p.wait_synced(p.alpha)
        p.beta.cli("create", "named", "--size", str(SIZE))
        h = p.alpha.handle()
        up = threading.Thread(target=lambda: p.beta.cli("up", "named", check=False))
        up.start()
        while up.is_alive():
            h.pwrite(b"n" * 4096, 0)
        h.shutdown()
        assert "degraded" not in p.alpha.process.log.read_text(), p.alpha.process.tail()
        status = json.loads(p.beta.cli("status", "named", "--json").stdout)["mirrors"][0]
        assert status["state"] == "Failed" and "beta.test" in status["reason"], status
        deaf.close()


def test_a_client_that_reads_nothing_does_not_spoil_the_end(d):
    """`down --force` finishes what a client may still read; a stop of the daemon meanwhile waits for nobody."""
    with pair(d, size=SIZE) as p:
        p.create()
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(p.alpha.nbd))
        client.recv(18, socket.MSG_WAITALL)
        client.sendall(b"\0\0\0\x03" + b"IHAVEOPT" + b"\0\0\0\x01" + b"\0\0\0\0")   # EXPORT_NAME ""
        client.recv(10, socket.MSG_WAITALL)
        client.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 0, 8 * MIB))
        client.recv(1)
        down = subprocess.Popen([harness.CLI, "--control", p.alpha.control, "down", "data", "--force"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("the end to begin", lambda: p.alpha.status()["reason"] == "being stopped")
        assert p.alpha.process.stop() == 0, p.alpha.process.tail()
        down.wait(timeout=harness.PATIENCE)
        client.close()


if __name__ == "__main__":
    harness.main()
