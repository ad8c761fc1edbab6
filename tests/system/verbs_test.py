#!/usr/bin/python3
# ctest: timeout=300
"""The CLI on a living pair: exit codes, what the errors say, events, wait, set, dumps, and the way out of a
split-brain."""
import json
import socket
import subprocess
import threading

import harness
from harness import MIB, need_nbd, pair, run, wait_for

DONE, FAILED, USAGE, REFUSED, NO_MIRROR, UNREACHABLE = range(6)


def put(node, fill, offset):
    """A flushed write of 64 KiB."""
    h = node.handle()
    h.pwrite(fill * 65536, offset)
    h.flush()
    h.shutdown()


def get(node, offset):
    h = node.handle()
    data = h.pread(65536, offset)
    h.shutdown()
    return data


def events(node, since=0):
    text = node.cli("events", "--since", since, "--json").stdout
    return [json.loads(line) for line in text.splitlines()]


def test_exit_codes_and_sentences(d):
    with pair(d) as p:
        p.create()
        alpha, beta = p.alpha, p.beta
        # who, arguments, exit code, part of the message
        table = [
            (alpha, ("status", "data"), DONE, "Source"),
            (alpha, ("status", "nothing"), NO_MIRROR, "nothing"),
            (alpha, ("explain", "nothing"), NO_MIRROR, "nothing"),
            (alpha, ("promote", "nothing"), NO_MIRROR, "nothing"),
            (alpha, ("metadata", "dump", "nothing"), NO_MIRROR, "nothing"),
            (alpha, ("status", "../etc"), USAGE, "not a valid mirror name"),
            (alpha, ("frobnicate", "data"), USAGE, "safe"),
            (alpha, ("promote",), USAGE, "MIRROR"),
            (alpha, ("set", "data", "mode"), USAGE, "KEY=VALUE"),
            (alpha, ("set", "data", "mode=sideways"), USAGE, "sync"),
            (alpha, ("set", "data", "mood=sync"), USAGE, "mode"),
            (alpha, ("set", "data", "hot_extents=9"), USAGE, "cannot be changed"),
            (alpha, ("resolve", "data"), USAGE, "--keep"),
            (alpha, ("resolve", "data", "--keep", "--discard"), USAGE, "--keep"),
            (alpha, ("resolve", "data", "--keep"), FAILED, "no split-brain"),
            (alpha, ("create", "data"), REFUSED, "is up"),
            (alpha, ("promote", "data"), FAILED, "source already"),
            (beta, ("promote", "data", "--confirm-dead", "gamma"), USAGE, "not a node"),
            (beta, ("switchover", "data", "--to", "gamma"), USAGE, "not a node"),
            (beta, ("demote", "data"), FAILED, "not source"),
            (beta, ("wait", "data", "--for", "source", "--timeout", "0"), FAILED, "is not source"),
            (beta, ("wait", "data", "--for", "sunrise"), USAGE, "sunrise"),
            (alpha, ("wait", "data", "--for", "synced", "--timeout", "30"), DONE, "synced"),
            (alpha, ("wait", "data", "--for", "source", "--timeout", "0"), DONE, "source"),
            (beta, ("wait", "data", "--for", "uptodate", "--timeout", "0"), DONE, "uptodate"),
            (alpha, ("check", "data"), DONE, ""),
            (alpha, ("up", "data"), DONE, "up already"),
        ]
        before = {n: n.facts() for n in (alpha, beta)}
        for node, arguments, code, part in table:
            done = node.cli("--config", node.config, *arguments, check=False)
            assert done.returncode == code, f"{arguments}: exit {done.returncode}, expected {code}\n{done.stdout}"
            assert part in done.stdout, f"{arguments}: {part!r} is not in\n{done.stdout}"
            if code != DONE:
                assert "safe:" in done.stdout and "next:" in done.stdout, f"{arguments}:\n{done.stdout}"
                error = node.cli("--config", node.config, "--json", *arguments, check=False)
                said = json.loads(error.stdout)
                assert error.returncode == code and said["message"] and said["next_step"], error.stdout
        assert before == {n: n.facts() for n in (alpha, beta)}, "a refused command changed the metadata"
        nobody = run(harness.CLI, "--control", d / "nobody.sock", "status", check=False)
        assert nobody.returncode == UNREACHABLE and "unreachable" in nobody.stdout, nobody.stdout
        p.wait_synced(alpha)


def test_a_daemon_that_does_not_answer(d):
    """A control socket that takes connections and stays silent: the CLI gives up and says so."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(d / "mute.sock"))
    listener.listen()
    done = run(harness.CLI, "--control", d / "mute.sock", "--answer-limit", "0.2", "promote", "data", check=False)
    assert done.returncode == UNREACHABLE and "may still take effect" in done.stdout, done.stdout
    listener.close()


def test_events_tell_the_story(d):
    need_nbd()
    with pair(d) as p:
        p.create()
        kinds = [e["kind"] for e in events(p.alpha)]
        for wanted in ("role.source", "link.up", "session.started", "resync.started", "resync.finished"):
            assert wanted in kinds, kinds
        last = max(e["sequence"] for e in events(p.alpha))
        follower = subprocess.Popen([harness.CLI, "--control", p.alpha.control, "events", "--follow", "--json",
                                     "--since", str(last)], stdout=subprocess.PIPE, text=True)
        try:
            seen = []
            reader = threading.Thread(target=lambda: seen.extend(iter(follower.stdout.readline, "")), daemon=True)
            reader.start()
            p.beta.kill()
            put(p.alpha, b"e", 0)
            wait_for("the events of the loss", lambda: {"link.down", "degraded"} <=
                     {json.loads(line)["kind"] for line in list(seen)})
            assert all(json.loads(line)["sequence"] > last for line in seen)
        finally:
            follower.kill()
            follower.wait()
        assert any(e["kind"] == "degraded" and e["severity"] == "warning" for e in events(p.alpha, last))


def test_wait_ends_when_the_state_comes(d):
    need_nbd()
    with pair(d) as p:
        p.create()
        p.beta.kill()
        put(p.alpha, b"w", 0)
        p.alpha.wait_state(redundancy=1)
        late = p.alpha.cli("wait", "data", "--for", "synced", "--timeout", "1", check=False)
        assert late.returncode == FAILED and "is not synced" in late.stdout, late.stdout
        waiter = subprocess.Popen([harness.CLI, "--control", p.alpha.control, "wait", "data", "--for", "synced"],
                                  stdout=subprocess.PIPE, text=True)
        p.beta.start()
        output, _ = waiter.communicate(timeout=harness.PATIENCE)
        assert waiter.returncode == DONE and "is synced" in output, output
        assert p.alpha.peer_status()["dirty_bytes"] == 0


def test_set_holds_and_shows(d):
    need_nbd()
    with pair(d) as p:
        p.create()
        p.alpha.cli("set", "data", "mode=async", "queue_bytes_max=1MiB", "queue_policy=block")
        p.alpha.wait_state(mode="async")
        p.alpha.cli("set", "data", "write_alone=never")
        assert p.alpha.status()["write_alone"] == "never"
        half = p.alpha.cli("set", "data", "mode=sync", "queue_policy=sometimes", check=False)
        assert half.returncode == USAGE and p.alpha.status()["mode"] == "async", "all or nothing"
        p.alpha.cli("set", "data", "mode=sync", "write_alone=free")
        p.alpha.wait_state(mode="sync")
        put(p.alpha, b"s", 0)
        p.wait_synced(p.alpha)


def test_a_target_that_was_never_filled_says_what_it_waits_for(d):
    with pair(d) as p:
        beta = p.beta.start()
        beta.cli("create", "data", "--size", str(p.size))
        beta.cli("up", "data")
        reason = beta.wait_state(peer_link="connecting", replica="inconsistent")["reason"]
        assert "never filled" in reason and "status data on alpha" in reason and "promote" not in reason, reason
        refused = beta.cli("promote", "data", check=False)
        assert refused.returncode == REFUSED and "never filled" in refused.stdout, refused.stdout
        text = beta.export_refusal()
        assert "not source" in text and "promote" not in text, text
        alpha = p.alpha.start()
        alpha.cli("create", "data", "--source", "--size", str(p.size))
        alpha.cli("up", "data")
        alpha.cli("promote", "data")
        p.wait_synced(alpha)
        p.compare()


def test_connect_and_resync_say_what_came_of_it(d):
    with pair(d) as p:
        p.create()
        assert "connected to beta" in p.alpha.cli("connect", "data").stdout
        assert "nothing is known to differ" in p.alpha.cli("resync", "data").stdout
        p.alpha.cli("disconnect", "data")
        assert "connected to beta" in p.alpha.cli("connect", "data").stdout
        p.beta.stop()
        p.alpha.wait_state(peer_link="connecting")
        assert "no connection to beta yet" in p.alpha.cli("connect", "data").stdout
        alone = p.alpha.cli("resync", "data", check=False)
        assert alone.returncode == FAILED and "no link to beta" in alone.stdout, alone.stdout


def test_connect_and_resync_say_that_the_link_is_refused(d):
    with pair(d) as p:
        for node in (p.alpha, p.beta):   # two mirrors of one name
            node.start()
            node.cli("create", "data", "--source", "--size", str(p.size))
            node.cli("up", "data")
        vain = p.alpha.cli("wait", "data", "--for", "synced", check=False)
        assert vain.returncode == REFUSED and "another mirror" in vain.stdout, vain.stdout
        for node in (p.alpha, p.beta):
            node.wait_state(peer_link="refused")
            for arguments in (("connect", "data"), ("resync", "data"), ("resync", "data", "--full", "--wait")):
                refused = node.cli(*arguments, check=False)
                assert refused.returncode == REFUSED, f"{arguments}: exit {refused.returncode}\n{refused.stdout}"
                assert "another mirror" in refused.stdout and "next:" in refused.stdout, refused.stdout
            node.cli("disconnect", "data")
            refused = node.cli("connect", "data", check=False)
            assert refused.returncode == REFUSED and "another mirror" in refused.stdout, refused.stdout


def test_dump_and_explain(d):
    need_nbd()
    with pair(d) as p:
        p.create()
        put(p.alpha, b"d", 0)
        text = p.alpha.cli("metadata", "dump", "data").stdout
        for wanted in ("superblock A", "superblock B", "good, sequence", "generation[0]", "was source yes", "peer[1]",
                       "hot extents"):
            assert wanted in text, f"{wanted!r} is not in\n{text}"
        told = json.loads(p.alpha.cli("explain", "data", "--json").stdout)
        assert told["rule"] in range(60, 64) or told["rule"] in range(10, 20), told
        assert told["history"][0]["cause"] and told["was_source"] is True, told
        counters = p.alpha.status()["counters"]   # the disk was zeroes when it was copied
        assert (counters["resync_sent_bytes"], counters["resync_zero_bytes"]) == (0, p.size), counters
        said = p.alpha.cli("explain", "data").stdout
        assert "ago, at the handshake: copy" in said and "to copy     now 0 B" in said, said
        assert told["peer_said"]["age_s"] >= 0, told
        p.alpha.cli("down", "data")
        stopped = p.alpha.cli("explain", "data").stdout
        assert "is not running" in stopped and "clean" in stopped, stopped
        assert "clean yes" in p.alpha.cli("metadata", "dump", "data").stdout
        assert p.alpha.status()["state"] == "Stopped"
        p.alpha.cli("up", "data")
        p.wait_synced(p.alpha)
        p.compare()


def test_pause_marks_and_resume_copies_only_that(d):
    need_nbd()
    with pair(d, "hot_extents = 8") as p:
        p.create()
        p.alpha.cli("pause", "data")
        p.alpha.wait_state(state="Paused", redundancy=1, peer_link="paused")
        before = p.beta.disk.read_bytes()
        put(p.alpha, b"p", 8 * MIB)
        assert p.beta.disk.read_bytes() == before, "nothing is sent while paused"
        assert p.alpha.peer_status()["dirty_bytes"] == 65536
        p.alpha.cli("pause", "data")
        p.alpha.cli("resume", "data")
        p.wait_synced(p.alpha)
        p.compare()
        sizes = [int(e["fields"]["bytes"]) for e in events(p.alpha) if e["kind"] == "resync.started"]
        assert sizes[-1] <= 65536 + 8 * 4 * MIB, sizes


def test_held_resync_waits_for_the_word(d):
    need_nbd()
    with pair(d, "hold_resync = true") as p:
        for node in (p.alpha, p.beta):
            node.start()
            node.cli("create", "data", "--size", str(p.size), *(["--source"] if node is p.alpha else []))
            node.cli("up", "data")
        p.alpha.cli("promote", "data")
        p.alpha.wait_state(state="Wait to Resync")
        put(p.alpha, b"h", 0)
        assert p.alpha.status()["state"] == "Wait to Resync"
        p.alpha.cli("resync", "data", "--wait", "--timeout", "60")
        p.wait_synced(p.alpha)
        p.compare()


def test_two_mirrors_of_one_name_and_the_way_out(d):
    """Both nodes were created with --source: nothing is merged, and the text leads out."""
    need_nbd()
    with pair(d) as p:
        p.relay.cut()   # each is made and promoted before it can know of the other
        for node, content in ((p.alpha, b"a"), (p.beta, b"b")):
            node.disk.write_bytes(content * p.size)
            node.start()
            node.cli("create", "data", "--source")
            node.cli("up", "data")
            node.cli("promote", "data")
            put(node, content.upper(), 0)
        before = p.alpha.disk.read_bytes(), p.beta.disk.read_bytes()
        p.relay.flow()
        for node in (p.alpha, p.beta):
            reason = node.wait_state(peer_link="refused", role="source")["reason"]
            told = node.cli("explain", "data").stdout
            for text in (reason, told):
                assert "another mirror" in text and "create data --force (without --source)" in text, text
        assert (p.alpha.disk.read_bytes(), p.beta.disk.read_bytes()) == before, "something was overwritten"
        p.beta.cli("demote", "data")
        again = p.beta.cli("promote", "data", check=False)
        assert again.returncode == REFUSED and "without --source" in again.stdout, again.stdout
        p.beta.cli("down", "data")
        p.beta.cli("create", "data", "--force")
        p.beta.cli("up", "data")
        p.wait_synced(p.alpha)
        assert get(p.alpha, 0) == b"A" * 65536 and get(p.alpha, MIB) == b"a" * 65536
        p.compare()


def split(p):
    """Both sides take writes that the other one lacks."""
    p.relay.cut()
    p.alpha.wait_state(peer_link="connecting")
    p.beta.wait_state(peer_link="connecting")
    put(p.alpha, b"a", 0)
    put(p.alpha, b"a", 10 * MIB)
    p.beta.cli("promote", "data", "--confirm-dead", "alpha")   # which is not true: the operator's mistake
    put(p.beta, b"b", 0)
    put(p.beta, b"b", 20 * MIB)
    p.relay.flow()
    p.alpha.wait_state(state="Split-brain", peer_link="split-brain")
    p.beta.wait_state(state="Split-brain", peer_link="split-brain")


def test_split_brain_keeps_both_until_the_operator_decides(d):
    need_nbd()
    with pair(d) as p:
        p.create()
        split(p)
        assert p.alpha.disk.read_bytes()[:4] == b"aaaa" and p.beta.disk.read_bytes()[:4] == b"bbbb"
        assert "split_brain" in [e["kind"] for e in events(p.alpha)]
        for node in (p.alpha, p.beta):
            told = json.loads(node.cli("explain", "data", "--json").stdout)
            assert told["refusal"] == "split_brain" and told["would_lose_bytes"] > 0, told
            assert "resolve" in node.status()["reason"], node.status()["reason"]
        # A node that serves clients gives nothing up behind their back.
        assert p.beta.status()["role"] == "source"
        refused = p.beta.cli("resolve", "data", "--discard", check=False)
        assert refused.returncode == 3 and "demote data" in refused.stdout, refused.stdout
        p.beta.cli("demote", "data")
        p.beta.cli("resolve", "data", "--discard")
        p.alpha.wait_state(peer_link="connected", peer_dirty_bytes=0, peer_replica="uptodate")
        if p.alpha.status()["role"] != "source":
            p.alpha.cli("promote", "data")
        p.wait_synced(p.alpha)
        assert get(p.alpha, 0) == b"a" * 65536 and get(p.alpha, 20 * MIB) == bytes(65536)
        p.compare()
        assert any(e["kind"] == "data.discarded" for e in events(p.beta)), "the loss is an event"
        sizes = [(int(e["fields"]["bytes"]), e["fields"]["full"]) for e in events(p.alpha)
                 if e["kind"] == "resync.started"]
        assert sizes[-1][1] == "0" and sizes[-1][0] < p.size, sizes


def test_resolve_says_what_it_waits_for(d):
    need_nbd()
    with pair(d) as p:
        p.create()
        split(p)
        assert p.beta.status()["role"] == "source" and p.alpha.status()["resolution"] is None
        told = p.alpha.cli("resolve", "data", "--keep").stdout
        assert "waits for beta, which is source" in told and "on beta: twinblock demote data" in told, told
        status = p.alpha.status()
        assert status["resolution"] == "keep" and "waits for beta" in status["reason"], status
        there = p.beta.wait_state(peer_resolution="keep")
        assert "alpha has decided to keep its copy" in there["reason"] and "demote data" in there["reason"], there
        for node in (p.alpha, p.beta):
            assert "decided" in node.cli("explain", "data").stdout
        p.beta.cli("demote", "data")
        p.alpha.wait_state(peer_link="connected", peer_dirty_bytes=0, resolution=None)
        p.beta.wait_state(peer_link="connected", peer_resolution=None)
        if p.alpha.status()["role"] != "source":
            p.alpha.cli("promote", "data")
        p.wait_synced(p.alpha)
        assert get(p.alpha, 0) == b"a" * 65536
        p.compare()


def test_resolve_with_the_link_down_waits_for_the_link(d):
    need_nbd()
    with pair(d) as p:
        p.create()
        split(p)
        p.relay.cut()
        told = p.alpha.cli("resolve", "data", "--discard").stdout
        assert "this copy is given up" in told and "on beta: twinblock connect data" in told, told
        assert p.alpha.status()["resolution"] == "discard", p.alpha.status()
        p.relay.flow()
        p.wait_synced(p.beta)
        assert get(p.beta, 0) == b"b" * 65536
        p.compare()


def test_split_brain_resolved_the_other_way(d):
    need_nbd()
    with pair(d) as p:
        p.create()
        split(p)
        if p.alpha.status()["role"] == "source":
            p.alpha.cli("demote", "data")
        p.beta.cli("resolve", "data", "--keep")
        p.wait_synced(p.beta)
        assert get(p.beta, 0) == b"b" * 65536 and get(p.beta, 10 * MIB) == bytes(65536)
        p.compare()


if __name__ == "__main__":
    harness.main()
