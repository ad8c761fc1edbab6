#!/usr/bin/python3
# ctest: timeout=600
"""Pairs of daemons: mirror, resync, kill, fail over, come back. After each story both replicas are equal."""
import json
import random
import socket
import subprocess

import harness
from harness import MIB, need, need_nbd, pair, wait_for


def write_some(node, seed, count=64, size=64 * MIB, length=65536):
    """Random writes with known content, flushed; a map of what must be readable."""
    rng = random.Random(seed)
    h = node.handle()
    wrote = {}
    for _ in range(count):
        offset = rng.randrange(size // length) * length
        wrote[offset] = rng.randbytes(length)
        h.pwrite(wrote[offset], offset)
    h.flush()
    h.shutdown()
    return wrote


def check_readable(node, wrote):
    h = node.handle()
    for offset, data in wrote.items():
        assert h.pread(len(data), offset) == data, f"{node.name}: content at {offset}"
    h.shutdown()


def test_mirror_and_compare(d):
    need_nbd()
    source = d / "content"
    source.write_bytes(random.Random(1).randbytes(64 * MIB))
    with pair(d) as p:
        p.create(source)
        p.compare()
        wrote = write_some(p.alpha, 2)
        p.compare()
        check_readable(p.alpha, wrote)
        assert p.alpha.status()["promotion_score"] > p.beta.status()["promotion_score"] > 0
        p.alpha.stop()
        p.beta.stop()
        p.compare()


def test_killed_daemons_lose_no_cache(d):
    """A SIGKILL is no power loss: the target has every acknowledged write and stays promotable (row 63, not 62)."""
    need_nbd()
    with pair(d) as p:
        p.create()
        for first, second in ((p.alpha, p.beta), (p.beta, p.alpha)):
            h = p.alpha.handle()
            h.pwrite(b"x" * 65536, 0)
            first.kill()
            second.kill()
            for node in (p.alpha, p.beta):
                node.start()
            p.wait_synced(p.alpha)
            for node in (p.alpha, p.beta):
                assert json.loads(node.cli("explain", "data", "--json").stdout)["rule"] == 63, node.name
        p.flushed(p.alpha)
        p.compare()


def test_target_refuses_clients_with_a_sentence(d):
    with pair(d) as p:
        p.create()
        text = p.beta.export_refusal()
        assert "not source" in text and "twinblock promote data" in text, text


def test_source_killed_target_promoted_old_source_returns(d):
    need_nbd()
    with pair(d) as p:
        p.create()
        wrote = write_some(p.alpha, 3)
        p.alpha.kill()
        p.beta.wait_state(peer_link="connecting")
        refused = p.beta.cli("promote", "data", check=False)
        assert refused.returncode == 3 and "--confirm-dead" in refused.stdout, refused.stdout
        p.beta.cli("promote", "data", "--confirm-dead", "alpha")
        p.beta.wait_state(role="source")
        check_readable(p.beta, wrote)
        wrote |= write_some(p.beta, 4, count=16)
        dirty = p.beta.status()["peers"][0]["dirty_bytes"]
        assert 0 < dirty < p.size, "only what was written alone is dirty"
        p.alpha.start()
        p.wait_synced(p.beta)
        assert p.alpha.status()["role"] == "target"
        p.compare()
        check_readable(p.beta, wrote)


def test_target_killed_and_restarted_under_load(d):
    need("fio")
    with pair(d) as p:
        p.create()
        load = subprocess.Popen(
            ["fio", "--thread", "--name=load", "--ioengine=nbd", f"--uri={p.alpha.uri}",
             "--rw=randwrite", "--bsrange=4k-128k",
             "--iodepth=16", "--size=60m", "--io_size=400m", "--verify=crc32c", "--verify_fatal=1", "--fsync=100",
             "--verify_state_save=0",
             "--output-format=terse"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            preexec_fn=harness.end_with_parent)
        rounds = 0
        while load.poll() is None and rounds < 5:
            p.beta.kill()
            p.alpha.wait_state(redundancy=1)
            p.beta.start()
            p.alpha.wait_state(redundancy=2)
            rounds += 1
        output, _ = load.communicate(timeout=harness.PATIENCE * 2)
        assert load.returncode == 0, output
        p.wait_synced(p.alpha)
        p.flushed(p.alpha)
        p.compare()


def test_link_flaps_under_load(d):
    need("fio")
    with pair(d) as p:
        p.create()
        load = subprocess.Popen(
            ["fio", "--thread", "--name=load", "--ioengine=nbd", f"--uri={p.alpha.uri}",
             "--rw=randrw", "--bs=16k",
             "--iodepth=32", "--size=60m", "--io_size=600m", "--verify=crc32c", "--verify_fatal=1",
             "--verify_state_save=0",
             "--output-format=terse"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            preexec_fn=harness.end_with_parent)
        flaps = 0
        while load.poll() is None and flaps < 8:
            p.relay.flap()
            p.alpha.wait_state(redundancy=2)
            flaps += 1
        output, _ = load.communicate(timeout=harness.PATIENCE * 2)
        assert load.returncode == 0, output
        assert flaps > 0
        p.wait_synced(p.alpha)
        p.flushed(p.alpha)
        p.compare()


def test_stalled_link_is_noticed(d):
    need_nbd()
    with pair(d, "peer_timeout_s = 2") as p:
        p.create()
        p.relay.stall()
        wrote = write_some(p.alpha, 5, count=4)   # comes through once the peer is given up
        p.alpha.wait_state(redundancy=1)
        p.relay.flow()
        p.wait_synced(p.alpha)
        p.compare()
        check_readable(p.alpha, wrote)


def test_switchover_and_back(d):
    need_nbd()
    with pair(d) as p:
        p.create()
        wrote = write_some(p.alpha, 6, count=16)
        p.alpha.cli("switchover", "data")
        p.wait_synced(p.beta)
        check_readable(p.beta, wrote)
        wrote |= write_some(p.beta, 7, count=16)
        p.alpha.cli("switchover", "data")   # asked on the target this time
        p.wait_synced(p.alpha)
        check_readable(p.alpha, wrote)
        p.compare()


def test_roles_swapped_in_the_middle_of_a_resync(d):
    """Row 67: half a copy is neither served nor promoted, however it is asked for; once it is whole, it may be."""
    need_nbd()
    slow = "resync_rate_bytes_per_s_min = 1048576\nresync_rate_bytes_per_s_max = 1048576\npeer_timeout_s = 2"
    with pair(d, slow, size=32 * MIB) as p:
        p.create()
        p.beta.kill()
        p.alpha.wait_state(redundancy=1)
        wrote = write_some(p.alpha, 21, count=400, size=32 * MIB)
        p.beta.start()
        p.alpha.wait_state(state="Resyncing")
        p.beta.wait_state(replica="inconsistent")
        for node, verb, why in ((p.alpha, "switchover", "resync"), (p.beta, "switchover", "resync"),
                                (p.beta, "promote", "the peer is source")):
            refused = node.cli(verb, "data", check=False)
            assert refused.returncode == 3 and why in refused.stdout, (node.name, verb, refused.stdout)
        assert p.alpha.status()["role"] == "source" and p.beta.status()["replica"] == "inconsistent"
        check_readable(p.alpha, wrote)    # served all the time
        p.alpha.kill()
        p.beta.wait_state(peer_link="connecting")
        for options in ([], ["--confirm-dead", "alpha"]):
            refused = p.beta.cli("promote", "data", *options, check=False)
            assert refused.returncode == 3 and "incomplete" in refused.stdout, refused.stdout
        p.alpha.start()
        p.alpha.wait_state(role="source", state="Resyncing")
        p.alpha.cli("set", "data", "resync_rate_bytes_per_s_max=0")
        p.wait_synced(p.alpha)
        p.alpha.cli("switchover", "data")
        p.wait_synced(p.beta)
        check_readable(p.beta, wrote)
        p.compare()


def test_link_cut_around_the_end_of_a_resync(d):
    """Row 43: wherever the last messages get lost, the next meeting ends it, partially and for good."""
    need_nbd()
    with pair(d, "peer_timeout_s = 2", size=16 * MIB) as p:
        p.create()
        rng = random.Random(43)
        for _ in range(10):
            p.relay.cut()
            p.alpha.wait_state(redundancy=1)
            write_some(p.alpha, rng.random(), count=8, size=16 * MIB)
            seen = len(p.alpha.process.log.read_text())
            p.relay.flow()
            wait_for("the resync to begin",
                     lambda seen=seen: "session.started" in p.alpha.process.log.read_text()[seen:])
            p.relay.stall([rng.choice(["forward", "back"])])
            p.relay.flap()
            p.relay.flow()
            p.wait_synced(p.alpha)
        p.compare()


def test_connected_clients_are_not_cut_off_unasked(d):
    need_nbd()
    import nbd
    with pair(d) as p:
        p.create()
        client = p.alpha.handle()
        assert p.alpha.status()["nbd_clients"] == 1, p.alpha.status()
        for node, verb in ((p.alpha, "demote"), (p.alpha, "switchover"), (p.beta, "switchover"), (p.alpha, "down")):
            refused = node.cli(verb, "data", check=False)
            text = refused.stdout
            assert refused.returncode == 3 and "--force" in text, (verb, refused.returncode, text)
            assert p.alpha.status()["role"] == "source"
            client.pwrite(b"z" * 4096, 0)    # nothing was changed for the client
        p.beta.cli("switchover", "data", "--force")
        p.wait_synced(p.beta)
        try:
            client.pwrite(b"y" * 4096, 0)
            raise AssertionError("the old source took a write")
        except nbd.Error:
            pass
        assert p.beta.status()["nbd_clients"] == 0
        p.beta.cli("switchover", "data")     # nobody is connected any more
        p.wait_synced(p.alpha)
        p.compare()


def test_pause_and_resume(d):
    need_nbd()
    with pair(d) as p:
        p.create()
        p.alpha.cli("pause", "data")
        p.alpha.wait_state(state="Paused", redundancy=1)
        write_some(p.alpha, 8, count=8)
        assert 0 < p.alpha.status()["peers"][0]["dirty_bytes"] <= 8 * 65536
        p.alpha.cli("resume", "data")
        p.wait_synced(p.alpha)
        p.compare()
        p.alpha.cli("disconnect", "data")
        p.alpha.wait_state(redundancy=1)
        write_some(p.alpha, 9, count=8)
        p.alpha.cli("connect", "data")
        p.wait_synced(p.alpha)
        p.compare()


def test_modes_online(d):
    need_nbd()
    with pair(d) as p:
        p.create()
        for mode in ("memsync", "async", "sync"):
            p.alpha.cli("set", "data", f"mode={mode}")
            p.alpha.wait_state(mode=mode)
            write_some(p.alpha, mode, count=32)
            p.alpha.wait_state(peer_queue_bytes=0)
            p.wait_synced(p.alpha)
        p.flushed(p.alpha)
        p.compare()


def test_orderly_stop_with_clients_connected(d):
    need_nbd()
    with pair(d) as p:
        p.create()
        handles = [p.alpha.handle() for _ in range(4)]
        handles[0].pwrite(b"s" * 4096, 0)
        p.alpha.stop()
        p.beta.cli("promote", "data", "--confirm-dead", "alpha")
        check_readable(p.beta, {0: b"s" * 4096})


def test_orderly_restart_of_both_resumes(d):
    need_nbd()
    with pair(d) as p:
        p.create()
        wrote = write_some(p.alpha, 10, count=8)
        p.beta.stop()
        p.alpha.stop()
        p.alpha.start()
        p.beta.start()
        p.wait_synced(p.alpha)
        check_readable(p.alpha, wrote)
        p.compare()


def test_killed_source_restarts_and_resumes(d):
    need_nbd()
    with pair(d) as p:
        p.create()
        for seed in range(3):
            wrote = write_some(p.alpha, 20 + seed, count=8)
            p.alpha.kill()
            p.alpha.start()
            p.wait_synced(p.alpha)
            check_readable(p.alpha, wrote)
        p.compare()


def test_garbage_on_the_replication_port(d):
    with pair(d) as p:
        p.create()
        rng = random.Random(11)
        for _ in range(40):
            s = socket.create_connection(("127.0.0.1", p.beta_port))
            try:
                s.sendall(rng.randbytes(rng.randrange(1, 4000)))
            except OSError:
                pass
            s.close()
        idle = socket.create_connection(("127.0.0.1", p.beta_port))
        p.wait_synced(p.alpha)
        assert p.beta.process.alive()
        idle.close()


def test_bad_input_at_creation(d):
    with pair(d) as p:
        a = p.alpha.start()
        assert a.cli("status", "nothing", check=False).returncode == 4
        missing = a.cli("create", "data", check=False)
        assert missing.returncode == 1 and "does not exist" in missing.stdout, missing.stdout
        disk = bytearray(8 * MIB)
        disk[1080:1082] = b"\x53\xef"
        a.disk.write_bytes(disk)
        refused = a.cli("create", "data", check=False)
        assert refused.returncode == 3 and "ext2/3/4" in refused.stdout, refused.stdout
        a.cli("create", "data", "--source")
        assert a.disk.read_bytes() == disk, "creating a source never touches the data"
        again = a.cli("create", "data", "--source")
        assert "created before" in again.stdout, again.stdout
        a.cli("up", "data")
        up = a.cli("create", "data", check=False)
        assert up.returncode == 3 and "is up" in up.stdout, up.stdout
        a.cli("down", "data")
        used = a.cli("create", "data", check=False)
        assert used.returncode == 3 and "already a replica" in used.stdout, used.stdout
        a.cli("metadata", "dump", "data")
        json.loads(a.cli("explain", "data", "--json").stdout)


def test_a_disk_changed_behind_the_mirrors_back(d):
    with pair(d) as p:
        p.create()
        p.beta.stop()
        with open(p.beta.disk, "r+b") as f:
            f.write(b"surprise")
        p.beta.start()
        status = p.beta.wait_state(state="Failed")
        assert "changed while the mirror was stopped" in status["reason"], status["reason"]
        p.beta.cli("create", "data", "--force")
        p.beta.cli("up", "data")
        p.wait_synced(p.alpha)
        p.compare()


def test_sizes_that_differ(d):
    with pair(d) as p:
        p.alpha.start().cli("create", "data", "--source", "--size", "32MiB")
        p.beta.start().cli("create", "data", "--size", "16MiB")
        p.alpha.cli("up", "data")
        p.beta.cli("up", "data")
        p.alpha.cli("promote", "data")
        p.alpha.wait_state(peer_link="refused")
        # Whoever finds it first says so to the other one, which then knows only that it was refused.
        wait_for("the size to be named", lambda: "size" in p.alpha.status()["reason"] + p.beta.status()["reason"])


def test_configurations_that_differ(d):
    with pair(d) as p:
        text = p.beta.config.read_text()
        p.beta.config.write_text(text.replace('name = "data"\n', 'name = "data"\nhot_extents = 128\n'))
        p.alpha.start().cli("create", "data", "--source", "--size", "16MiB")
        p.beta.start().cli("create", "data", "--size", "16MiB")
        p.alpha.cli("up", "data")
        p.beta.cli("up", "data")
        wait_for("the difference to be named",
                 lambda: "hot_extents" in p.alpha.status()["reason"] or "size" in p.alpha.status()["reason"])
        refused = p.alpha.cli("connect", "data", check=False)
        assert refused.returncode == 3 and "differ" in refused.stdout, refused.stdout


if __name__ == "__main__":
    harness.main()
