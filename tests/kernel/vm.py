"""Throw-away machines with a kernel of their own: Debian's, booted by qemu without KVM, from one initramfs in memory.

The initramfs is made of what is installed here: each program with the libraries that ldd names, Python with its
library, and the modules of Debian's kernel package, which is downloaded and unpacked but never installed. So a
guest needs no root file system, no network and no second distribution; it boots in about four seconds, forgets
everything when it is killed, and its disks are plain files that the host can read at any time.

The host talks to a guest over a virtio serial port (guest/agent.py): commands, their output line by line, exit codes.
"""
import contextlib
import fcntl
import hashlib
import json
import lzma
import os
import pathlib
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "system"))
import harness  # noqa: E402  pylint: disable=wrong-import-position
from harness import BUILD, Skip, wait_for  # noqa: E402  pylint: disable=wrong-import-position

# Below build/, shared by all build trees: the kernel and the programs do not depend on them.
CACHE = pathlib.Path(os.environ.get("TWINBLOCK_KERNEL_CACHE", BUILD.parent / "kernel-vm"))
# Everything in a guest is 5 to 20 times slower than here, and the processors are shared.
PATIENCE = float(os.environ.get("TWINBLOCK_TEST_PATIENCE_S", "60")) * 3

# In /usr/bin of the guest; the shell there is busybox, which takes its own applet where it has one (tc, ip, mount)
# unless a path is given.
PROGRAMS = ["python3", "mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "dmsetup", "blockdev", "nbd-client", "ip",
            "tc", "mount", "umount"]
MODULES = ["virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "crc32c_generic", "ext4", "xfs", "nbd",
           "dm-mod", "dm-log-writes", "dm-delay", "sch_netem"]
# Of Python's library: what no test in a guest imports, by size.
NOT_IN_GUEST = {"test", "config-3.11-x86_64-linux-gnu", "idlelib", "pydoc_data", "lib2to3", "ensurepip", "distutils",
                "tkinter", "turtledemo", "sqlite3", "unittest", "asyncio", "dist-packages", "site-packages"}
COMMAND_LINE = ("console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check audit=0 apparmor=0 "
                "random.trust_cpu=on cryptomgr.notests nmi_watchdog=0 net.ifnames=0 rdinit=/init")
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C PYTHONDONTWRITEBYTECODE=1 DM_DISABLE_UDEV=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run
mkdir -p /dev/shm /run/lock
while read -r module; do insmod "/modules/$module" || echo "insmod $module failed"; done </modules/order
ip link set lo up
python3 /twinblock/guest/agent.py /dev/vport0p1
echo "the agent ended"
poweroff -f
"""


# --- the initramfs -----------------------------------------------------------------------------------------

class Archive:
    """A cpio archive in the "newc" format (kernel: Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self):
        self.parts = []
        self.names = set()
        self.number = 0

    def _entry(self, name, mode, data=b"", device=(0, 0)):
        if name in self.names:
            return
        self.names.add(name)
        self.number += 1
        raw = name.encode() + b"\0"
        fields = [self.number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(raw), 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + raw
        self.parts += [head, bytes(-len(head) % 4), data, bytes(-len(data) % 4)]

    def _parents(self, name):
        for parent in reversed(pathlib.PurePosixPath(name).parents):
            if str(parent) != ".":
                self._entry(str(parent), stat.S_IFDIR | 0o755)

    def data(self, name, data, mode=0o644):
        self._parents(name)
        self._entry(name, stat.S_IFREG | mode, data)

    def folder(self, name):
        self._parents(name)
        self._entry(name, stat.S_IFDIR | 0o755)

    def console(self):
        self._parents("dev/console")
        self._entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))

    def file(self, path, name=None):
        """The file, with what a symbolic link points to under the name of the link."""
        path = pathlib.Path(path)
        self.data(name or str(path).lstrip("/"), path.read_bytes(), 0o755 if os.access(path, os.X_OK) else 0o644)

    def program(self, path, name=None):
        """The file and every library that it is linked with."""
        self.file(path, name)
        listing = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"(/\S+) \(0x", listing):
            self.file(library)

    def tree(self, folder, without):
        for root, folders, files in os.walk(folder):
            folders[:] = [f for f in folders if f not in without]
            for file in files:
                path = pathlib.Path(root, file)
                if path.is_file():
                    self.file(path)
                    if path.suffix == ".so":
                        self.program(path)

    def bytes(self):
        self._entry("TRAILER!!!", 0)
        return b"".join(self.parts)


def kernel_package():
    """Name of the package that linux-image-amd64 stands for today; Skip where apt does not know."""
    done = harness.run("apt-cache", "depends", "linux-image-amd64", check=False)
    found = re.search(r"Depends: (linux-image-\S+)", done.stdout)
    if done.returncode != 0 or not found:
        raise Skip("apt-cache does not know linux-image-amd64 (apt-get update?)")
    return found.group(1)


def unpack_kernel(package, into):
    """The content of the package; it is not installed, so that this machine's boot is none of our business."""
    work = into.with_suffix(".work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    done = harness.run("apt-get", "download", package, cwd=work, check=False, patience=900)
    files = list(work.glob("*.deb"))
    if done.returncode != 0 or not files:
        raise Skip(f"apt-get download {package} failed: {done.stdout[-200:]}")
    harness.run("dpkg-deb", "-x", files[0], work / "root", patience=900)
    files[0].unlink()
    harness.run("depmod", "-b", work / "root", package.removeprefix("linux-image-"), patience=900)
    shutil.rmtree(into, ignore_errors=True)
    (work / "root").rename(into)
    shutil.rmtree(work)


def uncompressed(kernel):
    """The ELF file in a bzImage, which qemu starts directly: a guest without KVM unpacks xz for seconds."""
    data = kernel.read_bytes()
    at = data.find(b"\xfd7zXZ\0")
    while at >= 0:
        with contextlib.suppress(lzma.LZMAError):
            elf = lzma.LZMADecompressor().decompress(data[at:])
            if elf.startswith(b"\x7fELF"):
                return elf
        at = data.find(b"\xfd7zXZ\0", at + 1)
    raise Skip(f"{kernel} is not compressed with xz")


def add_modules(archive, root, version):
    """The modules and what they need, flat, with the order in which to load them."""
    base = root / "lib/modules" / version
    needs, by_name, order = {}, {}, []
    for line in (base / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
        by_name[pathlib.PurePosixPath(path).name.removesuffix(".ko").replace("-", "_")] = path

    def load(path):
        for other in needs[path]:
            load(other)
        if path not in order:
            order.append(path)

    for name in MODULES:
        path = by_name.get(name.replace("-", "_"))
        if path is not None:  # else built in
            load(path)
    for path in order:
        archive.file(base / path, "modules/" + pathlib.PurePosixPath(path).name)
    archive.data("modules/order", "".join(pathlib.PurePosixPath(p).name + "\n" for p in order).encode())


def which(program):
    found = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise Skip(f"{program} is not installed")
    return os.path.realpath(found)


def base_archive(root, version):
    archive = Archive()
    archive.console()
    for folder in ("proc", "sys", "run", "tmp", "mnt", "root", "var/tmp", "var/lib/twinblock", "etc"):
        archive.folder(folder)
    archive.data("init", INIT.encode(), 0o755)
    archive.file(which("busybox"), "bin/busybox")
    for program in PROGRAMS:
        archive.program(which(program), "usr/bin/" + program)
    archive.tree("/usr/lib/python3.11", NOT_IN_GUEST)
    archive.data("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    archive.data("etc/mke2fs.conf", pathlib.Path("/etc/mke2fs.conf").read_bytes())
    add_modules(archive, root, version)
    return archive.bytes()


def fingerprint(package):
    """What the cached image was made from."""
    h = hashlib.sha256((package + INIT + pathlib.Path(__file__).read_text()).encode())
    for program in ["busybox", *PROGRAMS]:
        status = os.stat(which(program))
        h.update(f"{program} {status.st_size} {status.st_mtime_ns}".encode())
    return h.hexdigest()


def image():
    """Paths of kernel and base initramfs, made when they are not there or not of today's programs."""
    if not shutil.which("qemu-system-x86_64"):
        raise Skip("qemu-system-x86_64 is not installed")
    CACHE.mkdir(parents=True, exist_ok=True)
    kernel, initramfs, stamp = CACHE / "vmlinux", CACHE / "base.cpio", CACHE / "stamp"
    with open(CACHE / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # scripts run in parallel; one of them builds
        package = kernel_package()
        wanted = fingerprint(package)
        if not stamp.exists() or stamp.read_text() != wanted:
            stamp.unlink(missing_ok=True)
            root, version = CACHE / package, package.removeprefix("linux-image-")
            if not root.exists():
                unpack_kernel(package, root)
            kernel.write_bytes(uncompressed(root / "boot" / f"vmlinuz-{version}"))
            initramfs.write_bytes(base_archive(root, version))
            stamp.write_text(wanted)
    return kernel, initramfs


def payload():
    """What changes from build to build: the product, and the scripts that run in the guest."""
    archive = Archive()
    for path in (harness.DAEMON, harness.CLI):
        if not path.exists():
            raise Skip(f"{path} is not built")
        with tempfile.NamedTemporaryFile(prefix="tb-") as stripped:
            harness.run("strip", "-o", stripped.name, path)  # of 48 MB, 44 are debug information
            os.chmod(stripped.name, 0o755)
            archive.program(stripped.name, "usr/bin/" + path.name)
    for path in sorted((HERE / "guest").glob("*.py")):
        archive.file(path, f"twinblock/guest/{path.name}")
    return archive.bytes()


# --- a running guest ---------------------------------------------------------------------------------------

class Job:
    """A command in a guest."""

    def __init__(self, guest, number, what):
        self.guest = guest
        self.number = number
        self.what = what
        self.lines = []
        self.code = None

    @property
    def output(self):
        return "\n".join(self.lines)

    def wait(self, patience=None, check=True):
        wait_for(f"{self.guest.name}: {self.what}", lambda: self.code is not None or self.guest.dead(),
                 patience or PATIENCE)
        if self.code is None:
            raise AssertionError(f"{self.guest.name} died under: {self.what}\n{self.guest.console()}")
        if check and self.code != 0:
            raise AssertionError(f"{self.guest.name}: {self.what}: exit {self.code}\n{self.output[-4000:]}")
        return self.output

    def wait_line(self, text, patience=None):
        def look():
            if any(text in line for line in list(self.lines)):
                return True
            if self.code is not None:
                raise AssertionError(f"{self.what} ended with {self.code} before {text!r}:\n{self.output[-4000:]}")
            return self.guest.dead()
        wait_for(f"{self.guest.name}: {text!r} from {self.what}", look, patience or PATIENCE)
        assert not self.guest.dead(), f"{self.guest.name} died:\n{self.guest.console()}"

    def signal(self, number):
        self.guest.send({"id": self.number, "signal": number})


class Guest:
    """One machine. `disks`: files on the host, /dev/vda and on."""

    def __init__(self, directory, name, disks, network=None, memory_mib=768):
        self.dir = pathlib.Path(directory)
        self.name = name
        self.disks = disks
        self.network = network
        self.memory_mib = memory_mib
        self.process = None
        self.socket = None
        self.jobs = {}
        self.next_job = 1
        self.boots = 0
        self.alive = threading.Event()
        self.lock = threading.Lock()

    def command(self, kernel, initramfs):
        parts = ["qemu-system-x86_64", "-M", "q35,hpet=off,smm=off,vmport=off", "-accel", "tcg,tb-size=256",
                 "-cpu", "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+aes,+rdrand", "-smp", "1", "-m",
                 str(self.memory_mib), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                 "-name", self.name, "-kernel", kernel, "-initrd", initramfs, "-append", COMMAND_LINE,
                 "-chardev", f"file,id=console,path={self.dir / (self.name + '.console')},append=on",
                 "-serial", "chardev:console",
                 "-chardev", f"socket,id=agent,path={self.path('agent')},server=on,wait=off",
                 "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=agent",
                 "-qmp", f"unix:{self.path('qmp')},server=on,wait=off"]
        for number, disk in enumerate(self.disks):
            parts += ["-drive", f"if=none,id=d{number},file={disk},format=raw,cache=writeback,aio=threads",
                      "-device", f"virtio-blk-pci,drive=d{number},serial={self.name}{number}"]
        if self.network is not None:
            mine, theirs = self.network
            parts += ["-netdev", f"dgram,id=net0,local.type=unix,local.path={mine},remote.type=unix,"
                                 f"remote.path={theirs}",
                      "-device", f"virtio-net-pci,id=nic0,netdev=net0,mac=52:54:00:00:00:{ord(self.name[0]):02x},"
                                 "romfile="]
        return [str(part) for part in parts]

    def path(self, kind):
        return self.dir / f"{self.name}.{kind}"

    def start(self):
        kernel, base = image()
        initramfs = self.path("cpio")
        with open(initramfs, "wb") as out, open(base, "rb") as first:
            shutil.copyfileobj(first, out)
            out.write(payload())
        for kind in ("agent", "qmp"):
            self.path(kind).unlink(missing_ok=True)
        if self.network is not None:
            pathlib.Path(self.network[0]).unlink(missing_ok=True)
        self.boots += 1
        self.alive.clear()
        with open(self.path("qemu"), "ab") as log:
            self.process = subprocess.Popen(self.command(kernel, initramfs), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, preexec_fn=die_with_parent)
        wait_for(f"qemu of {self.name}", lambda: self.path("agent").exists() or self.dead())
        self.socket = socket.socket(socket.AF_UNIX)
        wait_for(f"the serial port of {self.name}", self._connect)
        threading.Thread(target=self._listen, args=(self.socket,), daemon=True).start()
        wait_for(f"{self.name} to boot", lambda: self.alive.is_set() or self.dead(), PATIENCE)
        assert not self.dead(), f"{self.name} did not boot:\n{self.console()}\n{self.path('qemu').read_text()}"
        initramfs.unlink()
        return self

    def _connect(self):
        if self.dead():
            raise AssertionError(f"qemu of {self.name} ended: {self.path('qemu').read_text()}")
        try:
            self.socket.connect(str(self.path("agent")))
            return True
        except OSError:
            return False

    def _listen(self, connection):
        with contextlib.suppress(OSError), connection.makefile("r", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    self._heard(json.loads(line))

    def _heard(self, message):
        if "hello" in message:
            self.alive.set()
            return
        job = self.jobs.get(message.get("id"))
        if job is None:
            return
        if "line" in message:
            job.lines.append(message["line"])
        if "exit" in message:
            job.code = message["exit"]

    def send(self, message):
        with self.lock:
            self.socket.sendall(json.dumps(message).encode() + b"\n")

    def spawn(self, *argv):
        """Starts a command; with one argument a shell script."""
        argv = [str(a) for a in argv] if len(argv) > 1 else ["sh", "-ec", argv[0]]
        job = Job(self, self.next_job, " ".join(argv)[:200])
        self.jobs[self.next_job] = job
        self.next_job += 1
        self.send({"id": job.number, "argv": argv})
        return job

    def run(self, *argv, patience=None, check=True):
        job = self.spawn(*argv)
        job.wait(patience, check)
        return job.output

    def python(self, script, *arguments):
        return self.spawn("python3", "-u", f"/twinblock/guest/{script}", *arguments)

    def write(self, path, text):
        self.run(f"mkdir -p \"$(dirname {path})\"\ncat >{path} <<'END_OF_FILE'\n{text}\nEND_OF_FILE")

    def monitor(self, command, **arguments):
        """One QMP command (https://www.qemu.org/docs/master/interop/qmp-spec.html)."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(PATIENCE)
            s.connect(str(self.path("qmp")))
            with s.makefile("rw", encoding="utf-8") as stream:
                stream.readline()
                for name, parameters in (("qmp_capabilities", {}), (command, arguments)):
                    stream.write(json.dumps({"execute": name, "arguments": parameters}) + "\n")
                    stream.flush()
                    answer = json.loads(stream.readline())
                    while "event" in answer:
                        answer = json.loads(stream.readline())
        assert "return" in answer, f"{command}: {answer}"
        return answer["return"]

    def carrier(self, on):
        self.monitor("set_link", name="nic0", up=on)

    def dead(self):
        return self.process is None or self.process.poll() is not None

    def power_cut(self):
        """The machine is gone at once, with all that only its memory held."""
        if not self.dead():
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.socket.close()

    def console(self, count=30):
        path = self.path("console")
        return "\n".join(path.read_text(errors="replace").splitlines()[-count:]) if path.exists() else ""

    def close(self):
        if self.process is not None:
            self.power_cut()


def die_with_parent():
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@contextlib.contextmanager
def guests(directory, names, disks, network=False, memory_mib=768):
    """Machines named by `names`, each with files of its own of the given sizes as disks; up when the block begins."""
    image()  # built, or the test skipped, before anything else is made
    made = []
    try:
        for name in names:
            files = []
            for number, size in enumerate(disks):
                files.append(pathlib.Path(directory) / f"{name}.disk{number}")
                with open(files[-1], "wb") as f:
                    os.posix_fallocate(f.fileno(), 0, size)
            wires = None
            if network:
                other = names[1 - names.index(name)]
                wires = (pathlib.Path(directory) / f"{name}.net", pathlib.Path(directory) / f"{other}.net")
            made.append(Guest(directory, name, files, wires, memory_mib))
        begun = time.monotonic()
        for guest in made:
            guest.start()
        print(f"  {len(made)} guest(s) up after {time.monotonic() - begun:.1f} s", flush=True)
        yield made
    except BaseException:
        for guest in made:
            print(f"--- console of {guest.name}\n{guest.console()}", flush=True)
        raise
    finally:
        for guest in made:
            guest.close()
