"""The NBD protocol as far as the tests in a guest need it, and the kernel's side of it over netlink.

  nbd.py attach SOCKET EXPORT INDEX [SECONDS]
                                       /dev/nbdINDEX on the export; prints `attached`, and each time that the kernel says
                                       that the connection is dead makes a new one: `reconnected`. Until it is killed.
                                       SECONDS: how long a request may take (10)
  nbd.py detach INDEX

nbd-client can neither set how long the kernel keeps the requests of a dead connection, nor give a device that is in
use a new one; a restart of the daemon under a mounted file system needs both.
Protocol: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md, netlink: linux/nbd-netlink.h.
"""
import socket
import struct
import sys
import time

READ, WRITE, DISCONNECT, FLUSH, TRIM = 0, 1, 2, 3, 4
FLAG_FUA = 1
REQUEST = struct.Struct(">IHHQQI")
REPLY = struct.Struct(">IIQ")
REQUEST_MAGIC, REPLY_MAGIC = 0x25609513, 0x67446698
OPTION_MAGIC = 0x49484156454F5054
OPTION_REPLY_MAGIC = 0x3E889045565A9
OPTION_GO, REPLY_ACK, REPLY_INFO, INFO_EXPORT = 7, 1, 3, 0


class Refused(Exception):
    """The server does not serve this export now."""


def receive(connection, size):
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionError("the server hung up")
        data += piece
    return data


def connect(path, export):
    """(connection, size, flags): fixed newstyle, NBD_OPT_GO without information requests."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    magic, option, flags = struct.unpack(">8sQH", receive(connection, 18))
    assert magic == b"NBDMAGIC" and option == OPTION_MAGIC and flags & 1, "no fixed newstyle server"
    name = export.encode()
    body = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
    connection.sendall(struct.pack(">I", 3) + struct.pack(">QII", OPTION_MAGIC, OPTION_GO, len(body)) + body)
    size = transmission = 0
    while True:
        magic, _, kind, length = struct.unpack(">QIII", receive(connection, 20))
        assert magic == OPTION_REPLY_MAGIC
        data = receive(connection, length)
        if kind == REPLY_INFO and struct.unpack_from(">H", data)[0] == INFO_EXPORT:
            size, transmission = struct.unpack_from(">QH", data, 2)
        elif kind == REPLY_ACK:
            return connection, size, transmission
        elif kind & 0x80000000:
            raise Refused(data.decode(errors="replace"))


# --- generic netlink ---------------------------------------------------------------------------------------

GENERIC_CONTROL, GET_FAMILY, FAMILY_ID, FAMILY_NAME = 0x10, 3, 1, 2
CMD_CONNECT, CMD_DISCONNECT, CMD_RECONFIGURE = 1, 2, 3
(ATTR_INDEX, ATTR_SIZE, ATTR_BLOCK_SIZE, ATTR_TIMEOUT, ATTR_SERVER_FLAGS, ATTR_CLIENT_FLAGS, ATTR_SOCKETS,
 ATTR_DEAD_TIMEOUT) = range(1, 9)
NESTED, REQUEST_ACK, NETLINK_ERROR = 0x8000, 0x1 | 0x4, 2
MULTICAST_GROUPS, GROUP_ID, SOL_NETLINK, ADD_MEMBERSHIP = 7, 2, 270, 1
# Of a request whose connection has died, too: only then the kernel sends it again.
REQUEST_TIMEOUT_S = 10
DEAD_TIMEOUT_S = 900


def attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def u32(kind, value):
    return attribute(kind, struct.pack("=I", value))


def u64(kind, value):
    return attribute(kind, struct.pack("=Q", value))


def netlink(family, command, body):
    """Sends one request; the attributes of its answer. OSError: what the kernel said."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as s:
        message = struct.pack("=BBH", command, 1, 0) + body
        s.send(struct.pack("=IHHII", 16 + len(message), family, REQUEST_ACK, 1, 0) + message)
        found = {}
        while True:
            data = s.recv(65536)
            while data:
                length, kind = struct.unpack_from("=IH", data)
                if kind == NETLINK_ERROR:
                    code = struct.unpack_from("=i", data, 16)[0]
                    if code:
                        raise OSError(-code, f"netlink command {command}")
                    return found
                found.update(attributes(data[20:length]))
                data = data[(length + 3) & ~3:]


def attributes(data):
    found, at = {}, 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        found[kind & ~NESTED] = data[at + 4:at + size]
        at += (size + 3) & ~3
    return found


def family():
    """(number of the family nbd, number of its multicast group)"""
    found = netlink(GENERIC_CONTROL, GET_FAMILY, attribute(FAMILY_NAME, b"nbd\0"))
    group = attributes(next(iter(attributes(found[MULTICAST_GROUPS]).values())))
    return struct.unpack("=H", found[FAMILY_ID])[0], struct.unpack("=I", group[GROUP_ID])[0]


def sockets(connection):
    one = attribute(1 | NESTED, u32(1, connection.fileno()))
    return attribute(ATTR_SOCKETS | NESTED, one)


def attach(path, export, index, timeout_s=REQUEST_TIMEOUT_S):
    number, group = family()
    connection, size, flags = connect(path, export)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as news:
        news.bind((0, 0))
        news.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
        netlink(number, CMD_CONNECT, u32(ATTR_INDEX, index) + u64(ATTR_SIZE, size) + u64(ATTR_BLOCK_SIZE, 4096) +
                u64(ATTR_TIMEOUT, timeout_s) + u64(ATTR_DEAD_TIMEOUT, DEAD_TIMEOUT_S) +
                u64(ATTR_SERVER_FLAGS, flags) + sockets(connection))
        connection.close()
        print("attached", flush=True)
        while True:
            news.recv(65536)
            reconnect(number, path, export, index)
            print("reconnected", flush=True)


def reconnect(number, path, export, index):
    """As soon as somebody serves the export again. The kernel ends the device after DEAD_TIMEOUT_S, not this."""
    while True:
        try:
            connection, _, _ = connect(path, export)
        except (OSError, Refused):
            time.sleep(0.1)  # poll-interval: between two looks at the socket
            continue
        netlink(number, CMD_RECONFIGURE, u32(ATTR_INDEX, index) + sockets(connection))
        connection.close()
        return


def main(verb, *arguments):
    if verb == "detach":
        netlink(family()[0], CMD_DISCONNECT, u32(ATTR_INDEX, int(arguments[0])))
    elif verb == "attach":
        attach(arguments[0], arguments[1], *(int(a) for a in arguments[2:]))


if __name__ == "__main__":
    main(*sys.argv[1:])
