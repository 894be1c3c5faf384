"""Page octets between pipe and socket by ``splice(2)``: they never enter the interpreter.

Driven by a single-threaded loop: ``pump`` never blocks and moves at most its budget; what it
returns says which descriptor to wait for. Sockets must be non-blocking.

Offsets count octets of the data stream from its first one, on both sides alike.
"""

import enum
import fcntl
import os
import select
import socket
import struct
import termios
from pathlib import Path

from remus_ha.stream.errors import PeerClosed, ReaderGone, StreamOverrun

CHUNK = 1 << 20
#: Octets of the record that ends an epoch.
TAIL = 8
PIPE_MAX = Path("/proc/sys/fs/pipe-max-size")
#: The kernel keeps a pipe's page table in one piece, at most 4 MiB of it, 40 octets to a page.
PIPE_LIMIT = 256 << 20

_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class Wait(enum.Enum):
    """Why ``pump`` stopped: what has to happen before it is worth another call."""

    BUDGET = "budget"  # nothing: the budget is used up, there may be more
    SOURCE = "source"  # the source becomes readable
    SINK = "sink"  # the sink becomes writable
    LIMIT = "limit"  # the limit is reached, exactly; a new one has to be set
    END = "end"  # nothing: the source has ended


class Mover:
    """Primary: the memory stream, from the pipe that the save helper fills to the socket.

    ``moved`` octets have gone to the kernel's TCP. The helper writes nothing between the end
    of an epoch's copy and our answer to it, so ``offset()`` then is the epoch's end, exactly.
    """

    def __init__(self, pipe_r: int, sock: socket.socket) -> None:
        self._pipe = pipe_r
        self._sock = sock.fileno()
        self._poll = select.poll()
        self._poll.register(pipe_r, select.POLLIN)
        self.moved = 0

    def backlog(self) -> int:
        """Octets in the pipe. The kernel counts page by page: once an epoch, not once a turn."""
        return readable(self._pipe)

    def offset(self) -> int:
        """Octets of the stream written so far, moved or not."""
        return self.moved + self.backlog()

    def pump(self, budget_bytes: int) -> Wait:
        """Move what both sides allow. Raises PeerClosed when the connection ended or broke.

        END: the pipe is empty and nobody has it open for writing.
        """
        while budget_bytes > 0:
            try:
                count = os.splice(self._pipe, self._sock, min(budget_bytes, CHUNK), flags=_FLAGS)
            except BlockingIOError:
                return Wait.SINK if self._poll.poll(0) else Wait.SOURCE
            except OSError as e:
                raise PeerClosed(detail=e.strerror) from e
            if count == 0:
                return Wait.END
            self.moved += count
            budget_bytes -= count
        return Wait.BUDGET


class Inflow:
    """Backup: the memory stream, from the socket into the restore's pipe.

    Never takes an octet past ``limit``, so that the receiver can put a record of its own exactly
    between two epochs. ``limit`` None: no limit, for as long as no epoch's end is known.

    Holds back the last ``TAIL`` octets of what has come, wherever the limit is: the pipe, which
    must not block, never gets an epoch's last record. At the limit that is ``tail``, else None.
    """

    def __init__(self, sock: socket.socket, pipe_w: int, limit: int | None = None) -> None:
        self._sock = sock
        self._pipe = pipe_w
        self.moved = 0  # with those that are held back
        self.tail: bytes | None = None
        self._held = b""
        self._limit = limit

    @property
    def limit(self) -> int | None:
        return self._limit

    @limit.setter
    def limit(self, offset: int | None) -> None:
        """Raises StreamOverrun when more than ``offset`` octets have come through already."""
        if offset is not None and offset < self.moved:
            raise StreamOverrun(offset=self.moved, limit=offset)
        self._limit = offset
        self.tail = None

    def pump(self, budget_bytes: int) -> Wait:
        """Move what both sides and the limit allow.

        LIMIT takes precedence over END and BUDGET. Raises PeerClosed when the connection broke,
        ReaderGone when nobody has the pipe open for reading.
        """
        while True:
            if not self._give(len(self._held) - TAIL):
                return Wait.SINK
            if self.moved == self._limit:
                if self.tail is None:
                    self.tail, self._held = self._held, b""
                return Wait.LIMIT
            if budget_bytes <= 0:
                return Wait.BUDGET
            allowed = min(budget_bytes, CHUNK)
            if self._limit is not None:
                allowed = min(allowed, self._limit - self.moved)
            bulk = min(readable(self._sock.fileno()), allowed) - TAIL
            if bulk > 0:
                count = self._splice(bulk) if self._give(len(self._held)) else 0
                if count == 0:
                    return Wait.SINK
            else:
                got = self._take(min(TAIL, allowed))
                if not got:
                    return Wait.SOURCE if got is None else Wait.END
                self._held += got
                count = len(got)
            self.moved += count
            budget_bytes -= count

    def _give(self, count: int) -> bool:
        """Into the pipe with the first of those held back; False: it is full."""
        if count > 0:
            try:
                os.write(self._pipe, self._held[:count])  # so few go at once or not at all
            except BlockingIOError:
                return False
            except BrokenPipeError as e:
                raise ReaderGone from e
            self._held = self._held[count:]
        return True

    def _splice(self, count: int) -> int:
        """How many octets of so many that are there have gone; 0: the pipe is full."""
        try:
            return os.splice(self._sock.fileno(), self._pipe, count, flags=_FLAGS)
        except BlockingIOError:
            return 0
        except BrokenPipeError as e:
            raise ReaderGone from e
        except OSError as e:
            raise PeerClosed(detail=e.strerror) from e

    def _take(self, most: int) -> bytes | None:
        """What is there; None: nothing yet; empty: the end."""
        try:
            return self._sock.recv(most)
        except BlockingIOError:
            return None
        except OSError as e:
            raise PeerClosed(detail=e.strerror) from e


def readable(fd: int) -> int:
    """Octets that a pipe or a socket holds ready to read (FIONREAD)."""
    answer: bytes = fcntl.ioctl(fd, termios.FIONREAD, bytes(4))
    count: int = struct.unpack("i", answer)[0]
    return count


def grow_pipe(fd: int, wanted: int) -> int:
    """Make a pipe hold ``wanted`` octets, or as near as the kernel lets us; what it holds now.

    Never fails, never shrinks, never exceeds ``PIPE_LIMIT``. Where the process may not exceed the
    system-wide ceiling (``PIPE_MAX``) that is raised first, and stays raised.
    """
    granted = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    wanted = min(wanted, PIPE_LIMIT)
    while wanted > granted:
        try:
            return _resize(fd, wanted)
        except OSError:
            wanted //= 2
    return granted


def _resize(fd: int, wanted: int) -> int:
    try:
        return fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, wanted)
    except PermissionError:
        PIPE_MAX.write_text(f"{wanted}\n")
        return fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, wanted)
