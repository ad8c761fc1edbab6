"""A row of docs/survival.md that waits for a feature: skipped with its name, failed once it is there."""
import os
import pathlib
import re
import sys


def read_waits(folder):
    for line in (folder / "waits.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            # The pattern may contain |: it lies between the first two and the last separator.
            name, where, rest = line.split(" | ", 2)
            pattern, feature = rest.rsplit(" | ", 1)
            yield name, where, pattern, feature


def main(wanted):
    here = pathlib.Path(__file__).parent
    source = pathlib.Path(os.environ.get("TWINBLOCK_SOURCE_DIR", here.parents[1]))
    for name, where, pattern, feature in read_waits(here):
        if name != wanted:
            continue
        for path in sorted(source.glob(where)):
            if path.is_file() and re.search(pattern, path.read_text(errors="replace")):
                print(f"{path.relative_to(source)} shows {pattern}: {feature} is there. Give its row of "
                      "docs/survival.md a real test and drop this one.")
                return 1
        print(f"SKIP: waits for {feature}")
        return 77
    print(f"no such line in waits.txt: {wanted}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
