"""The FIFOs through which a controller tells tapdisk to end an epoch of a disk.

``/var/run/tap/remus_HOST_PORT`` takes ``flush``; ``remus_HOST_PORT.msg`` brings ``done``, the
backup has answered the commit, or ``fail``, it could not be sent. There is no newline and no epoch
number, several commands in one reading count once in the driver, and a tapdisk that is not
connected says nothing at all. Hence a controller has one flush under way and waits with a
deadline, and only ``done`` says that the epoch's disk is on the backup.

**Nothing else ever releases output**: not ``fail``, not silence, not a dead tapdisk.
"""

import errno
import os
import select
import stat
import time
from collections.abc import Callable
from pathlib import Path

from remus_ha.disk.tapdisk.errors import (
    BadReply,
    FifoUnusable,
    FlushFailed,
    FlushOutstanding,
    FlushOverdue,
    TapdiskError,
    TapdiskGone,
)

DIRECTORY = Path("/var/run/tap")
MODE = 0o755  # of the directory, as ever
FLUSH, DONE, FAIL = b"flush", b"done", b"fail"

_REPLY = 4
_ALL = 65536  # as much as a FIFO holds
_SCRUBBED = str.maketrans(":/", "__")

Clock = Callable[[], float]


def control_path(address: str, directory: Path = DIRECTORY) -> Path:
    """Where the commands go; ``address`` is ``HOST:PORT`` as the disk's name has it."""
    return directory / f"remus_{address}".translate(_SCRUBBED)


def message_path(address: str, directory: Path = DIRECTORY) -> Path:
    """Where the replies come from."""
    return control_path(address + ".msg", directory)


class FlushController:
    """The controller's end: one flush at a time, each answered ``done`` or an error.

    An error is final, and every later call raises it again: what came after a late or a bad reply
    could not be told from its answer. Make the guest's disk anew then, not this object.
    """

    def __init__(
        self, address: str, directory: Path = DIRECTORY, *, clock: Clock = time.monotonic
    ) -> None:
        """Raises TapdiskGone when nobody serves the FIFOs, FifoUnusable."""
        self._path, self._clock = message_path(address, directory), clock
        self._reply = bytearray()
        self._due: float | None = None
        self._timeout_s = 0.0
        self._error: TapdiskError | None = None
        # Each end opened one way only, so that the kernel tells of a tapdisk that is not there.
        self._messages, self._control = _open_both(
            (self._path, os.O_RDONLY), (control_path(address, directory), os.O_WRONLY)
        )

    def fileno(self) -> int:
        """Readable when ``answered`` has something to say, with a flush under way or without."""
        return self._messages

    def begin(self, timeout_s: float) -> None:
        """Drop stale replies and write ``flush``; the reply is due in ``timeout_s`` seconds.

        Raises FlushOutstanding (nothing is written then), TapdiskGone.
        """
        self._insist()
        if self._due is not None:
            raise FlushOutstanding(path=self._path)
        self._drop_stale()
        try:
            os.write(self._control, FLUSH)  # whole or not at all, being short
        except OSError as e:
            raise self._end(TapdiskGone(path=self._path, detail=e.strerror)) from e
        self._due, self._timeout_s = self._clock() + timeout_s, timeout_s

    def answered(self) -> bool:
        """Whether the flush is ``done``; without waiting, and True once for each flush.

        Raises FlushFailed, FlushOverdue, BadReply or TapdiskGone: **never release output then**.
        """
        self._insist()
        if self._due is None:
            self._drop_stale()  # a tapdisk that is gone shows itself here too
            return False
        self._reply += self._read(_REPLY - len(self._reply))
        if len(self._reply) == _REPLY:
            self._judge(bytes(self._reply))
            self._reply.clear()
            self._due = None
            return True
        if self._clock() >= self._due:
            raise self._end(FlushOverdue(path=self._path, seconds=self._timeout_s))
        return False

    def flush(self, timeout_s: float) -> None:
        """The whole of it: returns when ``done`` came. Raises what ``begin``, ``answered`` do."""
        self.begin(timeout_s)
        poll = select.poll()
        poll.register(self._messages, select.POLLIN)
        while not self.answered():
            assert self._due is not None
            poll.poll(max(0.0, self._due - self._clock()) * 1000)

    def close(self) -> None:
        """Idempotent. The FIFOs stay: they are tapdisk's."""
        for fd in (self._messages, self._control):
            if fd >= 0:
                os.close(fd)
        self._messages = self._control = -1

    def _drop_stale(self) -> None:
        """What an earlier controller did not wait for must not answer this one."""
        while self._read(_ALL):
            pass

    def _read(self, most: int) -> bytes:
        try:
            octets = os.read(self._messages, most)
        except BlockingIOError:
            return b""
        if not octets:
            raise self._end(TapdiskGone(path=self._path, detail="it has closed its end"))
        return octets

    def _judge(self, reply: bytes) -> None:
        if reply == FAIL:
            raise self._end(FlushFailed(path=self._path))
        if reply != DONE:
            raise self._end(BadReply(path=self._path, octets=reply))

    def _insist(self) -> None:
        if self._error is not None:
            raise self._error

    def _end(self, error: TapdiskError) -> TapdiskError:
        self._error = error
        return error


class TapdiskFifos:
    """tapdisk's end: makes both FIFOs, reads commands, answers; removes them in ``close``.

    FIFOs that a dead tapdisk has left are taken over.
    """

    def __init__(self, address: str, directory: Path = DIRECTORY) -> None:
        """Raises FifoUnusable."""
        self._paths = control_path(address, directory), message_path(address, directory)
        for path in self._paths:
            _make(path)
        # Both ways: there is no end of file when a controller goes, and no waiting for one.
        control, messages = self._paths
        self._control, self._messages = _open_both((control, os.O_RDWR), (messages, os.O_RDWR))

    def fileno(self) -> int:
        """Readable when ``flushes`` has something to say."""
        return self._control

    def flushes(self) -> int:
        """How many flushes have been asked for since the last call; without waiting.

        Every one wants its own answer: two that lie in the FIFO together are two. A reading that
        does not begin with ``flush`` is no command.
        """
        try:
            octets = os.read(self._control, _ALL)
        except BlockingIOError:
            return 0
        return octets.count(FLUSH) if octets.startswith(FLUSH) else 0

    def done(self) -> None:
        """The backup has answered the commit. Raises FifoUnusable when nobody reads replies."""
        self._say(DONE)

    def fail(self) -> None:
        """The commit could not be sent, or was not answered."""
        self._say(FAIL)

    def close(self) -> None:
        """Idempotent."""
        for fd in (self._control, self._messages):
            if fd >= 0:
                os.close(fd)
        if self._control >= 0:
            for path in self._paths:
                path.unlink(missing_ok=True)
        self._control = self._messages = -1

    def _say(self, reply: bytes) -> None:
        try:
            os.write(self._messages, reply)
        except OSError as e:
            raise FifoUnusable(path=self._paths[1], detail=e.strerror) from e


def _make(path: Path) -> None:
    """Root's alone: who may write there may end an epoch, who may read can swallow a reply."""
    try:
        path.parent.mkdir(mode=MODE, parents=True, exist_ok=True)
        os.mkfifo(path, 0o600)
    except FileExistsError:
        pass
    except OSError as e:
        raise FifoUnusable(path=path, detail=e.strerror) from e


def _open_both(first: tuple[Path, int], second: tuple[Path, int]) -> tuple[int, int]:
    fd = _open(*first)
    try:
        return fd, _open(*second)
    except TapdiskError:
        os.close(fd)
        raise


def _open(path: Path, how: int) -> int:
    """Never waits for the other end."""
    try:
        fd = os.open(path, how | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as e:
        # ENXIO: it is there, and nobody reads from it.
        absent = e.errno in (errno.ENOENT, errno.ENXIO)
        raise (TapdiskGone if absent else FifoUnusable)(path=path, detail=e.strerror) from e
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise FifoUnusable(path=path, detail="it is something else")
    return fd
