"""A relay between the nodes that can misbehave: cut, stand still in one direction or both, be slow."""
import collections
import contextlib
import os
import select
import socket
import threading
import time

BUFFER_MAX = 4 << 20   # of bytes that wait in one direction; then its source is not read


class Pipe:
    """One direction of one connection."""

    def __init__(self, source, destination, forward):
        self.source = source
        self.destination = destination
        self.forward = forward                  # from the dialling side to the listening one
        self.waiting = collections.deque()      # (due, bytes)
        self.bytes = 0


class Relay:
    """TCP to TCP, in both directions, until told otherwise: cut(), stall(), slow(), flow()."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.refusing = False
        self.stalled = frozenset()
        self.delay_s = 0.0
        self.closing = False
        self.dropped = None                     # set once all connections are down, if somebody waits for it
        self.tape = None                        # a bytearray: what the dialling side says is kept in it as well
        self.pipes = []
        self.wake_read, self.wake_write = os.pipe()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _poke(self):
        with contextlib.suppress(OSError):
            os.write(self.wake_write, b"x")

    def cut(self):
        """Ends all connections and refuses new ones until flow()."""
        self.refusing = True
        self._poke()

    def stall(self, directions=("forward", "back")):
        """Nothing arrives any more in these directions, nobody is told. New connections are taken and stand still."""
        self.stalled = frozenset(directions)
        self._poke()

    def slow(self, delay_s):
        """What arrives, arrives so much later."""
        self.delay_s = delay_s
        self._poke()

    def flow(self):
        self.stalled = frozenset()
        self.delay_s = 0.0
        self.refusing = False
        self._poke()

    def flap(self):
        """Ends the present connections; new ones are taken."""
        dropped = threading.Event()
        self.dropped = dropped
        self._poke()
        if not dropped.wait(60):
            raise AssertionError("the relay does not cut")

    def close(self):
        self.closing = True
        self._poke()
        self.thread.join(timeout=60)

    def _drop_all(self):
        for pipe in self.pipes:
            pipe.source.close()
        self.pipes = []

    def _standing(self, pipe):
        return ("forward" if pipe.forward else "back") in self.stalled

    def _serve(self):
        while not self.closing:
            if self.refusing or self.dropped:
                self._drop_all()
                if self.dropped:
                    self.dropped.set()
                    self.dropped = None
            now = time.monotonic()
            moving = [p for p in self.pipes if not self._standing(p)]
            readers = {p.source: p for p in moving if p.bytes < BUFFER_MAX}
            writers = {p.destination: p for p in moving if p.waiting and p.waiting[0][0] <= now}
            due = [p.waiting[0][0] - now for p in moving if p.waiting and p.waiting[0][0] > now]
            ready, writable, _ = select.select([self.listener, self.wake_read, *readers], list(writers), [],
                                               min(due, default=1))
            for s in ready:
                if s is self.listener:
                    self._accept()
                elif s is self.wake_read:
                    os.read(self.wake_read, 4096)
                elif s.fileno() >= 0:
                    self._receive(readers[s])
            for s in writable:
                if s.fileno() >= 0:
                    self._send(writers[s])
        self._drop_all()
        self.listener.close()
        os.close(self.wake_read)
        os.close(self.wake_write)

    def _accept(self):
        client, _ = self.listener.accept()
        if self.refusing:
            client.close()
            return
        try:
            server = socket.create_connection(("127.0.0.1", self.target_port), timeout=5)
        except OSError:
            client.close()
            return
        for s in (client, server):
            s.setblocking(False)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pipes += [Pipe(client, server, True), Pipe(server, client, False)]

    def _drop(self, pipe):
        for s in (pipe.source, pipe.destination):
            s.close()
        self.pipes = [p for p in self.pipes if p.source is not pipe.source and p.source is not pipe.destination]

    def _receive(self, pipe):
        try:
            data = pipe.source.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            if pipe.forward and self.tape is not None:
                self.tape += data
            pipe.waiting.append((time.monotonic() + self.delay_s, memoryview(data)))
            pipe.bytes += len(data)
            if not self.delay_s:
                self._send(pipe)
        else:
            self._drop(pipe)

    def _send(self, pipe):
        try:
            while pipe.waiting and pipe.waiting[0][0] <= time.monotonic():
                due, data = pipe.waiting[0]
                count = pipe.destination.send(data)
                pipe.bytes -= count
                if count < len(data):
                    pipe.waiting[0] = (due, data[count:])
                    return
                pipe.waiting.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._drop(pipe)
