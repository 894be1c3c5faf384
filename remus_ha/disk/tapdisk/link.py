"""The driver's end of a block server: its process, its listening socket, its local socket."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import AsyncIterator
from typing import Any

from remus_ha.disk import plugin
from remus_ha.disk.orders import attend
from remus_ha.disk.tapdisk import launch
from remus_ha.disk.tapdisk.errors import ServerDidNotStart, ServerGone
from remus_ha.disk.tapdisk.launch import Setup
from remus_ha.disk.tapdisk.names import Files

_CHUNK = 65536
_END_S = 5.0
_FREE_S = 1.5  # a server that cannot answer by then stands in the guest's way
_UCRED = struct.Struct("iII")  # unix(7)


class Link:
    """One connection to a block server that lives. Orders may be given by any thread."""

    def __init__(self, files: Files) -> None:
        """Raises OSError where no block server serves them."""
        self._files = files
        self._partial = b""
        self._socket = attend(files.orders)
        self._socket.setblocking(False)

    def order(self, verb: str, n: int = -1) -> None:
        """Give an order; a server that is gone shows itself where it is listened to."""
        line = json.dumps({"do": verb, "n": n}).encode() + b"\n"
        with contextlib.suppress(OSError):
            self._socket.send(line)

    async def said(self) -> AsyncIterator[dict[str, Any]]:
        """What it says, one after another. Raises ServerGone at its end."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                octets = await loop.sock_recv(self._socket, _CHUNK)
            except OSError:
                octets = b""
            if not octets:
                raise ServerGone(vdev=self._files.vdev, log=self._files.log)
            *lines, self._partial = (self._partial + octets).split(b"\n")
            for line in lines:
                yield json.loads(line)

    async def freed(self) -> None:
        """Until it says so, or is gone."""
        with contextlib.suppress(ServerGone):
            async for told in self.said():
                if told["said"] == "freed":
                    return

    def kill(self) -> None:
        """End the process at the other end, whatever it does."""
        raw = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        with contextlib.suppress(ProcessLookupError):
            os.kill(_UCRED.unpack(raw)[0], signal.SIGKILL)

    async def over(self) -> None:
        """Until it is gone."""
        with contextlib.suppress(ServerGone):
            async for _ in self.said():
                pass

    def close(self) -> None:
        """Idempotent. A server that loses its driver replicates no more."""
        self._socket.close()


class Server:
    """One disk's block server: started, or found where an earlier process has left it.

    ``link`` is None once its end is seen, by another task or thread perhaps: read it once.
    A QEMU that has lost it connects again at once to the same listening socket, and waits there.
    Where its disk is only to be moved back, ``stand_in`` is there sooner than another block server.
    """

    def __init__(self, setup: Setup, files: Files) -> None:
        self._setup, self._files = setup, files
        self._listener: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.link: Link | None = None

    def find(self) -> bool:
        """Whether one lives that an earlier process has left; it is this one's from now on."""
        with contextlib.suppress(OSError):
            self.link = Link(self._files)
        return self.link is not None

    def start(self) -> Link:
        """Raises ServerDidNotStart, ServerRefused, ServerGone."""
        if shutil.which("qemu-nbd", path=plugin.environment()["PATH"]) is None:
            detail = "qemu-nbd, which would stand in for it, is missing"
            raise ServerDidNotStart(disk=self._files.vdev, detail=detail, log=self._files.log)
        self._listener = self._listen()
        starting = launch.begin(self._setup, self._files.setup, self._listener, self._files.log)
        starting.wait()
        self._process = starting.process
        self.find()
        link = self.link
        if link is None:
            self._process.kill()
            raise ServerGone(vdev=self._files.vdev, log=self._files.log)
        return link

    def _listen(self) -> socket.socket:
        files, listener = self._files, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            files.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            files.nbd.unlink(missing_ok=True)
            listener.bind(str(files.nbd))
            listener.listen(8)
        except OSError as e:
            listener.close()
            raise ServerDidNotStart(disk=files.vdev, detail=e, log=files.log) from e
        return listener

    def stand_in(self) -> None:
        """In place of a block server that has ended: the image alone. Raises ServerDidNotStart.

        qemu-nbd outlives whoever starts it, and ends when its last client is gone. One that is told
        to end closes its connections, where nbdkit would answer the guest's writes with errors.
        """
        if self._listener is None:
            self._listener = self._listen()
        file = {"filename": self._setup.path, "locking": "off"}  # the guest's QEMU has it as well
        image = "json:" + json.dumps({"driver": "raw", "file": file})
        try:
            with open(self._files.log, "ab") as log:
                command = ["qemu-nbd", "--discard=unmap", image]
                self._process = plugin.serving(self._listener, command, output=log.fileno())
        except OSError as e:
            raise ServerDidNotStart(disk=self._files.vdev, detail=e, log=self._files.log) from e

    @property
    def lives(self) -> bool:
        """Whether somebody serves, as far as this object has noticed."""
        return self.link is not None or (self._process is not None and self._process.poll() is None)

    async def over(self) -> None:
        """Until whoever serves has ended; then ``lives`` is false."""
        link, process = self.link, self._process
        if link is not None:
            await link.over()
            link.close()
            self.link = None
        if process is not None:
            await _ended(process)
            self._process = None

    def order(self, verb: str, n: int = -1) -> None:
        """Nobody may be there. By any thread."""
        link = self.link
        if link is not None:
            link.order(verb, n)

    async def free(self) -> None:
        """From now on the guest waits for its image alone; a server that hangs is ended."""
        link = self.link
        if link is not None:
            link.order("free")
            try:
                await asyncio.wait_for(link.freed(), _FREE_S)
            except TimeoutError:
                link.kill()

    async def end(self) -> None:
        """Nothing of the guest's goes through it any more. Idempotent."""
        link = self.link
        if link is not None:
            link.order("quit")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(link.over(), _END_S)
            link.close()
        if self._listener is not None:
            self._listener.close()
        process, self._process = self._process, None
        if process is not None:  # the kernel has all that it was asked to write
            process.kill()
            process.wait()


async def _ended(process: "subprocess.Popen[bytes]") -> None:
    """Until it has ended; it is reaped then."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    fd = os.pidfd_open(process.pid)
    loop.add_reader(fd, ended.set)
    try:
        await ended.wait()
        process.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)
