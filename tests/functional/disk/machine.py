"""A primary and a backup of one disk: a real QEMU without a machine, a real store, no Xen.

What "the guest" writes comes into that QEMU over NBD.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from remus_ha.disk import tls
from remus_ha.disk.base import DiskDriver, Stage
from remus_ha.disk.errors import DiskError
from remus_ha.disk.store import launch
from remus_ha.disk.store.launch import Setup
from remus_ha.lab.qmp import Qmp
from remus_ha.waiting import readable

SIZE = 48 << 20
DEADLINE_S = 30.0


class Guest:
    """A QEMU that has the disk ``xvda`` as libxl opens it, and serves it as its guest's disk.

    A qcow2 one lies upon another, whose octets are all that there is at first. ``threaded``: it is
    served from a thread of its own, as Xen's disks are.
    """

    def __init__(
        self,
        directory: Path,
        *,
        direct: bool = False,
        image_format: str = "raw",
        threaded: bool = False,
    ) -> None:
        self.image = directory / "primary.img"
        self.image.write_bytes(os.urandom(SIZE))
        self.node = f"xvda-{image_format}"
        if image_format == "qcow2":
            self.image = layered(directory / "primary.qcow2", self.image)
        self.qmp, self.nbd = directory / "qmp", directory / "guest.nbd"
        past_cache = ",file.cache.direct=on,file.aio=native" if direct else ""
        own = directory / "own-qmp"
        pid = directory / "qemu.pid"
        # It returns when QEMU serves; who connects earlier may hang its monitor's start.
        subprocess.run(
            [
                *("qemu-system-x86_64", "-daemonize", "-pidfile", str(pid)),
                *("-machine", "none", "-nodefaults", "-display", "none"),
                *("-object", "iothread,id=xvda"),
                "-blockdev",
                f"driver={image_format},node-name={self.node},discard=unmap,file.driver=file,file.locking=off,"
                f"file.discard=unmap,file.filename={self.image}{past_cache}",
                *("-qmp", f"unix:{self.qmp},server=on,wait=off"),
                *("-qmp", f"unix:{own},server=on,wait=off"),
            ],
            check=True,
            timeout=DEADLINE_S,
        )
        self._pid = int(pid.read_text())
        self._process = os.pidfd_open(self._pid)
        with Qmp(own) as monitor:
            address = {"type": "unix", "data": {"path": str(self.nbd)}}
            monitor.execute("nbd-server-start", addr=address)
            monitor.execute(
                "block-export-add",
                type="nbd",
                id="guest",
                name="",
                writable=True,
                **{"node-name": self.node, **({"iothread": "xvda"} if threaded else {})},
            )
        self.own = own
        self.paused = 0

    def detach(self) -> None:
        """As libxl does: the node goes, and what lies below it if nobody else has that."""
        with Qmp(self.own) as monitor:
            monitor.execute("block-export-del", id="guest", mode="hard")
            monitor.wait_event("BLOCK_EXPORT_DELETED")
            monitor.execute("blockdev-del", **{"node-name": self.node})

    def attach(self, image: Path) -> None:
        """Another image as the same disk."""
        with Qmp(self.own) as monitor:
            file = {"driver": "file", "filename": str(image)}
            options = {"driver": "raw", "node-name": self.node, "file": file}
            monitor.execute("blockdev-add", **options)

    def has_open(self, file: Path) -> bool:
        """Whether its QEMU has."""
        for descriptor in Path(f"/proc/{self._pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # a monitor's connection, closed by now
                if os.readlink(descriptor) == str(file):
                    return True
        return False

    @contextmanager
    def quiesce(self) -> Iterator[None]:
        self.paused += 1
        yield
        self.paused += 100

    def nodes(self) -> dict[str, bool]:
        """Names of QEMU's block nodes, and whether each goes past the page cache."""
        with Qmp(self.own) as monitor:
            found = monitor.execute("query-named-block-nodes")
        return {node["node-name"]: node["cache"]["direct"] for node in found}

    def leftovers(self) -> list[str]:
        with Qmp(self.own) as monitor:
            jobs = monitor.execute("query-block-jobs")
            exports = monitor.execute("query-block-exports")
        found = [*self.nodes(), *(job["device"] for job in jobs), *(e["id"] for e in exports)]
        return sorted(name for name in found if name.startswith("remus-"))

    def signal(self, number: signal.Signals) -> None:
        """To its QEMU."""
        signal.pidfd_send_signal(self._process, number)

    def end(self) -> None:
        """Idempotent."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        assert readable(self._process, DEADLINE_S)


def layered(path: Path, base: Path) -> Path:
    """A qcow2 image that has nothing of its own yet: all is in the raw one below."""
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "raw", str(path)]
    subprocess.run(command, check=True, timeout=DEADLINE_S)
    return path


class Backup:
    """A store that serves over TLS, or, not ``secure``, in the clear; ``image``: what it finds."""

    def __init__(
        self,
        directory: Path,
        *,
        secure: bool = True,
        image_format: str = "raw",
        image: bytes | None = None,
    ) -> None:
        self.image = directory / "backup.img"
        if image is not None:
            self.image.write_bytes(image)
        self.tls = tls.save(tls.create(), directory / "tls")
        self.setup = Setup(
            disk="xvda",
            path=str(self.image),
            size=SIZE,
            known=True,
            directory=str(directory / "journal"),
            socket=str(directory / "store.sock"),
            ack="received",
            limit=1 << 30,
            format=image_format,
        )
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            self.port = listener.getsockname()[1]
            key = self.tls if secure else None
            self.pid = launch.start(
                self.setup, directory / "setup", listener, directory / "log", key
            )

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def stop(self) -> None:
        """It hangs from now on, every thread of it."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def end(self) -> None:
        try:
            self.signal(signal.SIGKILL)
        except ProcessLookupError:
            pass


def reach(driver: DiskDriver, stage: Stage) -> DiskError | None:
    """Serve the driver until it is at ``stage``; the loss that it told of on the way."""
    loss: DiskError | None = None
    end = time.monotonic() + DEADLINE_S
    while driver.stage is not stage:
        assert readable(driver, end - time.monotonic()), driver.stage
        try:
            driver.pump()
        except DiskError as e:
            loss = loss or e
    return loss


class Orders:
    """A client of a store's, a block server's or a daemon's local socket: its owner, or not."""

    def __init__(self, path: Path | str, *, owns: bool = True) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(DEADLINE_S)
        self._socket.connect(str(path))
        if owns:
            self.order("attend")
        self._lines = self._socket.makefile("rb")
        self._heard: list[dict[str, Any]] = []

    def order(self, verb: str, n: int = -1, **place: int) -> None:
        self._socket.sendall(json.dumps({"do": verb, "n": n, **place}).encode() + b"\n")

    def said(self, word: str) -> dict[str, Any]:
        """The first thing said that is ``word`` and was not asked for before."""
        for told in self._heard:
            if told["said"] == word:
                self._heard.remove(told)
                return told
        while True:
            line = self._lines.readline()
            assert line, f"it went away before it said {word}"
            told = json.loads(line)
            if told["said"] == word:
                return dict(told)
            self._heard.append(told)

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing is said for so long."""
        return not readable(self._socket, seconds)

    def status(self) -> dict[str, Any]:
        self.order("status")
        return self.said("status")

    def close(self) -> None:
        """At once, as when its process dies."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._lines.close()
        self._socket.close()
