"""Memory that is wanted: more than the guest has, so that what lies on the mirror is written out and read back.

  hog.py hold MIB PASSES      takes MIB mebibytes, each page with its own content; prints `held`, then reads all of it
                              PASSES times, printing `pass N`; a page with other content ends it with a traceback
  hog.py file PATH MIB        writes a file through the page cache while it holds no more than a piece of it, fsync,
                              drops the cache, reads back and compares; prints `same`
"""
import os
import struct
import sys

PIECE = 1 << 20
PAGE = 4096
WORDS = struct.Struct("<II")


def piece(number, salt):
    return b"".join(WORDS.pack(number ^ salt, page) * (PAGE // WORDS.size) for page in range(PIECE // PAGE))


def hold(mebibytes, passes):
    held = [piece(n, 0x5A5A) for n in range(int(mebibytes))]
    print("held", len(held), flush=True)
    for turn in range(int(passes)):
        for n, data in enumerate(held):
            assert data == piece(n, 0x5A5A), f"piece {n} in pass {turn}"
        print("pass", turn, flush=True)


def file(path, mebibytes):
    with open(path, "wb") as out:
        for n in range(int(mebibytes)):
            out.write(piece(n, 0xC3C3))
        out.flush()
        os.fsync(out.fileno())
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as drop:
        drop.write("3")
    with open(path, "rb") as again:
        for n in range(int(mebibytes)):
            assert again.read(PIECE) == piece(n, 0xC3C3), f"piece {n} of {path}"
    print("same", mebibytes, flush=True)


def main(verb, *arguments):
    {"hold": hold, "file": file}[verb](*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
