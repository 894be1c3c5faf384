"""What a place of the disk holds at the end of an epoch, said as digests.

A look begins in its turn among the orders, right after the epoch was closed, and never makes the
next order wait: the rest is done by a thread of its own. Meanwhile the image is not changed.
"""

import threading
from collections.abc import Callable

from remus_ha.disk.digests import can_look, digests
from remus_ha.disk.errors import StoreOrder
from remus_ha.disk.orders import Order
from remus_ha.disk.store.engine import EpochStore
from remus_ha.exceptions import RemusError


class LookFailed(RemusError):
    code = "VERIFY-006"
    cause = "the backup's image of {disk} cannot be read at {offset}: {detail}"
    remedy = "Look at 'dmesg' on the backup, then protect the guest again."


class Looker:
    """One look at a time. ``say`` is told ``hashed`` with the digests, or ``failed``."""

    def __init__(self, store: EpochStore, say: Callable[..., None]) -> None:
        self._store, self._say = store, say
        self._busy = False

    def begin(self, order: Order) -> None:
        """Raises StoreOrder, StoreCrowded, StoreSevered, StorePoisoned; nothing is said then."""
        inside = 0 <= order.offset <= self._store.size - order.length
        if self._busy or not inside or not can_look(order.length, order.grain):
            detail = f"{order.length} octets at {order.offset} by {order.grain}"
            raise StoreOrder(disk=self._store.disk, action="look at", n=order.n, detail=detail)
        self._store.hold(order.n)
        self._busy = True
        threading.Thread(target=self._look, args=(order,), name="look", daemon=True).start()

    def _look(self, order: Order) -> None:
        try:
            found = digests(self._read(order), order.grain)
        except RemusError as e:
            self._busy = False
            self._say("failed", do=order.verb, n=order.n, error=e.as_dict())
        else:
            self._busy = False
            self._say("hashed", n=order.n, digests=[digest.hex() for digest in found])

    def _read(self, order: Order) -> bytes:
        try:
            return self._store.read_held(order.n, order.offset, order.length)
        except OSError as e:
            raise LookFailed(disk=self._store.disk, offset=order.offset, detail=e) from e
        finally:
            self._store.let_go()
