"""docs/survival.md against the tests: survival_test.py SOURCE --build DIR | --ran JUNIT...

--build: all 82 rows are there once and in order, each names a test, and each named test exists in ctest's list of
this build (a story of a script: in the script). --ran: each named test has run in the results of a whole run.
`later.NAME` has to be skipped and to say what it waits for; a row's other tests may be skipped where the machine
lacks something (root, loop devices), but not all of them. `kernel.NAME` is asked for only in a run of those.
"""
import json
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as tree

ROWS = 82
ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$")


def read_rows(source):
    """[(number, [test names])] as they stand in the document."""
    rows = []
    for line in (source / "docs" / "survival.md").read_text().splitlines():
        if match := ROW.match(line):
            rows.append((int(match[1]), re.findall(r"`([^`]+)`", match[4])))
    return rows


def ctest_name(name):
    return name.split(":")[0] if name.startswith(("system.", "kernel.")) else name


def matches(name, cases):
    """The ctest names that a name of the table stands for: parameters of GoogleTest are not written out."""
    wanted = ctest_name(name)
    if wanted in cases:
        return [wanted]
    return [case for case in cases if re.fullmatch(rf"(?:\w+/)?{re.escape(wanted)}(?:/.+)?", case)]


def table_findings(rows):
    if [number for number, _ in rows] != list(range(1, ROWS + 1)):
        yield f"the rows are not 1 to {ROWS}, each once and in order: {[number for number, _ in rows]}"
    for number, names in rows:
        if not names:
            yield f"row {number} names no test"


def story_exists(source, name):
    """system.FILE:STORY and kernel.FILE:STORY name a function of the script."""
    if ":" not in name:
        return not name.startswith(("system.", "kernel."))
    script, story = name.split(":")
    folder, file = script.split(".")
    path = source / "tests" / folder / f"{file}_test.py"
    return path.exists() and re.search(rf"^def {re.escape(story)}\(", path.read_text(), re.M) is not None


def build_findings(source, build):
    listing = subprocess.run(["ctest", "--test-dir", str(build), "--show-only=json-v1"], check=True,
                             capture_output=True, text=True).stdout
    cases = {test["name"] for test in json.loads(listing)["tests"]}
    if missing := sorted(case for case in cases if case.endswith("_NOT_BUILT")):
        yield f"cannot be judged, because not everything is built: {', '.join(missing)}"
        return
    for number, names in read_rows(source):
        for name in names:
            if name.startswith("kernel.") and not any(case.startswith("kernel.") for case in cases):
                continue  # a build of sanitizers has none
            if not matches(name, cases):
                yield f"row {number}: there is no test {name}"
            elif name.startswith(("system.", "kernel.")) and not story_exists(source, name):
                yield f"row {number}: {name}: no such story in the script"


def read_results(paths):
    """ctest name -> (ran, output)."""
    results = {}
    for path in paths:
        for case in tree.parse(path).getroot().iter("testcase"):
            results[case.get("name")] = (case.get("status"), case.findtext("system-out") or "")
    return results


def verdict(name, results):
    """'ran', 'skipped', 'waits' or what is wrong."""
    found = matches(name, results)
    if not found:
        return "has not run"
    states = {results[case][0] for case in found}
    output = results[found[0]][1]
    if name.startswith("later."):
        return "waits" if "SKIP: waits for" in output else "does not say what it waits for"
    if "fail" in states:
        return "failed"
    if "run" not in states:
        return "skipped"
    story = name.split(":")[1] if ":" in name else None
    if story is None:
        return "ran"
    if re.search(rf"^PASS {re.escape(story)} ", output, re.M):
        return "ran"
    if re.search(rf"^SKIP: {re.escape(story)}:", output, re.M):
        return "skipped"
    return "has not run (its story is not in the output)"


def ran_findings(rows, results):
    in_guests = any(name.startswith("kernel.") for name in results)
    for number, names in rows:
        wanted = [name for name in names if name.startswith("kernel.") == in_guests]
        verdicts = {name: verdict(name, results) for name in wanted}
        for name, what in verdicts.items():
            if what not in ("ran", "skipped", "waits"):
                yield f"row {number}: {name} {what}"
        if wanted and "skipped" in verdicts.values() and not {"ran", "waits"} & set(verdicts.values()):
            yield f"row {number}: all of its tests were skipped: {', '.join(wanted)}"


def main(arguments):
    source = pathlib.Path(arguments[0])
    rows = read_rows(source)
    findings = list(table_findings(rows))
    if arguments[1] == "--build":
        findings += build_findings(source, pathlib.Path(arguments[2]))
    else:
        findings += ran_findings(rows, read_results(arguments[2:]))
    for finding in findings:
        print(f"docs/survival.md: {finding}")
    waiting = sum(all(name.startswith("later.") for name in names) for _, names in rows)
    print(f"{len(rows)} rows, {waiting} wait for a feature, {len(findings)} finding(s)")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
