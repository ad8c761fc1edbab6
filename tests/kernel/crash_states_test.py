#!/usr/bin/python3
"""Every state that a power cut can leave, of data and metadata on dm-log-writes, recovered by the real code.

A pair of daemons in one guest writes to four areas of one recorded disk, through everything that a mirror lives
through: load in sync, a killed target and its return, a killed source and its restart, a change of sides. The log is
then replayed on the host. At each point the areas get what a power cut of one machine, of the other, of both, or of
none (killed daemons) may have left, and crash_judge lets the product recover that (crash_judge.cpp says what must
hold). A sample of the states goes through whole daemons. Last, disks that lie about flushes: they must be found.
"""
import json
import mmap
import os
import pathlib
import random
import shutil
import struct
import subprocess
import tempfile
import time

import logwrites
import product
import vm
from vm import harness

MIB = 1 << 20
DATA, META = 64 * MIB, 1 * MIB
AREAS = [logwrites.Area("alpha-data", 0, DATA), logwrites.Area("beta-data", DATA, DATA),
         logwrites.Area("alpha-meta", 2 * DATA, META), logwrites.Area("beta-meta", 2 * DATA + META, META)]
TICK = logwrites.Area("tick", 2 * DATA + 2 * META, META)
ORDER = ["alpha-data", "alpha-meta", "beta-data", "beta-meta"]  # of crash_judge
DISK = TICK.first + TICK.size
LOG = 640 * MIB
SEED = int(os.environ.get("TWINBLOCK_KERNEL_SEED", "1"))
RANDOM_STATES = int(os.environ.get("TWINBLOCK_KERNEL_STATES", "400"))
POINTS_MAX = int(os.environ.get("TWINBLOCK_KERNEL_POINTS", "3000"))
DAEMON_STATES = 12
# A record of the intent log or a page comes 4 ms later than data that was sent with it, so that a write that did not
# wait for its intent is on disk, and in the log, before it.
META_DELAY_MS = 4
LOG_BEGIN, LOG_END = 2 * 4096, 66 * 4096  # of the metadata, docs/internals/disk_format.md


# --- recording ---------------------------------------------------------------------------------------------

class Recording:
    """One guest, two daemons, four areas on one log."""

    def __init__(self, guest):
        self.guest = guest
        self.ledger = product.Ledger()
        self.loads = 0
        places = {name: {"disk": f"/dev/mapper/{name}-data", "meta": f"/dev/mapper/{name}-meta",
                         "address": f"127.0.0.1:{7789 + number}"} for number, name in enumerate(product.NAMES)}
        texts = product.configure(places, "peer_timeout_s = 30")
        self.alpha, self.beta = (product.Daemon(guest, name, texts[name]) for name in product.NAMES)

    def stack(self):
        """vda under a delay for metadata, under the recorder, under one linear device per area."""
        sectors = {area.name: area.size // 512 for area in [*AREAS, TICK]}
        below = [f"0 {2 * DATA // 512} linear /dev/vda 0",
                 f"{2 * DATA // 512} {2 * META // 512} delay /dev/vda {2 * DATA // 512} 0 /dev/vda "
                 f"{2 * DATA // 512} {META_DELAY_MS} /dev/vda {2 * DATA // 512} 0",
                 f"{TICK.first // 512} {sectors['tick']} linear /dev/vda {TICK.first // 512}"]
        script = ["dmsetup create below <<'END'", *below, "END",
                  f"dmsetup create recorder --table '0 {DISK // 512} log-writes /dev/mapper/below /dev/vdb'"]
        for area in [*AREAS, TICK]:
            script.append(f"dmsetup create {area.name} --uuid {area.name} --table "
                          f"'0 {sectors[area.name]} linear /dev/mapper/recorder {area.first // 512}'")
        self.guest.run("\n".join(script))

    def phase(self, holds, alone, full=0):
        """From here on these replicas hold what was acknowledged, and may be promoted alone."""
        self.guest.run(f"sync -d /dev/mapper/tick; dmsetup message recorder 0 mark phase:{holds}:{alone}:{full}")

    def load(self, daemon, writes):
        self.loads += 1
        return self.loads, self.guest.python("load.py", daemon.nbd, "data", self.loads, self.ledger.high + 1, writes,
                                             "recorder", "/dev/mapper/tick")

    def finish(self, seed, job, cut=False):
        job.wait()
        last = job.lines[-1] if job.lines else ""
        assert last.startswith("cut" if cut else "end"), f"load {seed} ended with {last[:200]!r}"
        self.ledger.take(job, seed, apply=False)

    def tell(self):
        """The story. A phase is relaxed before what weakens it, and strengthened after it is over."""
        self.stack()
        product.create(self.alpha, self.beta)
        self.phase("11", "11")
        seed, job = self.load(self.alpha, 800)
        self.finish(seed, job)

        seed, job = self.load(self.alpha, 900)
        job.wait_line("mark 3 ")
        self.phase("10", "10")
        self.beta.kill()
        self.alpha.wait_state(redundancy=1)
        harness.wait_for("writes alone", lambda: len(job.lines) > 9 or job.code is not None, vm.PATIENCE)
        self.beta.start()
        self.finish(seed, job)
        self.alpha.wait_synced()
        self.phase("11", "11")

        seed, job = self.load(self.alpha, 0)
        job.wait_line("mark 5 ")
        self.phase("11", "00")
        self.alpha.kill()
        self.finish(seed, job, cut=True)
        self.alpha.start()
        self.alpha.wait_synced()
        self.phase("11", "11")
        seed, job = self.load(self.alpha, 200)
        self.finish(seed, job)

        harness.wait_for("the load's connection to end", lambda: self.alpha.status().get("nbd_clients", 0) == 0)
        self.alpha.cli("switchover", "data")
        self.beta.wait_synced()
        seed, job = self.load(self.beta, 400)
        self.finish(seed, job)
        for daemon in (self.alpha, self.beta):
            daemon.stop()
        devices = " ".join(area.name for area in [*AREAS, TICK])
        self.guest.run(f"for d in {devices} recorder below; do dmsetup remove --retry $d; done")


_recorded = {}
# A folder in which the recording stays, and from which the next run takes it: to look at a finding again.
KEPT = os.environ.get("TWINBLOCK_KERNEL_RECORDING")


def recording():
    """The log and what was acknowledged, by mark; recorded by whoever asks first."""
    if not _recorded:
        directory = pathlib.Path(KEPT or tempfile.mkdtemp(prefix="tb-kernel-"))
        _recorded["directory"] = directory
        if not (directory / "marks.json").exists():
            directory.mkdir(exist_ok=True)
            record(directory)
        _recorded["log"] = logwrites.Log(directory / "recorder.disk1")
        _recorded["marks"] = json.loads((directory / "marks.json").read_text())
    return _recorded["log"], _recorded["marks"]


def record(directory):
    begun = time.monotonic()
    with vm.guests(directory, ["recorder"], [DISK, LOG]) as (guest,):
        story = Recording(guest)
        story.tell()
    (directory / "marks.json").write_text(json.dumps(story.ledger.marks))
    print(f"  recorded {len(story.ledger.marks)} acknowledged flushes and {story.ledger.high} writes in "
          f"{time.monotonic() - begun:.0f} s", flush=True)


# --- replay ------------------------------------------------------------------------------------------------

class Versions:
    """A ledger in the file that crash_judge maps: a u64 per block."""

    def __init__(self, path):
        with open(path, "w+b") as f:
            f.truncate(DATA // 4096 * 8)
            self.map = mmap.mmap(f.fileno(), 0)

    def put(self, block, version):
        struct.pack_into("<Q", self.map, block * 8, version)


class Court:
    """crash_judge, the areas that it looks at, and the ledger as of the present entry."""

    def __init__(self, directory, disk=logwrites.Disk):
        log, marks = recording()
        self.dir = pathlib.Path(directory)
        self.log = log
        self.marks = marks
        self.ledger = product.Ledger()
        self.replay = logwrites.Replay(log, AREAS, directory, disk)
        self.flushed, self.answered = Versions(self.dir / "flushed"), Versions(self.dir / "answered")
        self.phase = None
        self.judged = 0
        self.findings = []
        self.largest_resync = 0
        self.rules = {}
        self.promoted = 0
        binary = harness.BUILD / "tests" / "kernel" / "crash_judge"
        self.process = subprocess.Popen([binary, directory, str(DATA), str(META)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(timeout=60) == 0, "crash_judge ended badly"

    def hear(self, entry):
        """A mark: a new phase, or what was acknowledged by now."""
        word, _, rest = entry.text.partition(":")
        if word == "phase":
            self.phase = rest.split(":")
        elif entry.text in self.marks:
            for block in self.ledger.apply(self.marks[entry.text]):
                self.flushed.put(block, self.ledger.flushed.get(block, 0))
                self.answered.put(block, self.ledger.answered.get(block, 0))

    def ask(self, writes, lost, save=0):
        holds, alone, full = self.phase
        parts = [struct.pack("<I8B", len(writes), *lost, *map(int, holds), *map(int, alone), int(full), save)]
        for write in writes:
            parts += [struct.pack("<IIQ", ORDER.index(write.area), len(write.data), write.offset), write.data]
        self.process.stdin.write(b"".join(parts))
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "crash_judge died: an assertion of the product?"
        return json.loads(answer)

    def state(self, lost, keep, following, rng):
        """The writes that survive, by area; all of them where no power was lost."""
        writes = []
        for number, name in enumerate(product.NAMES):
            for kind in ("data", "meta"):
                disk = self.replay.disks[f"{name}-{kind}"]
                writes += disk.survivors(keep[kind] if lost[number] else "all", rng)
        if following is not None:
            # A write on its way when the power of its machine went; the disk of a living one finishes it.
            area = self.replay.area_at(following.sector)
            if area and lost[product.NAMES.index(area.name.partition("-")[0])]:
                writes += self.replay.in_flight(following, rng)
        return writes

    def judge(self, entry, how, lost, keep, following, rng):
        said = self.ask(self.state(lost, keep, following, rng), lost)
        self.judged += 1
        self.largest_resync = max(self.largest_resync, said["resync_bytes"])
        self.rules[said["rule"]] = self.rules.get(said["rule"], 0) + 1
        self.promoted += said["promoted"]
        if said["what"]:
            self.findings.append((entry.index, how, lost, keep, said["what"], said["detail"]))


WHO = [(1, 1), (1, 0), (0, 1), (0, 0)]
EXTREMES = [{"data": "none", "meta": "none"}, {"data": "all", "meta": "none"}, {"data": "all", "meta": "all"},
            {"data": "none", "meta": "all"}, {"data": "some", "meta": "some"}]
SOME = {"data": "some", "meta": "some"}


def walk(court, rng, random_points, every=1, limit=None):
    """Judges each flush and FUA point, with the extremes in turn, and random subsets at random entries."""
    entries = list(court.log.entries())
    points = 0
    for entry, following in zip(entries, [*entries[1:], None]):
        if entry.flags & logwrites.MARK:
            court.hear(entry)
        area = court.replay.play(entry)
        if court.phase is None:
            continue  # before the first copy was complete nothing was promised
        if area is not None and entry.flags & (logwrites.FLUSH | logwrites.FUA):
            points += 1
            if points % every == 0:
                court.judge(entry, "point", WHO[points // every % 3 if points % 7 else 3],
                            EXTREMES[points // every % len(EXTREMES)], None, rng)
        for _ in range(random_points.get(entry.index, 0)):
            court.judge(entry, "random", rng.choice(WHO), SOME, following, rng)
        if limit is not None and len(court.findings) >= limit:
            break
    return points


def promised_entries(log):
    """Indices from the first phase on, and how many of them are flush or FUA points."""
    begun, found, points = False, [], 0
    for entry in log.entries():
        begun = begun or entry.text.startswith("phase:")
        if begun:
            found.append(entry.index)
            points += 1 if entry.flags & (logwrites.FLUSH | logwrites.FUA) else 0
    return found, points


def scatter(rng, indices, count):
    points = {}
    for index in rng.choices(indices, k=count):
        points[index] = points.get(index, 0) + 1
    return points


def report(findings):
    kinds = {}
    for finding in findings:
        kinds[finding[4]] = kinds.get(finding[4], 0) + 1
    return ", ".join(f"{count} {what}" for what, count in sorted(kinds.items()))


def test_every_point_and_random_subsets(d):
    log, _ = recording()
    rng = random.Random(SEED)
    indices, points = promised_entries(log)
    court = Court(d)
    begun = time.monotonic()
    walk(court, rng, scatter(rng, indices, RANDOM_STATES), max(1, -(-points // POINTS_MAX)))
    court.close()
    for finding in court.findings[:10]:
        print(f"  BAD {finding}", flush=True)
    took = time.monotonic() - begun
    print(f"  {court.judged} states of {points} flush and FUA points and {RANDOM_STATES} random ones judged in "
          f"{took:.0f} s; {len(court.ledger.flushed)} blocks flushed; largest resync "
          f"{court.largest_resync / MIB:.1f} of {DATA // MIB} MiB; {court.promoted} promotions alone; rows of the table: {court.rules}", flush=True)
    assert court.judged > RANDOM_STATES and len(court.ledger.flushed) > 500, "hardly anything was looked at"
    assert court.promoted > court.judged and {61, 62, 63} & court.rules.keys(), "one-sided states"
    assert not court.findings, f"{len(court.findings)} of {court.judged} states: {report(court.findings)}"


def test_recovered_by_whole_daemons(d):
    log, _ = recording()
    rng = random.Random(SEED + 1)
    indices, _ = promised_entries(log)
    chosen = set(rng.sample(indices, DAEMON_STATES))
    court = Court(d)
    entries = list(log.entries())
    resyncs = 0
    for entry, following in zip(entries, [*entries[1:], None]):
        if entry.flags & logwrites.MARK:
            court.hear(entry)
        court.replay.play(entry)
        if entry.index in chosen:
            court.ask(court.state((1, 1), SOME, following, rng), (1, 1), save=1)
            resyncs += recover_by_daemons(d, entry.index, court.ledger)
    court.close()
    print(f"  {DAEMON_STATES} states recovered by daemons, {resyncs} of them with a resync", flush=True)


def recover_by_daemons(d, index, ledger):
    """Two daemons start on the saved state; both replicas end identical, with all that was flushed."""
    home = pathlib.Path(d) / f"daemons-{index}"
    home.mkdir()
    with harness.pair(home, "hot_extents = 8", size=DATA) as p:
        for node in (p.alpha, p.beta):
            shutil.move(pathlib.Path(d) / f"saved-{node.name}-data", node.disk)
            shutil.move(pathlib.Path(d) / f"saved-{node.name}-meta", node.dir / "meta")
            node.start()
        p.alpha.wait_state(peer_link="connected", peer_dirty_bytes=0)
        sources = [node for node in (p.alpha, p.beta) if node.status()["role"] == "source"]
        source = sources[0] if sources else p.alpha
        if not sources:
            source.cli("promote", "data")
        p.wait_synced(source)
        resynced = any("resync.started" in node.process.log.read_text() for node in (p.alpha, p.beta))
        for node in (p.alpha, p.beta):
            node.stop()
        p.compare()
        product.Ledger.check(ledger, p.beta.disk, ledger.flushed)
    shutil.rmtree(home)
    return resynced


# --- disks that lie ----------------------------------------------------------------------------------------

class FlushIgnored(logwrites.Disk):
    """A data disk that acknowledges flushes and FUA and keeps a third of what they covered in its cache."""

    def __init__(self, area, directory):
        super().__init__(area, directory)
        self.rng = random.Random(area.name)

    def flush(self):
        if self.area.name.endswith("data"):
            self.pending = [write for write in self.pending if self.rng.random() > 0.3]
        super().flush()


class LogCached(logwrites.Disk):
    """The source's metadata disk acknowledges flush and FUA, and has the last eight intent records in its cache only.
    (Of superblocks and pages recovery would notice: it refuses, or resyncs everything.)"""

    def flush(self):
        late = [write for write in self.pending if self.lies_about(write)][-8:]
        self.pending = [write for write in self.pending if write not in late]
        super().flush()
        self.pending = late

    def write(self, offset, data, fua):
        super().write(offset, data, fua)
        self.pending = [write._replace(fua=False) if self.lies_about(write) else write for write in self.pending]

    def lies_about(self, write):
        return self.area.name == "alpha-meta" and LOG_BEGIN <= write.offset < LOG_END


def lies(d, disk, keep, wanted):
    log, _ = recording()
    rng = random.Random(SEED + 2)
    indices, _ = promised_entries(log)
    court = Court(d, disk)
    court_points = scatter(rng, indices, 150)
    entries = list(log.entries())
    for entry in entries:
        if entry.flags & logwrites.MARK:
            court.hear(entry)
        court.replay.play(entry)
        for _ in range(court_points.get(entry.index, 0)):
            court.judge(entry, "lie", (1, 1), keep, None, rng)
    court.close()
    print(f"  {len(court.findings)} of {court.judged} states found: {report(court.findings)}", flush=True)
    kinds = {finding[4] for finding in court.findings}
    assert wanted & kinds, f"nobody noticed: {report(court.findings) or 'no finding'}"


def test_ignored_flush_of_data_is_found(d):
    lies(d, FlushIgnored, {"data": "none", "meta": "all"}, {"lost", "lost-end"})


def test_ignored_flush_of_metadata_is_found(d):
    lies(d, LogCached, {"data": "some", "meta": "none"}, {"differ"})


if __name__ == "__main__":
    try:
        harness.main()
    finally:
        if _recorded and not KEPT:
            shutil.rmtree(_recorded["directory"], ignore_errors=True)
