"""All epoch stores of one guest, as one: what is asked of it is asked of every disk.

A guest without disks has none, and every question is answered at once.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remus_ha.disk import tls
from remus_ha.disk.errors import StoreSevered, StoreStill
from remus_ha.disk.spec import DiskSpec
from remus_ha.disk.store import launch, recover
from remus_ha.disk.store.client import StoreClient
from remus_ha.disk.store.launch import StoreFailed
from remus_ha.disk.tapdisk.fifo import DIRECTORY
from remus_ha.exceptions import RemusError
from remus_ha.loop import Loop
from remus_ha.receive.store import Store, stores_of

SILENCE_S = 10.0  # a store that has not finished by then is ended, if its work can be taken up
RECOVERIES = 3  # tries to take up a journal, before the copy is given up for it
REMINDER_S = 60.0  # between two words on a disk that is waited for


@dataclass(frozen=True, slots=True)
class Hashed:
    """What a look at a disk found: digests, or none and the reason."""

    vdev: str
    n: int
    digests: tuple[bytes, ...]
    problem: str


@dataclass(slots=True)
class Told:
    """What the owner wants to hear of. ``closed`` and ``committed`` are of all disks."""

    closed: Callable[[int], None]
    prepared: Callable[[], None]
    committed: Callable[[int], None]
    finished: Callable[[], None]
    severed: Callable[[RemusError], None]  # no epoch can be closed any more
    gone: Callable[[RemusError], None]  # its process; what it has committed can be taken up
    failed: Callable[[RemusError], None]  # the copy cannot have this disk
    hashed: Callable[[Hashed], None]
    waiting: Callable[[RemusError], None]  # why a disk has not finished yet; said again and again


class Stores:
    """The stores of ``specs``. ``directory`` is the session's in /run, ``daemons`` the daemons'."""

    def __init__(
        self,
        loop: Loop,
        uuid: str,
        directory: Path,
        specs: tuple[DiskSpec, ...],
        told: Told,
        *,
        session: str = "",
        daemons: Path = DIRECTORY,
    ) -> None:
        """``session`` is left in the journals. Raises UriInvalid."""
        self._loop, self._directory, self._told = loop, directory, told
        self._stores = stores_of(specs, uuid, directory, daemons, session)
        self._committing = -1  # ordered, and not yet reported
        self._committed = -1  # where ``finish`` shall end
        self._finishing = False
        self._finishing_since = 0.0
        self._ended = False

    def __bool__(self) -> bool:
        return bool(self._stores)

    # --- the life of the processes

    def start(
        self,
        address: str,
        key: str,
        *,
        known: Callable[[DiskSpec], bool],
        taken: Callable[[DiskSpec], None],
    ) -> list[int]:
        """Start every store; the ports they serve the primary on. Raises RemusError.

        ``taken`` is told of every image that a store has, also where another store refuses.
        """
        if not self._stores:
            return []
        directory = tls.save(key, self._directory / "tls")
        starting: list[tuple[Store, launch.Starting | None]] = []
        try:
            for store in self._stores:
                process = store.begin(address, directory, known=known(store.spec))
                starting.append((store, process))
            problems = []
            while starting:
                store, process = starting.pop(0)
                try:
                    if process is not None:
                        process.wait()
                    self._connect(store)
                    taken(store.spec)
                except RemusError as e:
                    problems.append(e)
        finally:
            for _, process in starting:
                if process is not None:
                    process.kill()
        if problems:
            raise problems[0]
        return [store.port for store in self._stores]

    def _connect(self, store: Store) -> None:
        store.connect(self._loop, self._said, self._gone)

    def take_up(self, committed: int) -> None:
        """A new receiver in place of a dead one: find the stores that live, tell what is real."""
        for store in self._stores:
            try:
                self._connect(store)
            except OSError:
                store.client = None  # ``finish`` takes up what it has left
            if store.client is not None and committed >= 0:
                store.client.order("commit", committed)

    def end(self) -> None:
        """End what is left of them; their images stay. Idempotent."""
        self._ended = True
        for store in self._stores:
            client, store.client = store.client, None
            if client is not None:
                client.abandon()
            if store.recovery is not None:
                store.recovery.kill()
                store.recovery.wait()
                store.recovery = None
            store.forget()

    def status(self) -> list[dict[str, object]]:
        """Per disk: its name, path and how far it is. ``finishing_s``: waited for it to finish."""
        return [
            {
                "vdev": store.spec.vdev,
                "path": store.spec.path,
                "size": store.spec.size,
                "prepared": store.client.prepared if store.client else -1,
                "committed": store.client.committed if store.client else self._committed,
                "alive": store.client is not None,
                "finishing_s": round(self._waited_s(store), 1),
            }
            for store in self._stores
        ]

    def look(self, awake_s: float, patience_s: float) -> None:
        """Ask every store whether it moves; ``awake_s`` is the time from one look to the next.

        One that has been seen to stand still for ``patience_s`` is told as ``severed``.
        """
        for store in self._stores:
            pulse, client = store.pulse, store.client
            if client is None:
                continue
            before = pulse.still_s
            if pulse.look(awake_s):
                client.order("status")
            if before < patience_s <= pulse.still_s:
                vdev = store.spec.vdev
                self._told.severed(StoreStill(disk=vdev, seconds=pulse.still_s, why=pulse.why))

    def _waited_s(self, store: Store) -> float:
        """0: it need not finish, or it has."""
        if not self._finishing or store.finished:
            return 0.0
        return time.monotonic() - self._finishing_since

    # --- epochs

    def close(self, n: int) -> None:
        """Epoch ``n`` ends on every disk; ``told.closed`` when that is so."""
        for store in self._stores:
            self._order(store, "close", n)
        if not self._stores:
            self._told.closed(n)

    def hash(self, vdev: str, n: int, *, offset: int, length: int, grain: int) -> None:
        """Look at a place of a disk as of the end of epoch ``n``, just closed; ``told.hashed``."""
        store = next((s for s in self._stores if s.spec.vdev == vdev), None)
        if store is None or store.client is None:
            self._told.hashed(Hashed(vdev, n, (), "no store of that disk"))
        else:
            store.client.order("hash", n, offset=offset, length=length, grain=grain)

    def prepared(self, n: int) -> bool:
        """Whether every disk's commit of ``n`` can no longer fail."""
        return all(
            store.client and not store.broken and store.client.prepared >= n
            for store in self._stores
        )

    def commit(self, n: int) -> None:
        """``n`` is real on every disk; ``told.committed`` when that is so. Idempotent."""
        self._committing = n
        for store in self._stores:
            self._order(store, "commit", n)
        if not self._stores:
            self._told.committed(n)

    def cut(self) -> None:
        """Nothing of the primary's is taken any more."""
        for store in self._stores:
            if store.client is not None:
                store.client.order("cut")

    def finish(self, committed: int) -> None:
        """Drop what came after epoch ``committed``, bring the images up to it, let go of them.

        ``told.finished`` when every image may be opened by the copy. Idempotent.
        """
        if self._finishing:
            return
        self._finishing, self._committed = True, committed
        self._finishing_since = time.monotonic()
        for store in self._stores:
            if store.client is None:
                self._recover(store)
            else:
                store.client.order("finish")
        if self._stores:
            self._loop.after(SILENCE_S, self._end_silent)
        self._look_finished()

    def _end_silent(self) -> None:
        """A store that does not answer is ended: what it has committed is in its journal.

        One that the copy cannot live without is waited for, and so is whoever takes up a journal: a
        full one on a slow disk takes its time. To give up would save nobody: a primary that lives
        goes on by itself, of a dead one this is the only copy. A process's death shows itself.
        """
        late = [] if self._ended else [store for store in self._stores if not store.finished]
        for store in late:
            self._told.waiting(store.outstanding(self._waited_s(store)))
            if store.can_be_taken_up and store.client is not None:
                store.client.kill()
        if late:
            self._loop.after(REMINDER_S, self._end_silent)

    def _order(self, store: Store, verb: str, n: int) -> None:
        if store.client is not None:
            store.client.order(verb, n)
        else:
            self._lost(store)

    # --- what they say

    def _of(self, client: StoreClient) -> Store:
        return next(store for store in self._stores if store.client is client)

    def _said(self, client: StoreClient, message: dict[str, Any]) -> None:
        store, word = self._of(client), message["said"]
        if word == "closed":
            store.closed = int(message["n"])
            if all(other.closed >= store.closed for other in self._stores):
                self._told.closed(store.closed)
        elif word == "prepared":
            self._told.prepared()
        elif word == "committed":
            self._look_committed()
        elif word == "hashed":
            found = tuple(bytes.fromhex(digest) for digest in message["digests"])
            self._told.hashed(Hashed(store.spec.vdev, int(message["n"]), found, ""))
        elif word == "status":
            store.pulse.answered(message)
        elif word == "finished":
            client.order("quit")
        elif word == "gone":
            store.finished = True
            self._look_finished()
        elif word == "severed":
            self._told.severed(_loss(store, message))
        elif word == "failed":
            self._failed(store, message)

    def _failed(self, store: Store, message: dict[str, Any]) -> None:
        if message["do"] == "close":
            self._told.severed(StoreSevered(disk=store.spec.vdev))
        elif message["do"] == "hash":
            e = message["error"]
            problem = f"{e['code']}: {e['cause']}"
            self._told.hashed(Hashed(store.spec.vdev, int(message["n"]), (), problem))
        else:
            self._broken(store, StoreFailed(**message["error"]))

    def _broken(self, store: Store, error: RemusError) -> None:
        """It carries out no order any more. What it had committed may still be taken up."""
        store.broken = True
        if not store.can_be_taken_up:
            self._told.failed(error)
        elif not self._finishing:
            self._told.severed(error)
        elif store.client is not None:
            self._told.waiting(error)
            store.client.kill()  # it shows itself

    def _look_committed(self) -> None:
        n = self._committing
        if n >= 0 and all(s.client and s.client.committed >= n for s in self._stores):
            self._committing = -1
            self._told.committed(n)

    def _gone(self, client: StoreClient) -> None:
        """A store's process has ended: as it was told to, or not."""
        store = self._of(client)
        store.client = None
        if self._ended:
            return
        if store.finished:
            return
        if self._finishing:
            self._recover(store)
        else:
            self._lost(store)

    def _lost(self, store: Store) -> None:
        error = store.silent("its process has ended")
        if store.can_be_taken_up:
            self._told.gone(error)
        else:
            self._told.failed(error)

    def _recover(self, store: Store) -> None:
        # A commit that was begun is rolled forward, whether the store had got to it or not.
        store.recoveries += 1
        try:
            store.recovery = store.recover(self._committed)
        except RemusError as e:
            self._told.failed(e)
            return
        pidfd = os.pidfd_open(store.recovery.pid)
        self._loop.watch(pidfd, lambda _events: self._recovered(store, pidfd))

    def _recovered(self, store: Store, pidfd: int) -> None:
        self._loop.forget(pidfd)
        os.close(pidfd)
        recovery, store.recovery = store.recovery, None
        if recovery is None:
            return
        try:
            recover.outcome(store.spec.vdev, recovery)
        except RemusError as e:
            if store.recoveries < RECOVERIES:  # it, or what it needs, may have been killed
                self._told.waiting(e)
                self._recover(store)
            else:
                self._told.failed(e)
            return
        store.finished = True
        self._look_finished()

    def _look_finished(self) -> None:
        if self._finishing and all(store.finished for store in self._stores):
            self._told.finished()


def _loss(store: Store, message: dict[str, Any]) -> RemusError:
    """Why a store is severed: the primary's connection is lost, unless it says otherwise."""
    if "error" in message:
        return StoreFailed(**message["error"])
    return StoreSevered(disk=store.spec.vdev)
