"""The fault layer of a node's daemon (docs/internals/faults.md), as the tests use it."""
import os

from harness import wait_for


class Faults:
    """Rules that change while the daemon runs: set(), clear(), and what came of them."""

    def __init__(self, node):
        self.node = node
        self.path = node.dir / "faults"
        self.state_path = node.dir / "faults.state"
        self.number = 0

    def prepare(self):
        """Before a start: a state that an earlier process left must not be taken for the new one's."""
        self.state_path.unlink(missing_ok=True)
        return {"TWINBLOCKD_FAULTS": f"file={self.path}"}

    def set(self, *rules, wait=True):
        """In force when this returns (unless the rules may kill the daemon: wait=False)."""
        self.number += 1
        text = f"id=n{self.number}\n" + "\n".join(rules) + "\n"
        half = self.path.with_suffix(".new")
        half.write_text(text, encoding="utf-8")
        os.rename(half, self.path)
        if wait and self.node.process is not None and self.node.process.alive():
            wait_for(f"the faults of {self.node.name}", lambda: self.state().get("id") == f"n{self.number}")

    def clear(self):
        self.set(wait=False)

    def state(self):
        """id, held, counts by "data.write", and "rules": hits by text."""
        found = {"rules": {}}
        if not self.state_path.exists():
            return found
        for line in self.state_path.read_text(encoding="utf-8").splitlines():
            word, _, rest = line.partition(" ")
            if word == "rule":
                hits, _, text = rest.partition(" ")
                found["rules"][text] = int(hits)
            elif word == "problem":
                raise AssertionError(f"faults of {self.node.name}: {rest}")
            else:
                found[word] = rest if word == "id" else int(rest)
        return found

    def hits(self, rule):
        return self.state()["rules"].get(rule, 0)

    def wait_hit(self, rule, count=1):
        wait_for(f"{self.node.name}: fault {rule}", lambda: self.hits(rule) >= count)


def with_faults(pair):
    """Both nodes get a fault layer at every start from now on."""
    for node in (pair.alpha, pair.beta):
        node.faults = Faults(node)
    return pair

