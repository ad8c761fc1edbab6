#!/usr/bin/python3
"""4 KiB random writes, sequential writes, random reads and resync: in each mode through NBD, beside the same
fio straight on a backing file on the same disk, in one run. Figures are printed, not asserted: only the
ratios mean something on a shared machine.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "system"))
import harness  # noqa: E402  (its folder was added just now)
from harness import MIB  # noqa: E402

SECONDS = int(os.environ.get("TWINBLOCK_BENCH_SECONDS", "5"))
SIZE = 512 * MIB

JOBS = [
    ("4 KiB random write, depth 1", ["--rw=randwrite", "--bs=4k", "--iodepth=1"], "write", "IOPS"),
    ("4 KiB random write, depth 32", ["--rw=randwrite", "--bs=4k", "--iodepth=32"], "write", "IOPS"),
    ("1 MiB sequential write, depth 8", ["--rw=write", "--bs=1m", "--iodepth=8"], "write", "MB/s"),
    ("4 KiB random read, depth 32", ["--rw=randread", "--bs=4k", "--iodepth=32"], "read", "IOPS"),
]


def fio(where, arguments, direction, unit):
    done = subprocess.run(["fio", "--name=bench", *where, f"--size={SIZE}", "--time_based", f"--runtime={SECONDS}",
                           "--output-format=json", *arguments], stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0][direction]
    return result["iops"] if unit == "IOPS" else result["bw_bytes"] / 1e6


def raw(directory):
    file = directory / "raw"
    with open(file, "wb") as f:
        for _ in range(SIZE // MIB):
            f.write(os.urandom(4096) * 256)
        os.fsync(f.fileno())
    where = ["--ioengine=io_uring", "--direct=1", f"--filename={file}"]
    try:
        return [fio(where, *job[1:]) for job in JOBS]
    except subprocess.CalledProcessError:
        return [fio(["--ioengine=libaio", "--direct=1", f"--filename={file}"], *job[1:]) for job in JOBS]


def scratch(directory):
    daemon = harness.Process([harness.DAEMON, "--scratch", directory / "scratch", "--size", str(SIZE), "--nbd",
                              f"unix:{directory}/s", "--exit-with-parent"], directory, "scratch")
    daemon.wait_line("listening on")
    figures = [fio(["--ioengine=nbd", f"--uri=nbd+unix:///?socket={directory}/s"], *job[1:]) for job in JOBS]
    daemon.stop()
    return figures


def mirrored(directory):
    columns = {}
    with harness.pair(directory, size=SIZE) as p:
        # Straight to each other: the relay of the tests would be what is measured.
        text = p.alpha.config.read_text()
        p.alpha.config.write_text(text.replace(f":{p.relay.port}", f":{p.beta_port}"))
        begun = time.monotonic()
        p.create()
        first = SIZE / 1e6 / (time.monotonic() - begun)
        for mode in ("sync", "memsync", "async"):
            p.alpha.cli("set", "data", f"mode={mode}")
            where = ["--ioengine=nbd", f"--uri={p.alpha.uri}"]
            columns[mode] = [fio(where, *job[1:]) for job in JOBS]
            p.wait_synced(p.alpha)
        begun = time.monotonic()
        p.alpha.cli("resync", "data", "--full")
        p.alpha.wait_state(redundancy=1)
        p.wait_synced(p.alpha)
        full = SIZE / 1e6 / (time.monotonic() - begun)
        p.compare()
    return columns, first, full


def main():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="tb-bench-", dir=os.environ.get("TWINBLOCK_BENCH_DIR")))
    try:
        (directory / "pair").mkdir()
        columns = {"raw file": raw(directory), "scratch": scratch(directory)}
        modes, first, full = mirrored(directory / "pair")
        columns |= modes
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(f"{'':34}" + "".join(f"{name:>20}" for name in columns))
    for i, (name, _, _, unit) in enumerate(JOBS):
        base = columns["raw file"][i]
        cells = "".join(f"{values[i]:>12,.0f} ({values[i] / base:4.2f})" for values in columns.values())
        print(f"{name + ', ' + unit:34}{cells}")
    print(f"\nfirst resync, with creation: {first:,.0f} MB/s; full resync: {full:,.0f} MB/s")
    print("in brackets: ratio to the raw file of the same run; both replicas on one disk")


if __name__ == "__main__":
    main()
