"""Adds up what ran: summary.py RESULTS_DIR.

Reads ctest's JUnit files (*.xml) and stages.txt (verdict, name, seconds; written by ./run for what is no
CTest test: builds, simulator ranges, fuzzers). Prints the time of each stage, why tests were skipped, which
failed, and the one line that ends every run. A stage of ctest is not counted beside its own tests, unless
it failed without any failed test to show for it. Exit code 1 if anything failed or nothing ran.
"""
import pathlib
import re
import sys
import xml.etree.ElementTree as tree


def skip_reason(case):
    """The script's `SKIP: why`, GoogleTest's text after `Skipped`, or ctest's own word."""
    output = case.findtext("system-out") or ""
    match = re.search(r"SKIP: *(.+)", output) or re.search(r"Skipped\n(.+)", output)
    if match:
        return match.group(1).strip()
    skipped = case.find("skipped")
    return (skipped.get("message") if skipped is not None else None) or "no reason given"


def read_cases(path):
    """(name, verdict, reason) of each test of one JUnit file."""
    for case in tree.parse(path).getroot().iter("testcase"):
        status = case.get("status")
        if status == "run":
            yield case.get("name"), "passed", ""
            # A script of several stories that could not do all of them.
            for reason in re.findall(r"^SKIP: *(.+)", case.findtext("system-out") or "", re.M):
                yield case.get("name"), "skipped", reason
        elif status in ("notrun", "disabled") and case.find("failure") is None:
            reason = skip_reason(case)
            # A binary that is not there is no reason to be green.
            broken = "not built" in reason.lower() or "unable to find executable" in reason.lower()
            yield case.get("name"), "failed" if broken else "skipped", reason
        else:
            yield case.get("name"), "failed", ""


def read_stages(path):
    if not path.exists():
        return []
    return [line.split("\t") for line in path.read_text().splitlines()]


def main(results):
    count = {"passed": 0, "failed": 0, "skipped": 0}
    failures, skips = [], []
    for path in sorted(results.glob("*.xml")):
        try:
            cases = list(read_cases(path))
        except tree.ParseError as error:
            cases = [(path.name, "failed", f"unreadable: {error}")]
        for name, verdict, reason in cases:
            count[verdict] += 1
            if verdict == "failed":
                failures.append(f"{path.stem}: {name}")
            elif verdict == "skipped":
                skips.append(f"{path.stem}: {name}: {reason}")
    stages = read_stages(results / "stages.txt")
    for verdict, name, seconds in stages:
        print(f"{int(seconds):6d} s  {verdict:8} {name}")
        of_ctest = name.startswith("test ")
        unexplained = verdict == "failed" and not any(
            failure.startswith(name.removeprefix("test ")) for failure in failures)
        if not name.startswith("build ") and not of_ctest or unexplained:
            count[verdict] += 1
            if verdict == "failed":
                failures.append(f"stage: {name}")
            elif verdict == "skipped":
                skips.append(f"stage: {name}")
    for line in skips:
        print(f"skipped  {line}")
    for line in failures:
        print(f"FAILED   {line}")
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    return 0 if count["failed"] == 0 and count["passed"] > 0 else 1


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
