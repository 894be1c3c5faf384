"""The guest's replicated disks as the epoch loop sees them: synchronised, closed, lost, free.

A guest without replicated disks has none of this: everything is answered at once.
"""

import time
from collections.abc import Callable
from typing import Any

from remus_ha.disk.base import DiskDriver, Stage
from remus_ha.disk.errors import DiskError
from remus_ha.loop import Loop


class Disks:
    """``make`` makes the driver, None where no disk is replicated."""

    def __init__(
        self,
        loop: Loop,
        make: Callable[[], DiskDriver] | None,
        *,
        lost: Callable[[DiskError], None],
        log: Callable[[str], None],
    ) -> None:
        self._loop, self._make, self._log = loop, make, log
        self._lost = lost
        self._driver: DiskDriver | None = None
        self._stage = Stage.FREE
        self._began_at = 0.0

    def begin(self) -> None:
        """Start replicating; ``synced`` some time later, or ``lost``."""
        driver = self._new()
        if driver is not None:
            self._stage = Stage.ATTACHING
            self._began_at = time.monotonic()
            self._log("the disks are being copied")
            driver.begin()

    def _new(self) -> DiskDriver | None:
        if self._driver is None and self._make is not None:
            self._driver = self._make()
            self._loop.watch(self._driver.fileno(), self._on_news)
        return self._driver

    def _on_news(self, _events: int) -> None:
        driver = self._driver
        if driver is None:
            return
        try:
            driver.pump()
        except DiskError as e:
            self._log(str(e))
            self._lost(e)
        before, self._stage = self._stage, driver.stage
        if self._stage is Stage.MIRRORED and before is not Stage.MIRRORED:
            done = driver.progress()
            sent, of = sum(p.sent for p in done), sum(p.of for p in done)
            self._log(
                f"the disks are copied, {sent} of {of} octets differed: every write is mirrored"
                " from now on"
            )
        if self._stage is Stage.FREE:
            self._loop.forget(driver.fileno())
            self._driver = None
            driver.close()

    @property
    def synced(self) -> bool:
        """Whether every write that the guest sees completed is at the backup."""
        return self._make is None or self._stage is Stage.MIRRORED

    def close(self, n: int) -> None:
        """The guest is suspended: epoch n ends on every disk."""
        if self._driver is not None:
            self._driver.end_epoch(n)

    def on_closed(self, n: int) -> None:
        """The backup's answer."""
        if self._driver is not None:
            self._driver.closed(n)

    def closed(self, n: int) -> bool:
        """Whether what the guest writes from now on belongs to epoch n + 1."""
        if self._make is None:
            return True
        return self._driver is not None and self._driver.may_go_on(n)

    def resumed(self, n: int) -> None:
        """The guest runs again: from now on ``vouches`` may become true."""
        if self._driver is not None:
            self._driver.resumed(n)

    def vouches(self, n: int) -> bool:
        """Whether epoch n lacks no write that the guest saw completed."""
        if self._make is None:
            return True
        return self._driver is not None and self._driver.vouches(n)

    @property
    def moved_at(self) -> float:
        """When the backup last took something of an epoch's writes; 0: nothing is waited for."""
        return self._driver.moved_at if self._driver is not None else 0.0

    def free(self) -> None:
        """Off the guest's disks: nothing of ours is in its way any more. Idempotent."""
        if self._driver is not None:
            self._driver.free()

    def clear(self) -> None:
        """The same where an earlier process may have left something."""
        driver = self._new()
        if driver is not None:
            driver.free()

    @property
    def is_free(self) -> bool:
        return self._driver is None

    def status(self) -> list[dict[str, Any]]:
        """Per disk: how far its synchronisation is, in octets, and its mean rate."""
        driver = self._driver
        if driver is None:
            return []
        seconds = max(1e-3, time.monotonic() - self._began_at)
        return [
            {
                "vdev": p.vdev,
                "stage": self._stage.value,
                "synced_octets": p.done,
                "sync_octets": p.of,
                "sent_octets": p.sent,
                "octets_per_s": round(p.done / seconds),
            }
            for p in driver.progress()
        ]
