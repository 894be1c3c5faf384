"""Two hosts on this machine, each a network namespace, and the daemons of disks on them."""

import contextlib
import hashlib
import itertools
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from remus_ha.disk.tapdisk.classic.files import Files
from remus_ha.disk.tapdisk.fifo import FlushController
from remus_ha.lines import read_line
from remus_ha.waiting import readable
from tests.functional.disk.machine import DEADLINE_S, Orders
from tests.functional.disk.writers import Nbd

SIZE = 8 << 20
PRIMARY, BACKUP = "10.9.0.1", "10.9.0.2"
PORT = 9000
ADDRESS = f"{BACKUP}:{PORT}"
_COUNT = itertools.count()


class Hosts:
    """Namespaces ``primary`` and ``backup`` with a link between them."""

    def __init__(self) -> None:
        own = f"tap{os.getpid()}-{next(_COUNT)}"
        self.names = {"primary": f"{own}p", "backup": f"{own}b"}
        for name in self.names.values():
            ip("netns", "add", name)
        ours, theirs = self.names.values()
        link = f"link add eth0 type veth peer name eth0 netns {theirs}"
        ip("-n", ours, *link.split())
        for name, address in zip((ours, theirs), (PRIMARY, BACKUP), strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", name, "link", "set", device, "up")

    def inside(self, host: str) -> list[str]:
        """What a command begins with that is to run there."""
        return ["ip", "netns", "exec", self.names[host]]

    @contextmanager
    def entered(self, host: str) -> Iterator[None]:
        """This thread makes its sockets there meanwhile."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(f"/run/netns/{self.names[host]}", os.O_RDONLY | os.O_CLOEXEC)
        set_namespace(there)
        try:
            yield
        finally:
            set_namespace(here)
            os.close(here)
            os.close(there)

    def end(self) -> None:
        for name in self.names.values():
            ip("netns", "delete", name)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def set_namespace(fd: int) -> None:
    import ctypes

    if ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")


class Daemon:
    """``remus-ha tapdisk`` on one of the hosts; ``told`` is empty where it did not start."""

    def __init__(
        self,
        hosts: Hosts,
        host: str,
        directory: Path,
        *options: str,
        address: str = ADDRESS,
    ) -> None:
        self.directory, self.image = directory, directory / "disk.img"
        directory.mkdir(exist_ok=True)
        self._attended, self._detached = "--attach" in options, "--detach" in options
        self._inside = hosts.inside(host)
        self.uri = f"tap:remus:{address}|aio:{self.image}"
        self.files = Files(directory / "tap", address)
        self.nbd = self.files.nbd
        self.said: list[str] = []
        self.process = subprocess.Popen(
            [*self._inside, *self.command(*options)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdout
        assert self.process.stderr
        self._words = b""
        line = read_line(self.process.stdout.fileno(), time.monotonic() + DEADLINE_S)
        self.told = line.decode().strip()
        if self.told:
            self.orders = Orders(self.files.orders, owns=False)
        else:
            self.said = self.process.stderr.read().decode().splitlines()
            self.process.wait(DEADLINE_S)

    def command(self, *options: str) -> list[str]:
        words = [sys.executable, "-m", "remus_ha.cmd.remus_ha", "tapdisk", self.uri]
        return [*words, "--directory", str(self.files.directory), *options]

    def stop_by_command(self) -> None:
        """``--stop``."""
        subprocess.run([*self._inside, *self.command("--stop")], check=True)

    def hear(self, words: str) -> str:
        """The first line with these words in it that was not asked for before; waits for it."""
        end = time.monotonic() + DEADLINE_S
        assert self.process.stderr
        fd = self.process.stderr.fileno()
        while True:
            for line in self.said:
                if words in line:
                    self.said.remove(line)
                    return line
            assert readable(fd, end - time.monotonic()), self.said
            octets = os.read(fd, 65536)
            assert octets, self.said
            *lines, self._words = (self._words + octets).split(b"\n")
            self.said += [line.decode() for line in lines]

    @property
    def role(self) -> str:
        return str(self.orders.status()["role"])

    @property
    def pid(self) -> int:
        """Of the process that serves."""
        raw = self.orders._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int(struct.unpack("iii", raw)[0])

    def receiver(self) -> Orders:
        """A receiver that has come: it hears whatever is said from now on."""
        made = Orders(self.files.orders)
        assert made.status()["attended"]
        return made

    def controller(self) -> FlushController:
        return FlushController(ADDRESS, self.files.directory)

    def client(self) -> Nbd:
        return Nbd(self.nbd)

    def content(self) -> bytes:
        """The whole disk, as a guest would read it."""
        client = self.client()
        found = client.read(0, client.size)
        client.close()
        return found

    def kill(self) -> None:
        """The process that serves dies, as by a power cut of its host."""
        pid = self.pid
        died = os.pidfd_open(pid)
        if self._attended:  # it would start another
            self.process.kill()
        os.kill(pid, signal.SIGKILL)
        self.process.wait(DEADLINE_S)
        assert readable(died, DEADLINE_S)
        os.close(died)

    def stop(self) -> int:
        """In order; the command's exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def end(self) -> None:
        """Whatever is left. Idempotent."""
        if self._detached and self.told:
            subprocess.run([*self._inside, *self.command("--stop")], capture_output=True)
        if self.process.poll() is None:
            self.process.kill()  # first: it would start another
            with contextlib.suppress(OSError, AttributeError):
                os.kill(self.pid, signal.SIGKILL)
            self.process.wait()
        with contextlib.suppress(OSError):
            pid, relay = int(self.files.relay_pid.read_text()), self.files.relay.resolve()
            if str(relay).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


class Pair:
    """A primary and a backup of one disk, whose images are the same at first."""

    def __init__(self, hosts: Hosts, directory: Path) -> None:
        self._hosts, self._directory = hosts, directory
        self._daemons: list[Daemon] = []
        content = os.urandom(SIZE)
        for host in ("primary", "backup"):
            (directory / host).mkdir()
            (directory / host / "disk.img").write_bytes(content)

    def start(self, host: str, *options: str) -> Daemon:
        daemon = Daemon(self._hosts, host, self._directory / host, *options)
        assert daemon.told, daemon.said
        self._daemons.append(daemon)
        return daemon

    def begin(self, *options: str) -> tuple[Daemon, Daemon]:
        """Primary and backup."""
        backup = self.start("backup", *options)
        primary = self.start("primary", *options)
        assert (primary.role, backup.role) == ("primary", "backup")
        return primary, backup

    def end(self) -> None:
        for daemon in self._daemons:
            daemon.end()


class KernelsDriver:
    """In place of ``nbd-client`` and the kernel (nbd_client.py); ``asked``: what it was."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        self.program = directory / "nbd-client"
        directory.mkdir()
        program = Path(__file__).with_name("nbd_client.py")
        self._be(f'exec {sys.executable} {program} {directory} "$@"')
        monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")

    def fails(self, why: str) -> None:
        """From now on."""
        self._be(f"echo {why} >&2; exit 1")

    def hangs_up(self, why: str) -> None:
        """From now on: it connects, and then it fails; whoever it was connected to has ended."""
        connect = f"{sys.executable} {Path(__file__).with_name('nbd_client.py')} {self._directory}"
        await_end = 'while [ -e /proc/$(cat "$2-pid") ]; do :; done'
        self._be(f'{connect} "$@"; {connect} -d "$3"; {await_end}; echo {why} >&2; exit 1')

    def _be(self, script: str) -> None:
        self.program.write_text(f"#!/bin/sh\n{script}\n")
        self.program.chmod(0o755)

    def device(self, name: str) -> Path:
        """Where its guest reads and writes, by NBD; it is attached on one host only."""
        (found,) = self._directory.glob(f"{name}-*.disk")
        return found

    @property
    def asked(self) -> list[str]:
        return (self._directory / "asked").read_text().splitlines()

    def end(self) -> None:
        pids = self._directory / "pids"
        for pid in pids.read_text().split() if pids.exists() else ():
            with contextlib.suppress(OSError):
                if str(self._directory).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(int(pid), signal.SIGKILL)


@contextmanager
def standing_still(daemon: Daemon) -> Iterator[None]:
    """Every thread of it, meanwhile."""
    pid = daemon.pid
    try:
        stand_still(pid)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def stand_still(pid: int) -> None:
    """Returns when every thread of the process does: some may take a while to."""
    end = time.monotonic() + DEADLINE_S
    os.kill(pid, signal.SIGSTOP)
    while any(_state(thread) != "T" for thread in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < end


def _state(thread: Path) -> str:
    return (thread / "stat").read_text().rpartition(")")[2].split()[0]


def await_answer(controller: FlushController) -> None:
    """To the flush that was begun. Raises what ``answered`` raises."""
    while not controller.answered():
        assert readable(controller, DEADLINE_S)


def digest(content: bytes) -> str:
    """Short, for a comparison whose failure is not to print a disk."""
    return hashlib.sha256(content).hexdigest()
