"""The backup's role: the primary's epochs come in, and the image takes those that are real.

Epoch 0 is the image as it was at the start, epoch n ends with the n-th ``creq``. The disk is the
guest's here, ``UNPROTECTED``, once the open epoch is dropped and every committed one is in the
image. Without a receiver that comes with the primary's loss, or with a guest's write, by which
tapdisk was told of a failover; with one, when it orders ``finish``.
"""

import errno
import threading
from collections.abc import Callable
from typing import Any

from remus_ha.disk.errors import DiskError, StoreOrder
from remus_ha.disk.orders import Order
from remus_ha.disk.store.engine import EpochStore
from remus_ha.disk.store.image import Image
from remus_ha.disk.store.looking import Looker
from remus_ha.disk.tapdisk.classic.apart import Apart, Taken
from remus_ha.disk.tapdisk.classic.disk import Disk, Role, Say
from remus_ha.disk.tapdisk.classic.gate import Gate
from remus_ha.disk.tapdisk.classic.reception import Reception
from remus_ha.disk.tapdisk.classic.setup import Commit
from remus_ha.exceptions import RemusError


class Backup(Disk):
    """``log`` tells people, the ``say`` of ``start`` a receiver."""

    def __init__(
        self,
        *,
        image: Image,
        store: EpochStore,
        reception: Reception,
        commit: Commit,
        apart: Apart,
        taken: Taken,
        log: Callable[[str], None],
    ) -> None:
        self._image, self._store, self._reception = image, store, reception
        self._at_close = commit is Commit.AT_CLOSE
        self._apart, self._taken, self._log = apart, taken, log
        self._say: Say
        self._looker: Looker
        self._gate = Gate()
        self._deciding = threading.Lock()
        self._role, self._reason = Role.BACKUP, ""
        self._guest_wrote = False
        self._epoch = 0  # that the image holds, once it is the guest's
        self._first_prepared = threading.Event()

    @property
    def role(self) -> Role:
        return self._role

    @property
    def size(self) -> int:
        return self._image.size

    def start(self, say: Say) -> None:
        self._say, self._looker = say, Looker(self._store, say)
        self._store.prepared = self._on_prepared
        self._store.failed = lambda e: say("failed", error=e.as_dict(), do="")
        self._store.lost = self._on_outgrown
        threading.Thread(target=self._prepare_all, name="prepare", daemon=True).start()
        self._store.close(0)
        self._first_prepared.wait()
        self._store.commit(0)
        self._reception.start(self._on_lost)

    # --- the primary's side

    def _prepare_all(self) -> None:
        while self._store.prepare() is not None:
            pass

    def _on_prepared(self, n: int) -> None:
        if n == 0:
            self._first_prepared.set()
            return
        if self._at_close:
            try:
                self._store.commit(n)
            except DiskError as e:  # it was dropped meanwhile: the disk is the guest's
                self._log(f"epoch {n} is not committed: {e}")
                return
        self._reception.prepared(n)
        self._say("prepared", n=n)

    def _on_outgrown(self) -> None:
        """The store takes nothing any more, for a reason of its own. Under its lock."""
        loss = self._store.loss
        self._say("severed", **({"error": loss.as_dict()} if loss else {}))

    def _on_lost(self, error: RemusError) -> None:
        self._reason = str(error)
        self._log(f"the primary is lost: {error}")
        self._say("severed")
        if self._at_close:
            try:
                self.take_over(self._reason)
            except DiskError as e:
                self._log(f"the image cannot be used: {e}. {e.advice}")

    # --- the guest's side, after a failover

    def take_over(self, why: str) -> int:
        """The disk is the guest's from now on; the epoch that it holds. Idempotent.

        Raises StorePoisoned: then it never is.
        """
        with self._deciding:
            if self._role is Role.BACKUP:
                self.cut()
                self._epoch = self._store.finish()
                self._put_down(self._taken, "if this process dies, none follows it")
                self._reason, self._role = self._reason or why, Role.UNPROTECTED
                self._log(f"UNPROTECTED from now on, at epoch {self._epoch}: {why}")
            return self._epoch

    def cut(self) -> None:
        """Nothing of the primary's is taken any more. Idempotent."""
        self._store.sever()
        self._reception.cut()

    def read_into(self, offset: int, buffer: bytearray | memoryview) -> None:
        if self._role is Role.UNPROTECTED:
            self._image.read_into(offset, buffer)
        else:
            buffer[:] = self._store.read_committed(offset, len(buffer))

    def write(self, offset: int, data: bytes | memoryview) -> None:
        with self._gate.open():
            self._make_it_the_guests()
            self._image.write(offset, data)

    def zero(self, offset: int, length: int) -> None:
        with self._gate.open():
            self._make_it_the_guests()
            self._image.zero(offset, length)

    def _make_it_the_guests(self) -> None:
        """Raises OSError where it must not be, or cannot be, the guest's."""
        if self._guest_wrote:
            return
        if self._role is Role.BACKUP and not self._at_close:
            raise OSError(errno.EPERM, "the receiver decides when this disk is the guest's")
        try:
            self.take_over("a guest writes here")
        except DiskError as e:
            raise OSError(errno.EIO, str(e)) from e
        self._put_down(self._apart, "start no primary again")
        self._guest_wrote = True

    def _put_down(self, record: Apart | Taken, otherwise: str) -> None:
        try:
            record.set()
        except OSError as e:  # no reason to give the guest an error
            self._log(f"{record.path} cannot be written ({e}): {otherwise}")

    def flush(self) -> None:
        if self._role is Role.UNPROTECTED:
            self._image.sync()

    # --- people, and the end

    def order(self, order: Order) -> None:
        """A receiver's. Raises DiskError."""
        verb, n = order.verb, order.n
        if verb == "commit":
            self._commit(n)
            self._say("committed", n=n)
        elif verb == "cut":
            self.cut()
            self._say("cut")
        elif verb == "finish":
            self._say("finished", n=self.take_over("the receiver has ordered it"))
        elif verb == "hash":
            self._looker.begin(order)
        elif verb == "close":
            detail = "the primary's creq closes an epoch here"
            raise StoreOrder(disk=self._image.path, action="close", n=n, detail=detail)

    def _commit(self, n: int) -> None:
        """With whatever a session that was given up has left: epoch ``n`` comes after that."""
        now = self._store.progress
        if n <= now.prepared:
            for earlier in range(now.committed + 1, n):
                self._store.commit(earlier)
        self._store.commit(n)

    def status(self) -> dict[str, Any]:
        return {"role": self._role.value, "lost": self._reason, **self._store.status()}

    def settle(self) -> None:
        """What a receiver has not decided stays in the journal: it can be taken up again."""
        self._gate.shut()
        try:
            if self._at_close:
                self.take_over("it ends")
            if not self._guest_wrote:
                self._taken.clear()
        finally:
            self.cut()
            self._reception.close()
            self._store.end()
