"""The driver's end of a block server: its process, its listening socket, its local socket."""

import asyncio
import contextlib
import json
import socket
import subprocess
from collections.abc import AsyncIterator
from typing import Any

from remus_ha.disk.tapdisk import launch
from remus_ha.disk.tapdisk.errors import ServerDidNotStart, ServerGone
from remus_ha.disk.tapdisk.launch import Setup
from remus_ha.disk.tapdisk.names import Files

_CHUNK = 65536
_END_S = 5.0


class Link:
    """One connection to a block server that lives. Orders may be given by any thread."""

    def __init__(self, files: Files) -> None:
        """Raises OSError where no block server serves them."""
        self._files = files
        self._partial = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(str(files.orders))
        except OSError:
            self._socket.close()
            raise
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

    Started by this process it can be started again on the same listening socket: a QEMU that lost
    a server connects again at once, and waits in between.
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
        """Also where one has ended. Raises ServerDidNotStart, ServerRefused, ServerGone."""
        self._reap()
        if self.link is not None:
            self.link.close()
        if self._listener is None:
            self._listener = self._listen()
        starting = launch.begin(self._setup, self._files.setup, self._listener, self._files.log)
        starting.wait()
        self._process = starting.process
        if not self.find() or self.link is None:
            self._process.kill()
            raise ServerGone(vdev=self._files.vdev, log=self._files.log)
        return self.link

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

    def order(self, verb: str, n: int = -1) -> None:
        """Nobody may be there."""
        if self.link is not None:
            self.link.order(verb, n)

    async def end(self) -> None:
        """Nothing of the guest's goes through it any more. Idempotent."""
        if self.link is not None:
            self.link.order("quit")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.link.over(), _END_S)
        self._reap()
        self.leave()

    def leave(self) -> None:
        """It goes on alone, for as long as a QEMU is connected. Idempotent."""
        if self.link is not None:
            self.link.close()
        if self._listener is not None:
            self._listener.close()

    def _reap(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
