"""Runs in a guest: carries out what the host asks for over a virtio serial port, one JSON object per line.

  host to guest   {"id": N, "argv": [...]}          start a command
                  {"id": N, "signal": S}            to it and all of its children
  guest to host   {"hello": pid}                    once, when it is ready
                  {"id": N, "line": "..."}          of standard output and error, as they come
                  {"id": N, "exit": code}           after the last line
"""
import json
import os
import signal
import subprocess
import sys
import threading

lock = threading.Lock()
running = {}


def tell(port, message):
    raw = json.dumps(message).encode() + b"\n"
    with lock:
        while raw:
            raw = raw[os.write(port, raw):]


def carry_out(port, number, argv):
    try:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   start_new_session=True)
    except OSError as error:
        tell(port, {"id": number, "line": str(error)})
        tell(port, {"id": number, "exit": 127})
        return
    running[number] = process
    for line in process.stdout:
        tell(port, {"id": number, "line": line.decode(errors="replace").rstrip("\n")})
    tell(port, {"id": number, "exit": process.wait()})


def main():
    port = os.open(sys.argv[1], os.O_RDWR)
    tell(port, {"hello": os.getpid()})
    pending = b""
    while True:
        data = os.read(port, 65536)
        if not data:  # the host has hung up: the machine is about to be killed
            signal.pause()
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "argv" in message:
                threading.Thread(target=carry_out, args=(port, message["id"], message["argv"]), daemon=True).start()
            elif message["id"] in running:
                os.killpg(running[message["id"]].pid, message["signal"])


if __name__ == "__main__":
    main()
