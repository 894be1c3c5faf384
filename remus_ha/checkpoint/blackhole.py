"""``--blackhole``: checkpoints into nothing, as the classic option. Nobody holds a copy.

Stands in for ``remus_ha.checkpoint.peer.Peer``: the stream is read and thrown away by a process of
its own, and an epoch is "acknowledged" when its mark is sent. UNSAFE, for measuring only.
"""

import socket
import subprocess
import time
from collections.abc import Callable

from remus_ha.checkpoint.peer import Where
from remus_ha.checkpoint.verification import Look
from remus_ha.loop import Loop
from remus_ha.stream.credentials import Credentials
from remus_ha.stream.frames import Hello, Phase, StopReason
from remus_ha.stream.sealed import Relay, Stream


class Blackhole:
    """The peer that is not there."""

    def __init__(self, loop: Loop, on_ack: Callable[[int], None]) -> None:
        self._loop, self._on_ack = loop, on_ack
        self._drain: subprocess.Popen[bytes] | None = None
        self.data: Stream | None = None
        self.round_trip_s = 0.0
        self.features: tuple[str, ...] = ()

    def connect(
        self, where: Where, own: Credentials, hello: Hello, relay: Relay | None = None
    ) -> None:
        ours, theirs = socket.socketpair()
        self.data = Stream(ours)
        with theirs:
            self._drain = subprocess.Popen(
                ["cat"], stdin=theirs.fileno(), stdout=subprocess.DEVNULL
            )
        ours.setblocking(False)

    def excuse(self, late_s: float) -> None:
        """It is never silent."""

    def mark(self, n: int, offset: int) -> None:
        self._loop.after(0.0, lambda: self._on_ack(n))

    def close_disks(self, n: int) -> None:
        """There are no disks to close: nobody has a copy of them."""

    def hash_disk(self, n: int, look: Look) -> None:
        """Nobody looks."""

    def beat(self, n: int, phase: Phase) -> None:
        """Nobody listens."""

    def tell_stop(self, reason: StopReason) -> None:
        """Nobody listens."""

    def tell_promote(self, n: int) -> None:
        """Nobody could."""

    def silent_s(self) -> float:
        return 0.0

    @property
    def heard_at(self) -> float:
        return time.monotonic()

    def close(self) -> None:
        """Idempotent."""
        data, self.data = self.data, None
        if data is not None:
            self._loop.forget(data.sock.fileno())
            data.close()
        drain, self._drain = self._drain, None
        if drain is not None:
            drain.terminate()
            drain.wait()
