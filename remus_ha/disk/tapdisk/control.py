"""The block server's local socket: its driver's orders, and what it has to say unasked.

The lines are those of ``remus_ha.disk.orders``; answers and news are::

    sync       now and then progress DONE SENT, then synced
    mark N     marked N at once: the guest may write on. Later reached N: all of epoch N is in the
               store, and nothing that came behind the mark is sent before ...
    closed N   (not answered)
    free       freed: the image here alone, nothing waits; there is no way back
    quit       gone; the process ends, and requests under way are left to be asked again

Unasked: ``moving`` now and then while the store takes writes; ``lost`` with a reason, and it is as
if freed from then on. An order that cannot be carried out
is answered ``failed``.

The driver is the owner. One that is gone takes its session with it: the disk is freed. And a server
that has neither a driver nor a QEMU ends, whoever else asks it for its status.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from remus_ha.disk.orders import Order, OrderServer
from remus_ha.disk.tapdisk.replication import Replication


class ControlServer(OrderServer):
    """``ended`` is called once the process has nothing left to do. Serves after ``begin``."""

    def __init__(self, path: Path, ended: Callable[[], None]) -> None:
        super().__init__(path, ended)
        self._users = 0
        self._counting = threading.Lock()
        self.replication: Replication

    def begin(self, replication: Replication) -> None:
        self.replication = replication
        self.listen()

    def joined(self) -> None:
        """A client of the disk has connected."""
        with self._counting:
            self._users += 1

    def parted(self) -> None:
        """It is gone."""
        with self._counting:
            self._users -= 1
        self._leave_when_alone()

    def left(self) -> None:
        self.replication.free()
        self._leave_when_alone()

    def _leave_when_alone(self) -> None:
        if not self._users and not self.attended:
            self._path.unlink(missing_ok=True)
            self._ended()

    def carry_out(self, order: Order) -> None:
        replication, verb, n = self.replication, order.verb, order.n
        if verb == "mark":
            replication.mark(n)
            self.say("marked", n=n)
        elif verb == "closed":
            replication.closed(n)
        elif verb == "sync":
            replication.sync()
        elif verb == "free":
            replication.free()
            self.say("freed")

    def status(self) -> dict[str, Any]:
        return self.replication.status()

    def settle(self) -> None:
        self.replication.free()
