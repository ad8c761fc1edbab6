#!/usr/bin/python3
# ctest: timeout=300
"""The soak can fail: a disk that loses writes is found, with its evidence, and the books know right from wrong."""
import os
import pathlib
import sys

import harness
from harness import need_nbd, run
from register import SECTOR, Register, Violation, content

SOAK = pathlib.Path(__file__).with_name("soak.py")


def refused(books, data, first=0):
    try:
        books.check("here", data, first)
    except Violation as violation:
        return str(violation)
    raise AssertionError("nothing was found")


def test_the_books(_):
    books = Register(16)
    books.check("here", bytes(16 * SECTOR), 0)
    one = books.sent(0, 8)
    books.answered(0, 8, one)
    books.check("here", content(one, 0, 8) + bytes(8 * SECTOR), 0)
    assert "acknowledged: version 1" in refused(books, bytes(8 * SECTOR)), "an acknowledged write that is not there"
    refused(books, content(one, 1, 8))
    refused(books, content(one, 0, 1)[:256] + bytes(256))
    refused(books, content(99, 0, 1))
    two, three = books.sent(0, 2), books.sent(1, 2)
    books.check("here", content(two, 0, 1) + content(three, 1, 1) + content(one, 2, 1), 0)
    assert "unanswered: []" in refused(books, content(one, 0, 1)), "what was read once holds"
    refused(books, content(three, 2, 1), 2)
    zero = books.sent(4, 1, zero=True)
    books.check("here", bytes(SECTOR), 4)
    assert books.held[4] == zero
    late = books.sent(8, 1)
    books.answered(8, 1, books.sent(8, 1))
    refused(books, content(late, 8, 1), 8)
    assert books.uncertain() == []


def test_a_disk_that_loses_writes_is_found(d):
    need_nbd()
    done = run(sys.executable, SOAK, "--minutes", "1", "--seed", "5", "--sabotage", "--evidence", d / "evidence",
               check=False, patience=240, env={**os.environ, "TWINBLOCK_TEST_RUN": str(d)})
    found = "the replicas differ" in done.stdout or "acknowledged: version" in done.stdout
    assert done.returncode == 1 and found, done.stdout
    kept = {path.name for path in (d / "evidence" / "seed-5").iterdir()}
    assert {"alpha-status.txt", "beta-disk", "beta-meta", "beta-beta.log", "story.txt"} <= kept, kept


def test_a_short_soak(d):
    need_nbd()
    done = run(sys.executable, SOAK, "--minutes", "0.1", "--seed", "11", "--evidence", d / "evidence", check=False,
               patience=240, env={**os.environ, "TWINBLOCK_TEST_RUN": str(d)})
    assert done.returncode == 0 and "no violation" in done.stdout, done.stdout


if __name__ == "__main__":
    harness.main()
