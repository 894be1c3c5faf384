"""The thread that carries a backlog to the store: an NBD client with many requests under way.

Only the block server's process imports this: libnbd's module belongs to the distribution's Python.
"""

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import nbd

from remus_ha.disk.tapdisk.backlog import Backlog, Copied, Entry, Mark, Piece
from remus_ha.disk.tapdisk.store_connection import (
    CONNECT_S,
    StoreLost,
    Where,
    check_size,
    secure,
)
from remus_ha.stream.tcp import tune

DEPTH = 32  # requests under way; nbdkit takes 16 at a time by itself
MOVING_S = 0.1
_READ, _WRITE = 1, 2  # of aio_get_direction


@dataclass(frozen=True, slots=True)
class Told:
    """Called by the sender's thread; ``lost`` at most once, last."""

    connected: Callable[[], None]
    reached: Callable[[int], None]
    copied: Callable[[], None]
    moving: Callable[[], None]  # the store takes something; at most every ``MOVING_S``
    lost: Callable[[str], None]


class Sender:
    """One connection in its life: whatever ends it, there is no other."""

    def __init__(self, backlog: Backlog, where: Where, told: Told) -> None:
        self._backlog, self._where, self._told = backlog, where, told
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._flying: dict[int, Piece] = {}  # by libnbd's cookie
        self._ended = False
        self._moved_at = 0.0
        backlog.wake = self._stir

    def start(self) -> None:
        threading.Thread(target=self._run, name="sender", daemon=True).start()

    def end(self) -> None:
        """Cut the connection; nothing is told any more. Idempotent."""
        self._ended = True
        self._stir()

    def _stir(self) -> None:
        os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        try:
            handle = self._connect()
            self._told.connected()
            while not self._ended:
                self._send(handle)
                self._wait(handle, None)
                self._collect(handle)
        except (nbd.Error, OSError, StoreLost) as e:
            if not self._ended:
                self._told.lost(e.string if isinstance(e, nbd.Error) else str(e))

    # --- the connection

    def _connect(self) -> nbd.NBD:
        """Raises OSError, nbd.Error, StoreLost."""
        where, deadline = self._where, time.monotonic() + CONNECT_S
        sock = socket.create_connection((where.address, where.port), timeout=CONNECT_S)
        tune(sock, where.patience_ms, idle=True)
        handle = nbd.NBD()
        secure(handle, where)
        handle.aio_connect_socket(sock.detach())
        while not handle.aio_is_ready():
            if self._ended or time.monotonic() > deadline:
                raise StoreLost(f"the store does not answer within {CONNECT_S:.0f} s")
            self._wait(handle, deadline)
        check_size(handle, where.size)
        return handle

    def _wait(self, handle: nbd.NBD, deadline: float | None) -> None:
        """Until the connection or somebody here has something new; serve the connection."""
        direction = handle.aio_get_direction()
        wanted = (select.POLLIN if direction & _READ else 0) | (
            select.POLLOUT if direction & _WRITE else 0
        )
        poll = select.poll()
        poll.register(handle.aio_get_fd(), wanted)
        poll.register(self._wake, select.POLLIN)
        left_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        for fd, events in poll.poll(left_ms):
            if fd == self._wake:
                os.eventfd_read(self._wake)
            else:
                _serve(handle, events)
                self._look_moving()

    def _look_moving(self) -> None:
        """The connection has taken or brought something: a dead store's does neither for long."""
        now = time.monotonic()
        if self._flying and now >= self._moved_at + MOVING_S:
            self._moved_at = now
            self._told.moving()

    # --- requests

    def _send(self, handle: nbd.NBD) -> None:
        while len(self._flying) < DEPTH and not self._ended:
            entry = self._backlog.take()
            if entry is None:
                return
            self._give(handle, entry)

    def _give(self, handle: nbd.NBD, entry: Entry) -> None:
        if isinstance(entry, Mark):
            self._told.reached(entry.n)
        elif isinstance(entry, Copied):
            self._told.copied()
        elif entry.data is None:
            self._flying[handle.aio_zero(entry.length, entry.offset)] = entry
        else:
            self._flying[handle.aio_pwrite(entry.data, entry.offset)] = entry

    def _collect(self, handle: nbd.NBD) -> None:
        """Raises nbd.Error for a request that the store has refused."""
        while self._flying and (cookie := handle.aio_peek_command_completed()):
            handle.aio_command_completed(cookie)
            self._backlog.acknowledged(self._flying.pop(cookie))


def _serve(handle: nbd.NBD, events: int) -> None:
    """One step: after it the connection may wait for something else. Raises nbd.Error, StoreLost"""
    if events & (select.POLLIN | select.POLLHUP):
        handle.aio_notify_read()
    elif events & select.POLLOUT:
        handle.aio_notify_write()
    else:
        raise StoreLost("the store closed the connection")
    if handle.aio_is_dead() or handle.aio_is_closed():
        raise StoreLost("the store closed the connection")
