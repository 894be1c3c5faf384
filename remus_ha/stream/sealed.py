"""The data connection inside TLS: a relay's process on either side, the stream plain here."""

import base64
import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from remus_ha.exceptions import RemusError
from remus_ha.stream import errors
from remus_ha.stream.credentials import Credentials, encode_certificate
from remus_ha.stream.errors import HandshakeFailed, PeerClosed, RelayGone, Unreachable, WrongPeer
from remus_ha.stream.relay import ORDER_LIMIT, READY

SLACK_S = 2.0  # a relay keeps its deadline itself
START_S = 100.0  # a loaded host takes long to start an interpreter
BEAT_S = 1.0
KERNEL = "TLS by the kernel"
_TOLD = {e.__name__: e for e in (HandshakeFailed, PeerClosed, Unreachable, WrongPeer)}


@dataclass(frozen=True, slots=True)
class Stream:
    """``sock`` takes or gives the stream; ``wire`` is the connection with the other host.

    ``how``: for people.
    """

    sock: socket.socket
    wire: socket.socket | None = None
    how: str = "plain"
    relay: "Relay | None" = None

    def close(self) -> None:
        self.sock.close()
        if self.wire is not None:
            self.wire.close()
        if self.relay is not None:
            self.relay.close()


class Relay:
    """One relay's process, started before it is needed: an interpreter takes its time."""

    def __init__(
        self, own: Credentials, peer_certificate: bytes, listener: socket.socket | None = None
    ) -> None:
        """``listener``: where the backup's awaits the primary's. Raises RelayGone."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = ["--control", str(theirs.fileno())]
        fds = [theirs.fileno()]
        if listener is not None:
            words += ["--listener", str(listener.fileno())]
            fds.append(listener.fileno())
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "remus_ha.stream.relay", *words],
                    pass_fds=fds,
                    stdin=subprocess.DEVNULL,
                )
            except OSError as e:
                self._control.close()
                raise RelayGone(detail=e.strerror or e) from e
        self._is_ready = False
        self._say(
            {
                "certificate": encode_certificate(own.certificate),
                "pem": own.pem.decode(),
                "peer": encode_certificate(peer_certificate),
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_ready(self, beat: Callable[[], None]) -> None:
        """Until it can be told what to connect; ``beat`` is called meanwhile. Raises RelayGone."""
        until = time.monotonic() + START_S
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while not poll.poll(BEAT_S * 1000):
            beat()
            if time.monotonic() > until:
                self.close()
                raise RelayGone(detail=f"it did not start within {START_S:.0f} s")
        if self._take()[0] != READY:
            self.close()
            raise RelayGone(detail="it ended and said nothing")
        self._is_ready = True

    def connect(
        self, address: tuple[str, int], session: bytes, key: bytes, deadline_s: float
    ) -> Stream:
        """The primary's end; non-blocking. Raises RelayGone and what ``connect_data`` raises."""
        order = {"host": address[0], "port": address[1], **_opening(session, key)}
        answer, fds = self._ask(order, deadline_s)
        socks = [socket.socket(fileno=fd) for fd in fds]
        # The wire is the relay's too, which waits in it: whether it blocks is not to be touched.
        socks[0].setblocking(False)
        if answer["kernel"]:
            return Stream(socks[0], socks[0], KERNEL, self)
        return Stream(socks[0], socks[1], "TLS", self)

    def accept(self, session: bytes, key: bytes, deadline_s: float) -> Stream:
        """The backup's end; non-blocking. Raises RelayGone and what ``accept_data`` raises."""
        _, fds = self._ask(_opening(session, key), deadline_s)
        sock = socket.socket(fileno=fds[0])
        sock.setblocking(False)
        return Stream(sock, how="TLS", relay=self)

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # its end shows itself in its answer
            self._control.send(json.dumps(message).encode())

    def _ask(self, order: dict[str, Any], deadline_s: float) -> tuple[dict[str, Any], list[int]]:
        if not self._is_ready:
            self.wait_ready(lambda: None)
        self._say({**order, "deadline_s": deadline_s})
        try:
            octets, fds = self._answer(time.monotonic() + deadline_s + SLACK_S)
            if not octets:
                raise RelayGone(detail="it ended and said nothing")
            answer = json.loads(octets)
            if "error" in answer:
                raise _error(answer)
        except BaseException:
            self.close()
            raise
        return answer, fds

    def _answer(self, until: float) -> tuple[bytes, list[int]]:
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
            raise RelayGone(detail="it does not answer")
        return self._take()

    def _take(self) -> tuple[bytes, list[int]]:
        """A message, and the descriptors that came with it; an empty one where it has ended."""
        try:
            octets, fds, _flags, _address = socket.recv_fds(self._control, ORDER_LIMIT, 2)
        except ConnectionError:
            return b"", []
        for fd in fds:
            os.set_inheritable(fd, False)
        return octets, fds

    def close(self) -> None:
        """It ends. Idempotent; after a stream was closed it is about to."""
        self._control.close()
        self._process.kill()
        self._process.wait()


def _opening(session: bytes, key: bytes) -> dict[str, str]:
    return {"session": session.hex(), "key": base64.b64encode(key).decode()}


def _error(answer: dict[str, Any]) -> RemusError:
    kind = _TOLD.get(answer["error"], errors.HandshakeFailed)
    facts = answer["facts"]
    try:
        return kind(**facts)
    except (KeyError, TypeError):
        return HandshakeFailed(detail=str(facts))
