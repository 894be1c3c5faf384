"""Two ends of a session on loopback, for the tests of this directory."""

import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from remus_ha.stream import credentials
from remus_ha.stream.control import ControlChannel, accept_control, connect_control
from remus_ha.stream.credentials import Credentials, PinnedContext
from remus_ha.stream.frames import Frame
from remus_ha.stream.tcp import listen

LOOPBACK = "127.0.0.1"
DEADLINE_S = 10.0

T = TypeVar("T")


class Background(Generic[T]):
    """A call in a thread of its own; ``result()`` joins and returns or raises its outcome."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._outcome: T
        self._error: BaseException | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome = self._call()
        except BaseException as e:  # handed to whoever asks for the result
            self._error = e

    def result(self) -> T:
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "still running at the deadline"
        if self._error:
            raise self._error
        return self._outcome


@dataclass
class Session:
    """The credentials of both sides, and a listener."""

    primary: Credentials = field(default_factory=credentials.create)
    backup: Credentials = field(default_factory=credentials.create)
    listener: socket.socket = field(default_factory=lambda: listen(LOOPBACK))

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.listener.getsockname()[:2]
        return host, port

    def client(self) -> PinnedContext:
        return credentials.client_context(self.primary, self.backup.certificate)

    def server(self) -> PinnedContext:
        return credentials.server_context(self.backup, self.primary.certificate)

    def channels(self) -> tuple[ControlChannel, ControlChannel]:
        """Primary's and backup's end of an established control channel."""
        accepted = Background(lambda: accept_control(self.listener, self.server(), DEADLINE_S))
        connected = connect_control(self.address, self.client(), DEADLINE_S)
        return connected, accepted.result()


def receive(channel: ControlChannel, count: int, deadline_s: float = DEADLINE_S) -> list[Frame]:
    """``count`` frames, waiting the way a loop does: by epoll, by ``ready``, by ``wants_write``."""
    frames: list[Frame] = []
    until = time.monotonic() + deadline_s
    with select.epoll() as epoll:
        epoll.register(channel.fileno(), select.EPOLLIN)
        while len(frames) < count:
            frames += channel.pump()
            write = select.EPOLLOUT if channel.wants_write else 0
            epoll.modify(channel.fileno(), select.EPOLLIN | write)
            left_s = until - time.monotonic()
            assert left_s > 0, f"{len(frames)} of {count} frames by the deadline"
            if not channel.ready and len(frames) < count:
                epoll.poll(left_s)
    return frames
