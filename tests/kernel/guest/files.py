"""Files on a mounted file system, and what is safe of them.

  files.py write DIR SEED     writes files until DIR/stop exists; after each fsync of file and folder
                              prints `kept NAME DIGEST`; an error ends it with a traceback
  files.py check DIR LIST     every `NAME DIGEST` of the file LIST is in DIR with that content
"""
import hashlib
import os
import random
import sys


def write(folder, seed):
    rng = random.Random(seed)
    number = 0
    directory = os.open(folder, os.O_RDONLY)
    while not os.path.exists(os.path.join(folder, "stop")):
        number += 1
        name = f"file-{seed}-{number}"
        data = rng.randbytes(rng.choice((100, 5000, 70000, 300000)))
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.fsync(directory)
        print("kept", name, hashlib.sha256(data).hexdigest(), flush=True)
    print("done", number, flush=True)


def check(folder, listing):
    with open(listing, encoding="utf-8") as lines:
        wanted = [line.split() for line in lines if line.strip()]
    for name, digest in wanted:
        with open(os.path.join(folder, name), "rb") as f:
            assert hashlib.sha256(f.read()).hexdigest() == digest, name
    print("checked", len(wanted), flush=True)


def main(verb, folder, argument):
    {"write": write, "check": check}[verb](folder, argument)


if __name__ == "__main__":
    main(*sys.argv[1:])
