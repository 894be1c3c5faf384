"""The primary's end of the data stream in the loop: pipe to socket, held during a pause.

While the guest is suspended nothing is sent unless the pipe is filling up: the copier shall have
the processor. ``moved_at`` is when the other host last took an octet: what health is judged by.
"""

import os
import socket
import struct
import time

from remus_ha.checkpoint.epochs import Trouble
from remus_ha.loop import READ, WRITE, Loop
from remus_ha.stream.errors import PeerClosed
from remus_ha.stream.mover import Mover, Wait, grow_pipe
from remus_ha.stream.sealed import KERNEL, Stream
from remus_ha.stream.tcp import pace

_ACKED = 120  # where it is in the structure
BUDGET = 4 << 20  # octets per round, so that control frames are never kept waiting
SEALING_BUDGET = 256 << 10  # where each octet is encrypted in this very thread
PIPE_WANTED = 64 << 20
MBIT = 1_000_000 // 8  # octets


def acknowledged(sock: socket.socket) -> int:
    """Octets that the other side's TCP has taken (``tcpi_bytes_acked`` of linux/tcp.h)."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED + 8)
    count: int = struct.unpack_from("Q", info, _ACKED)[0]
    return count


class Outflow:
    """Owns the pipe; ``write_end`` goes to the save helper."""

    def __init__(self, loop: Loop, stream: Stream, rate_mbit_s: int = 0) -> None:
        """``rate_mbit_s``: what the other host is sent at most; 0: no bound."""
        self._loop, self._sock, self._wire = loop, stream.sock, stream.wire
        if rate_mbit_s and self._wire is not None:
            pace(self._wire, rate_mbit_s * MBIT)  # a relay's connection as well: it is one socket
        self._budget = SEALING_BUDGET if stream.how == KERNEL else BUDGET
        self._pipe, self.write_end = os.pipe2(os.O_CLOEXEC)
        self.capacity = grow_pipe(self._pipe, PIPE_WANTED)
        os.set_blocking(self._pipe, False)
        self._mover = Mover(self._pipe, self._sock)
        self._going = False
        self._taken = 0
        self.moved_at = time.monotonic()

    @property
    def moved(self) -> int:
        """Octets handed to TCP, or to the relay before it."""
        return self._mover.moved

    def look(self) -> None:
        """Note progress: octets that the other host's TCP has taken, not only ours."""
        wire = self._wire
        if wire is not None and wire.fileno() < 0:
            return  # cut in this very round of the loop
        taken = self._mover.moved if wire is None else acknowledged(wire)
        if taken != self._taken:
            self._taken = taken
            self.moved_at = time.monotonic()

    def backlog(self) -> int:
        return self._mover.backlog()

    def offset(self) -> int:
        return self._mover.offset()

    def nearly_full(self) -> bool:
        """More than half full: a copy will not fit, it goes on at the network's speed."""
        return self._mover.backlog() > self.capacity // 2

    def hold(self) -> None:
        """Stop sending. Idempotent."""
        self._going = False
        self._loop.forget(self._pipe)
        self._loop.forget(self._sock.fileno())

    def go(self) -> None:
        """Send whatever comes. Idempotent."""
        self._going = True
        self._loop.watch(self._pipe, self._on_ready)

    def _on_ready(self, _events: int) -> None:
        try:
            wait = self._mover.pump(self._budget)
        except PeerClosed as e:
            self.hold()
            raise Trouble(f"the data connection: {e}") from e
        self._wait_for(wait)

    def _wait_for(self, wait: Wait) -> None:
        if wait is Wait.SINK:
            self._loop.forget(self._pipe)
            self._loop.watch(self._sock.fileno(), self._on_ready, WRITE)
        elif wait is Wait.END:
            self.hold()
        else:
            self._loop.forget(self._sock.fileno())
            self._loop.watch(self._pipe, self._on_ready, READ)

    def close(self) -> None:
        """Idempotent. The socket stays open: its end would tell the backup more than is known."""
        if self._pipe < 0:
            return
        self.hold()
        os.close(self._pipe)
        self.close_write_end()
        self._pipe = -1

    def close_write_end(self) -> None:
        """The save helper has its own copy."""
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1
