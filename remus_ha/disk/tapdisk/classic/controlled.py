"""One disk's daemon on the primary, as the epoch loop's controller sees it."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

from remus_ha.disk.base import Mirrored
from remus_ha.disk.errors import DiskError
from remus_ha.disk.tapdisk.classic.files import Files
from remus_ha.disk.tapdisk.classic.standing import judge_primary
from remus_ha.disk.tapdisk.errors import DaemonNotThere
from remus_ha.disk.tapdisk.fifo import FlushController
from remus_ha.disk.tapdisk.uri import parse
from remus_ha.loop import Loop

_LINE = 65536
_STATUS = b'{"do": "status"}\n'


class Controlled:
    """Asked for its role first, then ended epoch by epoch. Never waits.

    An answer says nothing of whose flush it is for. So the daemon is asked after each how many it
    has had: one more than ours, and every later epoch would be another one on the backup.

    ``lost`` is called with whatever goes wrong, perhaps more than once.
    """

    def __init__(
        self, loop: Loop, disk: Mirrored, directory: Path, lost: Callable[[DiskError], None]
    ) -> None:
        """Raises UriInvalid, TapdiskGone, FifoUnusable, DaemonNotThere."""
        self._loop, self._disk, self._lost = loop, disk, lost
        files = Files(directory, parse(disk.uri).address)
        self._address = files.address
        self._flushes = FlushController(files.address, directory)
        self.is_primary = False
        self.done = -1  # the last epoch that the backup's daemon has whole, under its own number
        self._flushed = -1
        self._said = b""
        self._question = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._question.connect(str(files.orders))
            self._ask()
        except OSError as e:
            self.close()
            raise DaemonNotThere(address=files.address) from e
        loop.watch(self._question.fileno(), lambda _events: self._on_answer())
        loop.watch(self._flushes.fileno(), lambda _events: self.look())

    def _ask(self) -> None:
        """Only when nothing is to be answered. Raises OSError."""
        self._question.send(_STATUS)

    def _on_answer(self) -> None:
        try:
            octets = self._question.recv(_LINE)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        *lines, self._said = (self._said + octets).split(b"\n")
        for told in map(json.loads, lines):
            if told["said"] == "status":
                self._judge(told)
                return
        if not octets:
            self._stop_asking()
            if not self.is_primary:  # else its FIFOs tell
                self._lost(DaemonNotThere(address=self._address))

    def _judge(self, told: dict[str, object]) -> None:
        try:
            judge_primary(self._disk.uri, told, self._disk.base + self._flushed + 1)
        except DiskError as e:
            self._lost(e)
        else:
            self.is_primary, self.done = True, self._flushed

    def _stop_asking(self) -> None:
        """Idempotent."""
        if self._question.fileno() >= 0:
            self._loop.forget(self._question.fileno())
            self._question.close()

    def flush(self, n: int, timeout_s: float) -> None:
        """Epoch ``n`` ends here: what the guest writes once this returns belongs to the next."""
        try:
            self._flushes.begin(timeout_s)
            self._flushed = n
        except DiskError as e:
            self._lost(e)

    def look(self) -> None:
        """Take in an answer; a deadline is kept by being looked at."""
        try:
            if self._flushes.answered():
                self._ask()
        except DiskError as e:
            self._lost(e)
        except OSError:
            self._lost(DaemonNotThere(address=self._address))

    def close(self) -> None:
        """Idempotent. The daemon goes on."""
        self._stop_asking()
        if self._flushes.fileno() >= 0:
            self._loop.forget(self._flushes.fileno())
        self._flushes.close()
