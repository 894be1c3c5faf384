"""While a session lasts: its guest keeps the devices that it began with, or the session ends."""

from collections.abc import Callable
from typing import Protocol

from remus_ha.exceptions import RemusError
from remus_ha.hypervisor.base import Life
from remus_ha.loop import Loop

_AGAIN_S = 1.0


class Watch(Protocol):
    """``remus_ha.hypervisor.xen.devicewatch.DeviceWatch``."""

    def fileno(self) -> int: ...
    def change(self) -> RemusError | None: ...
    def close(self) -> None: ...


class SteadyDevices:
    """Calls ``changed`` once, when the devices of a guest that lives are not what they were.

    A guest that ends loses its devices as well: its end counts then. One that is destroyed is
    paused before; no epoch ends while it is, so there is time to see which it was.
    """

    def __init__(
        self,
        loop: Loop,
        watch: Watch,
        *,
        life: Callable[[], Life],
        changed: Callable[[RemusError], None],
    ) -> None:
        self._loop, self._life, self._changed = loop, life, changed
        self._watch: Watch | None = watch
        loop.watch(watch.fileno(), lambda _events: self._look())

    def _look(self) -> None:
        change = self._watch.change() if self._watch is not None else None
        if change is None:
            return
        life = self._life()
        if life is Life.PAUSED:
            self._loop.after(_AGAIN_S, self._look)
        elif life in (Life.RUNNING, Life.SUSPENDED):
            self.close()
            self._changed(change)

    def close(self) -> None:
        """Idempotent."""
        watch, self._watch = self._watch, None
        if watch is not None:
            self._loop.forget(watch.fileno())
            watch.close()
