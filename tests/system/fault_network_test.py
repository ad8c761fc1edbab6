#!/usr/bin/python3
# ctest: labels=cluster timeout=300
"""Two daemons in network namespaces of their own, joined by a veth pair, and packet filters that drop what they are told
to, silently: half-open connections, loss in one direction, a path that swallows large packets, a pulled cable."""
import contextlib
import ctypes
import os
import pathlib

import harness
import ledger
from harness import MIB, Skip, need, need_nbd, pair, run, wait_for

SIZE = 48 * MIB
ADDRESSES = {"alpha": "10.99.0.1", "beta": "10.99.0.2"}   # nobody else is in there
PORT = 7789
CLONE_NEWNET = 0x40000000


class Namespaces:
    def __init__(self):
        need("ip", "nft")
        if os.geteuid() != 0:
            raise Skip("needs root")
        # Called after the run, so that tests/leftovers.py knows them.
        run_name = pathlib.Path(os.environ.get("TWINBLOCK_TEST_RUN", "tb-test")).name
        self.names = {node: f"{run_name}-{os.getpid()}-{node}" for node in ADDRESSES}

    def make(self):
        for name in self.names.values():
            if run("ip", "netns", "add", name, check=False).returncode != 0:
                raise Skip("network namespaces are not permitted")
        a, b = self.names["alpha"], self.names["beta"]
        done = run("ip", "link", "add", "wire", "netns", a, "type", "veth", "peer", "name", "wire", "netns", b, check=False)
        if done.returncode != 0:
            raise Skip(f"no veth: {done.stdout.strip()}")
        for node, address in ADDRESSES.items():
            self.inside(node, "ip", "address", "add", f"{address}/24", "dev", "wire")
            self.inside(node, "ip", "link", "set", "wire", "up")
            self.inside(node, "ip", "link", "set", "lo", "up")
        if self.inside("alpha", "nft", "add", "table", "inet", "faults", check=False).returncode != 0:
            raise Skip("nft does not work here")
        self.inside("alpha", "nft", "delete", "table", "inet", "faults")

    def inside(self, node, *command, check=True):
        return run("ip", "netns", "exec", self.names[node], *command, check=check)

    def filter(self, node, chain, *match):
        """Drops what matches, without a word, in this node's `input` or `output`."""
        self.inside(node, "nft", "add", "table", "inet", "faults")
        self.inside(node, "nft", "add", "chain", "inet", "faults", chain,
                    f"{{ type filter hook {chain} priority 0 ; }}")
        self.inside(node, "nft", "add", "rule", "inet", "faults", chain, *match, "drop")

    def flow(self):
        for node in ADDRESSES:
            self.inside(node, "nft", "delete", "table", "inet", "faults", check=False)

    def enter(self, node):
        """For preexec."""
        libc = ctypes.CDLL(None, use_errno=True)
        fd = os.open(f"/run/netns/{self.names[node]}", os.O_RDONLY)
        if libc.setns(fd, CLONE_NEWNET) != 0:
            os._exit(99)
        os.close(fd)

    def remove(self):
        for name in self.names.values():
            run("ip", "netns", "delete", name, check=False)


@contextlib.contextmanager
def mirror(d, settings="peer_timeout_s = 1"):
    """A pair whose nodes see each other through the veth pair only."""
    need_nbd()
    net = Namespaces()
    try:
        net.make()
        with pair(d, settings + "\ninsecure = true", size=SIZE) as p:
            start = harness.Node.start
            for node in (p.alpha, p.beta):
                text = node.config.read_text()
                for side in ADDRESSES:
                    section = text.index(f'name = "{side}"\ndisk')
                    begin = text.index("127.0.0.1:", section)
                    end = text.index('"', begin)
                    text = text[:begin] + f"{ADDRESSES[side]}:{PORT}" + text[end:]
                node.config.write_text(text)
                node.start = lambda node=node, **options: start(
                    node, preexec=lambda: net.enter(node.name), **options)
            p.create()
            yield p, net
    finally:
        net.remove()


def more(books, client, count=50):
    before = books.acknowledged
    wait_for("the client to get on", lambda: books.acknowledged >= before + count or client.error)
    assert client.error is None, client.error


def lose_and_find(d, damage):
    """The source degrades by itself and goes on; when the path is well again the target catches up."""
    with mirror(d) as (p, net):
        books = ledger.Ledger()
        with ledger.writing(p.alpha, books, SIZE, 1) as client:
            more(books, client)
            damage(net)
            p.alpha.wait_state(role="source", redundancy=1)
            more(books, client, 300)
            status = p.alpha.status()
            assert status["peers"][0]["dirty_bytes"] > 0 and not status["frozen"], status
            assert "no link to beta" in status["reason"] or status["peers"][0]["link"] != "connected", status
            p.beta.wait_state(role="target")
            refused = p.beta.cli("promote", "data", check=False)
            assert refused.returncode == 3, refused.stdout
            ups = p.alpha.cli("events").stdout.count(" link.up ")
            assert ups < 30, f"{ups} connections: a storm"
            net.flow()
            p.alpha.wait_state(redundancy=2)
            client.finish()
        p.wait_synced(p.alpha)
        books.check(p.alpha)
        p.flushed(p.alpha)
        p.compare()
        for node in (p.alpha, p.beta):
            assert node.peer_status()["dirty_bytes"] == 0, node.status()


def test_the_peer_vanishes_without_a_word(d):
    """Row 33: no FIN, no RST."""
    def damage(net):
        for chain in ("input", "output"):
            net.filter("beta", chain, "meta", "l4proto", "tcp")
    lose_and_find(d, damage)


def test_nothing_arrives_at_the_target(d):
    """Row 34, from the source to the target."""
    lose_and_find(d, lambda net: net.filter("beta", "input", "meta", "l4proto", "tcp"))


def test_nothing_comes_back_from_the_target(d):
    """Row 34, from the target to the source."""
    lose_and_find(d, lambda net: net.filter("beta", "output", "meta", "l4proto", "tcp"))


def test_large_packets_are_swallowed(d):
    """Row 45: pings pass, data does not."""
    def damage(net):
        for node in ADDRESSES:
            net.filter(node, "input", "meta", "length", ">", "700")
    lose_and_find(d, damage)


def test_a_pulled_cable(d):
    with mirror(d) as (p, net):
        books = ledger.Ledger()
        with ledger.writing(p.alpha, books, SIZE, 2) as client:
            for _ in range(2):
                more(books, client)
                net.inside("beta", "ip", "link", "set", "wire", "down")
                p.alpha.wait_state(redundancy=1)
                more(books, client, 100)
                net.inside("beta", "ip", "link", "set", "wire", "up")
                p.alpha.wait_state(redundancy=2)
            client.finish()
        p.wait_synced(p.alpha)
        books.check(p.alpha)
        p.flushed(p.alpha)
        p.compare()


def test_failover_behind_a_half_open_connection(d):
    """Rows 31 and 33: the source is cut off and may not write alone; the target is promoted; nobody merges anything."""
    with mirror(d, 'peer_timeout_s = 1\nwrite_alone = "fenced"') as (p, net):
        books = ledger.Ledger()
        with ledger.writing(p.alpha, books, SIZE, 3) as client:
            more(books, client)
            for chain in ("input", "output"):
                net.filter("alpha", chain, "meta", "l4proto", "tcp")
            p.alpha.wait_state(frozen=True)
            p.beta.wait_state(peer_link="connecting")
            acknowledged = books.acknowledged
            p.beta.cli("promote", "data", "--confirm-dead", "alpha")
            p.beta.wait_state(role="source")
            net.flow()
            p.alpha.wait_state(role="target")
            assert client.cut_off() is not None, "the client of a deposed source goes on"
            assert books.acknowledged == acknowledged, "acknowledged while frozen or deposed"
        p.wait_synced(p.beta)
        books.check(p.beta)
        p.flushed(p.beta)
        p.compare()


if __name__ == "__main__":
    harness.main()
