"""The epoch store: writes in, epochs apart, committed ones applied to the image in their order.

Guarantees, for every order of calls and a death of the process anywhere:

* The image holds epochs 0 to ``applied`` on its disk, and whole or in part committed ones after
  those, and nothing of any other: what is not committed never touches it. (Until epoch 0 is closed,
  writes of the first synchronisation go straight into the image, which is nobody's copy yet.)
* ``prepared(n)`` is called once all writes of epoch n lie in the journal, and with
  ``Ack.DURABLE`` on its disk; from then on ``commit(n)`` needs no more space anywhere.
* After ``sever`` (the primary's connection is lost, or cut) no write is taken and no epoch is
  closed. A write that fails severs, and its epoch is never prepared, closed already or not: an
  epoch with a gap never is. Nor is one that cannot be written down, which severs as well.
* A write waits for room while there is something that makes room. An open epoch that fills the
  journal alone is given ``PATIENCE_S`` to end, an image ``IMAGE_S`` to take something of an earlier
  one; then the store severs itself and calls ``lost``.
* An epoch's log is kept until a sync has vouched for the image. A disk that takes writes and loses
  them tells so once, at a sync; that poisons the store while there is a primary still, and whoever
  takes the store up writes again what no sync has vouched for.

Writes may come from several threads. One thread of its own applies and syncs.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from remus_ha.disk.ack import Ack
from remus_ha.disk.errors import (
    EpochUnkept,
    ImageStill,
    StoreCrowded,
    StoreOrder,
    StoreOutgrown,
    StorePoisoned,
    StoreSevered,
)
from remus_ha.disk.store.images import StoreImage
from remus_ha.disk.store.log import EpochLog
from remus_ha.disk.store.pieces import ZEROES, Entry, winners
from remus_ha.disk.store.state import FILE, Progress, StateFile

LIMIT = 1 << 30  # octets of the journal; a write waits beyond
# A QEMU's epoch ends whatever waits, and makes room then; a block server's mark stands behind the
# write that waits, and never comes.
PATIENCE_S = 3.0
IMAGE_S = 10.0  # nothing is seen of a sync, over which a disk that lives may take long
# Ack.RECEIVED: the image is synced when either is reached. Ack.DURABLE: after every epoch.
SYNC_S = 2.0
SYNC_LOGS_OCTETS = 64 << 20
# What ends the first copy must not outlast the detection time, so most of it is synced before.
SYNC_OCTETS = 16 << 20
_FOR_EVER_S = threading.TIMEOUT_MAX


Loss = StoreOutgrown | ImageStill | EpochUnkept


class EpochStore:
    """One disk's store. Raises StorePoisoned from every call once an epoch cannot be applied."""

    def __init__(
        self,
        *,
        disk: str,
        image: StoreImage,
        directory: Path,
        ack: Ack = Ack.RECEIVED,
        limit: int = LIMIT,
        anew: bool = True,
    ) -> None:
        """``directory`` is this store's own. ``anew``: forget what an earlier session left there.

        Otherwise what a dead process left is taken up: severed, everything that was not prepared
        dropped. Raises StoreState, OSError.
        """
        self._disk, self._image, self._directory = disk, image, directory
        self._durable, self._limit = ack is Ack.DURABLE, limit
        self.prepared: Callable[[int], None] = lambda n: None
        self.failed: Callable[[StorePoisoned], None] = lambda e: None
        self.lost: Callable[[], None] = lambda: None  # it has severed itself, ``loss`` says why
        self.loss: Loss | None = None
        self._lock = threading.Condition()
        self._logs: dict[int, EpochLog] = {}
        self._taken_logs: dict[int, EpochLog] = {}  # the image has them, no sync has vouched for it
        self._held = 0  # octets of all logs
        self._direct = 0  # writes of the synchronisation on their way into the image
        self._direct_octets = 0
        self._direct_failed = False
        self._unsynced = 0  # octets of the synchronisation
        self._syncing = threading.Lock()  # one at a time: an error is told to one of them only
        self._sync_at = 0.0
        self._waiting = 0  # writes that wait for room
        self._written = 0  # writes that are done with, well or not
        self._pins = 0
        self._poison: StorePoisoned | None = None
        self._severed = False
        self._ending = False
        self._applying = False
        self._pieces = 0  # that the image has taken of committed epochs
        directory.mkdir(parents=True, exist_ok=True)
        if anew:
            for left in directory.glob("epoch-*"):
                left.unlink()
        self._state = StateFile(directory / FILE, durable=self._durable, anew=anew)
        self._taken = self._state.now.applied  # and what the image has without a sync
        self._closed = self._state.now.prepared
        self._open = self._closed + 1
        if not anew:
            self._take_up()
        self._applier = threading.Thread(target=self._apply_all, name=f"apply {disk}", daemon=True)
        self._applier.start()

    def _take_up(self) -> None:
        self._severed = True
        now = self._state.now
        for path in self._directory.glob("epoch-*"):
            n = int(path.name.partition("-")[2])
            if now.applied < n <= now.prepared:
                self._logs[n] = EpochLog.load(path)
                self._held += self._logs[n].size
            else:
                path.unlink()

    # --- the disk

    @property
    def disk(self) -> str:
        """Its name, for errors."""
        return self._disk

    @property
    def size(self) -> int:
        """Octets of the disk."""
        return self._image.size

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Take a write into the open epoch; waits while the journal is full.

        Raises StoreSevered, StoreOutgrown, ImageStill, StorePoisoned, OSError (it is not in the
        epoch then, which severs: EpochUnkept from then on).
        """
        self._put(offset, len(data), data)

    def zero(self, offset: int, length: int) -> None:
        """The same for zeroes: write-zeroes and discard both, so that both sides read alike."""
        self._put(offset, length, None)

    def _put(self, offset: int, length: int, data: bytes | memoryview | None) -> None:
        n, log, place = self._place(offset, length, zeroes=data is None)
        try:
            if log is not None:
                if data is not None:
                    log.put(place, data)
            elif data is None:
                self._image.zero(offset, length)
            else:
                self._image.write(offset, data)
            if log is None and self._has_much_to_sync(length):
                self._sync()
        except OSError as e:
            self._fail(n, log, e)
            raise
        finally:
            self._placed(log)

    def _has_much_to_sync(self, length: int) -> bool:
        """With so many octets more of the synchronisation."""
        with self._lock:
            self._unsynced += length
            return self._unsynced >= SYNC_OCTETS

    def _fail(self, n: int, log: EpochLog | None, error: OSError) -> None:
        """A write of epoch ``n`` is lost. Told before it counts as arrived: it may be the last."""
        with self._lock:
            if log is None:
                self._direct_failed = True
            else:
                log.holed = True
            self._lose(EpochUnkept(disk=self._disk, n=n, detail=error))

    def _place(self, offset: int, length: int, *, zeroes: bool) -> tuple[int, EpochLog | None, int]:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise ValueError(f"{length} octets at {offset} of a disk of {self.size}")
        with self._lock:
            self._await_room()
            self._refuse()
            if self._open == 0:
                self._direct += 1
                self._direct_octets += length
                return 0, None, 0
            log = self._logs.get(self._open)
            if log is None:
                log = self._logs[self._open] = self._create(self._open)
            before = log.size
            place = log.place(offset, length, zeroes=zeroes)
            log.inflight += 1
            self._held += log.size - before
            return self._open, log, place

    def _await_room(self) -> None:
        awaited, deadline = None, 0.0
        self._waiting += 1
        while self._held > self._limit and not self._severed and not self._poison:
            loss, patience_s, progress = self._what_makes_room()
            if (loss, progress) != awaited:
                awaited, deadline = (loss, progress), time.monotonic() + patience_s
            left = deadline - time.monotonic()
            if left > 0:
                self._lock.wait(min(left, _FOR_EVER_S))
            else:
                self._lose(loss(disk=self._disk, limit=self._limit, seconds=patience_s))
        self._waiting -= 1

    def _what_makes_room(self) -> tuple[type[StoreOutgrown | ImageStill], float, int]:
        """The error if it does not, how long it may take to get on, and how far it is."""
        if self.open_octets >= self._held:
            return StoreOutgrown, PATIENCE_S, self._open
        # Who waits is woken by the commit, and not once more when the applying begins.
        if self._image_makes_room():
            return ImageStill, IMAGE_S, self._image_progress()
        return ImageStill, _FOR_EVER_S, -1  # an earlier epoch is to be committed, or dropped

    def _image_makes_room(self) -> bool:
        return self._applying or self._appliable() or bool(self._taken_logs)

    def _image_progress(self) -> int:
        """Grows with every piece that the image takes, and with every sync."""
        return self._pieces + self._state.now.applied

    def _lose(self, loss: Loss) -> None:
        """Under the lock: who is told of a refused ``close`` has heard why."""
        self.loss = self.loss or loss
        self.sever()
        self.lost()

    def _create(self, n: int) -> EpochLog:
        try:
            return EpochLog.create(self._path(n))
        except OSError as e:
            # Under the lock, so before anybody can close this epoch without its first write.
            self._lose(EpochUnkept(disk=self._disk, n=n, detail=e))
            raise

    def _path(self, n: int) -> Path:
        return self._directory / f"epoch-{n}"

    def _placed(self, log: EpochLog | None) -> None:
        with self._lock:
            self._written += 1
            if log is None:
                self._direct -= 1
            else:
                log.inflight -= 1
            # Only who closes or drops an epoch waits for its writes.
            if self._severed or self._closed > self._state.now.prepared:
                self._lock.notify_all()

    def read(self, offset: int, length: int, upto: int | None = None) -> bytes:
        """The disk as of the end of epoch ``upto``; None: with every write that was taken.

        An epoch that is applied already cannot be looked behind: ``upto`` is at least that.
        """
        with self.pinned():
            with self._lock:
                logs = [
                    (n, log, list(log.entries))
                    for n, log in sorted(self._logs.items())
                    if upto is None or n <= upto
                ]
            found = self._image.read(offset, length)
            for _, log, entries in logs:
                for entry in entries:
                    _overlay(found, offset, log, entry)
            return bytes(found)

    def read_committed(self, offset: int, length: int) -> bytes:
        """The disk as of the last committed epoch."""
        with self.pinned():
            return self.read(offset, length, upto=self._state.now.committed)

    @contextmanager
    def pinned(self) -> Iterator[None]:
        """While inside, nothing is applied: a read finds one moment, not two."""
        with self._lock:
            self._pins += 1
            self._lock.wait_for(lambda: not self._applying)
        try:
            yield
        finally:
            self.let_go()

    def hold(self, n: int) -> None:
        """Let nothing be applied until ``let_go``, so that the end of epoch ``n`` can be read.

        Never waits. ``n`` is the epoch closed last, and not committed yet: so nothing later can be
        in the image. Raises StoreOrder, StoreCrowded, StoreSevered, StorePoisoned.
        """
        with self._lock:
            self._refuse()
            now = self._state.now
            if n != self._closed or n <= now.committed:
                detail = f"{self._closed} is closed, {now.committed} is committed"
                raise StoreOrder(disk=self._disk, action="look at", n=n, detail=detail)
            if self._held > self._limit:
                raise StoreCrowded(disk=self._disk)
            self._pins += 1

    def let_go(self) -> None:
        with self._lock:
            self._pins -= 1
            self._lock.notify_all()

    def read_held(self, n: int, offset: int, length: int) -> bytes:
        """The disk as of the end of epoch ``n``, which is held; waits for the writes of it.

        What the image had to be read for is not kept in memory. Raises StoreSevered, StorePoisoned,
        OSError.
        """
        with self._lock:
            self._lock.wait_for(lambda: self._gone() or self._severed or not self._on_their_way(n))
            self._refuse()
        found = self.read(offset, length, upto=n)
        self._image.uncache(offset, length)
        return found

    # --- epochs

    @property
    def open_epoch(self) -> int:
        """The one that a write gets into now."""
        return self._open

    @property
    def progress(self) -> Progress:
        """How far it has got."""
        return self._state.now

    @property
    def open_octets(self) -> int:
        """What the open epoch takes of the journal."""
        log = self._logs.get(self._open)
        return log.size if log else 0

    def close(self, n: int) -> None:
        """Epoch ``n`` ends: what comes from now on belongs to the next one.

        ``prepared(n)`` is called later, by another thread or before this returns. Raises
        StoreSevered, StorePoisoned, StoreOrder.
        """
        with self._lock:
            self._refuse()
            if n != self._open or self._state.now.prepared != n - 1:
                detail = f"{self._open} is open, {self._state.now.prepared} is prepared"
                raise StoreOrder(disk=self._disk, action="close", n=n, detail=detail)
            self._closed, self._open = n, n + 1
            self._lock.notify_all()

    def prepare(self) -> int | None:
        """Wait until the epoch closed last is prepared; its number, None where it never will be.

        Called by one thread, in a loop: it is what makes ``prepared`` be called.
        """
        with self._lock:
            self._lock.wait_for(lambda: self._gone() or self._due() is not None)
            n = self._due()
            if n is None:
                return None
            log = self._logs.get(n)
        try:
            held = self._harden(n, log)
        except StorePoisoned:
            return None
        except OSError as e:
            self._cannot_prepare(n, e)
            return n
        if held:
            self.prepared(n)
        return n

    def _gone(self) -> bool:
        return self._ending or self._poison is not None

    def _due(self) -> int | None:
        """The closed epoch that all writes have arrived of, if it is not prepared yet."""
        n = self._closed
        if self._gone() or n <= self._state.now.prepared:
            return None
        return None if self._on_their_way(n) or self._has_hole(n) else n

    def _on_their_way(self, n: int) -> int:
        """Writes of epoch ``n``, closed last, that are not in its log yet."""
        log = self._logs.get(n)
        return self._direct if n == 0 else (log.inflight if log else 0)

    def _has_hole(self, n: int) -> bool:
        log = self._logs.get(n)
        return self._direct_failed if n == 0 else (log is not None and log.holed)

    def _cannot_prepare(self, n: int, error: OSError) -> None:
        """Epochs that are committed are none the worse for it."""
        with self._lock:
            if n <= self._closed:  # not dropped meanwhile
                self._closed = n - 1
                self._lose(EpochUnkept(disk=self._disk, n=n, detail=error))

    def _harden(self, n: int, log: EpochLog | None) -> bool:
        """False where the epoch has been dropped meanwhile."""
        if n == 0:
            self._sync()
        if log is not None:
            if not self._seal(n, log):
                return False
            if self._durable:
                log.sync()
        with self._lock:
            held = n <= self._closed
            if held:
                self._state.change(prepared=n)
            return held

    def _seal(self, n: int, log: EpochLog) -> bool:
        """False where the epoch has been dropped. Nobody closes the file meanwhile."""
        with self._lock:
            if n > self._closed or self._ending:
                return False
            log.inflight += 1
        try:
            log.seal()
        finally:
            with self._lock:
                log.inflight -= 1
                self._lock.notify_all()
        return True

    def commit(self, n: int) -> None:
        """Epoch ``n`` is real: it will be in the image, whatever happens. Idempotent.

        Raises StorePoisoned, StoreOrder for an epoch that is not prepared or out of its turn.
        """
        with self._lock:
            if self._poison:
                raise self._poison
            now = self._state.now
            if n <= now.committed:
                return
            if n != now.committed + 1 or n > now.prepared:
                detail = f"{now.committed} is committed, {now.prepared} is prepared"
                raise StoreOrder(disk=self._disk, action="commit", n=n, detail=detail)
            try:
                self._state.change(committed=n)
            except OSError as e:
                raise self._poison_with(e) from e
            self._lock.notify_all()

    def sever(self) -> None:
        """The primary's writes come no more, or must not: nothing is taken from now on."""
        with self._lock:
            self._severed = True
            self._lock.notify_all()

    def drop(self) -> None:
        """Sever, and drop everything that is not committed. Idempotent."""
        with self._lock:
            self._severed = True
            committed = self._state.now.committed
            self._closed = min(self._closed, committed)  # who prepares a later one need not go on
            for n in [n for n in self._logs if n > committed]:
                log = self._logs[n]
                while log.inflight:
                    self._lock.wait()
                del self._logs[n]
                self._held -= log.size
                log.remove()
            if self._state.now.prepared > committed:
                self._state.change(prepared=committed)
            self._lock.notify_all()

    def finish(self) -> int:
        """Drop what is not committed, apply the rest, sync; the epoch that the image holds now.

        Raises StorePoisoned; what is prepared is left for whoever takes the store up then.
        """
        with self._lock:
            if self._poison:
                raise self._poison
        self.drop()
        with self._lock:
            self._lock.wait_for(
                lambda: self._poison is not None or self._taken == self._state.now.committed
            )
            if self._poison:
                raise self._poison
        self._sync()
        return self._state.now.applied

    def end(self) -> None:
        """Stop the threads and let go of the image; what is committed can be taken up again."""
        with self._lock:
            self._ending = True
            self._severed = True
            self._lock.notify_all()
        self._applier.join()
        self._image.close()
        with self._lock:
            self._lock.wait_for(lambda: not any(log.inflight for log in self._logs.values()))
            for log in (*self._logs.values(), *self._taken_logs.values()):
                log.close()
        self._state.close()

    # --- applying

    def _apply_all(self) -> None:
        while (work := self._next_work()) is not None:
            try:
                work()
            except StorePoisoned:
                return
            except OSError as e:
                self._poisoned(e)
                return
            finally:
                with self._lock:
                    self._applying = False
                    self._lock.notify_all()

    def _next_work(self) -> Callable[[], None] | None:
        with self._lock:
            while not self._gone():
                if self._sync_is_due():
                    return self._sync
                if self._appliable():
                    self._applying = True
                    return self._apply_next
                until = self._sync_at - time.monotonic() if self._taken_logs else _FOR_EVER_S
                self._lock.wait(max(0.0, until))
        return None

    def _appliable(self) -> bool:
        return self._taken < self._state.now.committed and not self._pins

    def _sync_is_due(self) -> bool:
        if not self._taken_logs:
            return False
        octets = sum(log.size for log in self._taken_logs.values())
        much = self._durable or octets >= min(SYNC_LOGS_OCTETS, self._limit)
        return much or time.monotonic() >= self._sync_at

    def _apply_next(self) -> None:
        n = self._taken + 1
        log = self._logs.get(n)
        if log is not None:
            self._apply(log)
        with self._lock:
            self._taken = n
            if log is not None:
                if not self._taken_logs:
                    self._sync_at = time.monotonic() + SYNC_S
                self._taken_logs[n] = self._logs.pop(n)
            elif not self._taken_logs:
                self._state.change(applied=n)

    def _apply(self, log: EpochLog) -> None:
        for entry in winners(log.entries):
            if entry.source == ZEROES:
                self._image.zero(entry.offset, entry.length)
            else:
                self._image.copy_from(log.fileno(), entry.source, entry.offset, entry.length)
            self._pieces += 1
        log.check()
        self._image.hand_over()

    def _sync(self) -> None:
        """What the image has taken is on its disk when this returns. Raises StorePoisoned."""
        with self._syncing:
            with self._lock:
                if self._poison:
                    raise self._poison
                taken, unsynced, self._unsynced = self._taken, self._unsynced, 0
            try:
                if unsynced or self._taken_logs:
                    self._image.sync()
                self._state_applied(taken)
            except OSError as e:
                raise self._poisoned(e) from e

    def _state_applied(self, n: int) -> None:
        with self._lock:
            if n > self._state.now.applied:
                self._state.change(applied=n)
            logs = [self._taken_logs.pop(taken) for taken in list(self._taken_logs) if taken <= n]
            self._held -= sum(log.size for log in logs)
            self._lock.notify_all()
        for log in logs:
            log.remove()  # of a large file that takes a while, and no write waits for it

    # --- trouble

    def _refuse(self) -> None:
        if self._poison:
            raise self._poison
        if self._severed:
            raise self.loss or StoreSevered(disk=self._disk)

    def _poisoned(self, error: OSError) -> StorePoisoned:
        with self._lock:
            return self._poison_with(error)

    def _poison_with(self, error: OSError) -> StorePoisoned:
        poison = self._poison
        if poison is None:
            poison = self._poison = StorePoisoned(disk=self._disk, detail=error)
            self._lock.notify_all()
            self.failed(poison)
        return poison

    def status(self) -> dict[str, object]:
        """For people and for the receiver: octets, epochs, and what shows whether it moves:

        ``writing``: writes under way, with those that wait for the image; ``written`` grows with
        every write that is done with, and with whatever makes room.
        """
        with self._lock:
            now: Progress = self._state.now
            stuck = self._waiting if self._waiting and self._image_makes_room() else 0
            writing = self._direct + sum(log.inflight for log in self._logs.values())
            return {
                "disk": self._disk,
                "path": str(self._image.path),
                "size": self.size,
                "syncing": self._open == 0,
                "synced_octets": self._direct_octets,
                "open": self._open,
                "prepared": now.prepared,
                "committed": now.committed,
                "applied": now.applied,
                "journal_octets": self._held,
                "writing": writing + stuck,
                "written": self._written + self._image_progress(),
                "severed": self._severed,
                "poisoned": str(self._poison) if self._poison else "",
            }


def _overlay(found: bytearray, offset: int, log: EpochLog, entry: Entry) -> None:
    """Put what ``entry`` has of the octets from ``offset`` on over what was found."""
    start, end = max(entry.offset, offset), min(entry.end, offset + len(found))
    if start >= end:
        return
    part = entry.part(start, end)
    data = bytes(part.length) if part.source == ZEROES else log.read(part.length, part.source)
    found[start - offset : end - offset] = data
