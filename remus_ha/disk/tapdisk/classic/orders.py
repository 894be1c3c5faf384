"""The local socket of a disk's daemon.

The lines are those of ``remus_ha.disk.orders``. In every role::

    status     status, with the role and figures
    quit       gone, once everything is done that can be done; then the process ends

A receiver is the owner; a primary needs none. A backup takes the orders of an epoch store besides
and tells what one tells (``remus_ha.disk.store.server``). Three differ: an epoch is closed by the
primary's ``creq``, never by ``close N``; ``commit N`` commits what comes before N as well; and once
it is ``finished`` the disk is the guest's.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from remus_ha.disk.orders import Order, OrderServer
from remus_ha.disk.tapdisk.classic.disk import Disk
from remus_ha.exceptions import RemusError


class DaemonServer(OrderServer):
    """``ended`` is called once, on ``quit``."""

    def __init__(self, disk: Disk, path: Path, ended: Callable[[], None]) -> None:
        super().__init__(path, ended)
        self._disk = disk

    def left(self) -> None:
        """The disk needs nobody; a receiver may come again, and finds it as it is."""

    def carry_out(self, order: Order) -> None:
        self._disk.order(order)

    def status(self) -> dict[str, Any]:
        return self._disk.status()

    def settle(self) -> None:
        with contextlib.suppress(OSError, RemusError):  # it ends anyway; a record says how
            self._disk.settle()
