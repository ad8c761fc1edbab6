#!/usr/bin/python3
# ctest: timeout=300
"""What the shells owe the core and the operator, each test one failure story."""
import socket

import harness
from harness import pair, run

SIZE = 16 << 20


def test_up_again_on_a_socket_of_systemd(d):
    """The listener is systemd's for good: `down` must not close it, or the next `up` adopts a closed descriptor."""
    with pair(d, size=SIZE) as p:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{d}/activated.sock")
        listener.listen()
        fd = listener.fileno()
        command = (f"exec 3<&{fd}; exec env LISTEN_PID=$$ LISTEN_FDS=1 {harness.DAEMON} --config {p.alpha.config} "
                   "--exit-with-parent")
        p.alpha.process = harness.Process(["bash", "-c", command], p.alpha.dir, "alpha", pass_fds=(fd,))
        p.alpha.process.wait_line("control on")
        p.alpha.cli("create", "data", "--source", "--size", str(SIZE))
        uri = f"nbd+unix:///?socket={d}/activated.sock"
        for _ in range(3):
            p.alpha.cli("up", "data")
            refused = run("nbdinfo", uri, check=False).stdout
            assert "server replied with error to opt_go" in refused, refused
            p.alpha.cli("down", "data")
        listener.close()


if __name__ == "__main__":
    harness.main()
