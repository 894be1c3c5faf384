"""The copy of the guest on this host: the restoring process, and later the running domain."""

import os
import signal
import time
from collections.abc import Callable
from typing import TypeVar

from remus_ha import rundir
from remus_ha.hypervisor import errors
from remus_ha.hypervisor.base import Life
from remus_ha.hypervisor.xen.domain import XenDomain, xl
from remus_ha.hypervisor.xen.driver import XenDriver
from remus_ha.loop import Loop
from remus_ha.waiting import readable

_END_S = 10.0
_SLOW_S = 30.0
T = TypeVar("T")


class Replica:
    """``ended`` is called once when the restoring process has ended.

    ``slow`` is called again and again while a restore that was let go takes unusually long.
    """

    def __init__(
        self,
        *,
        loop: Loop,
        xen: XenDriver,
        uuid: str,
        name: str,
        restore_pid: int,
        ended: Callable[[], None],
        slow: Callable[[errors.RestoreOutstanding], None],
    ) -> None:
        self._loop, self._xen, self._uuid, self._name = loop, xen, uuid, name
        self._pid, self._ended, self._slow = restore_pid, ended, slow
        self._pidfd = -1
        self._watched = False
        if restore_pid <= 0:
            return
        try:
            self._pidfd = os.pidfd_open(restore_pid)
        except ProcessLookupError:
            return
        loop.watch(self._pidfd, self._on_end)

    def restoring(self) -> bool:
        """Whether the restoring process lives."""
        return self._pidfd >= 0 and not readable(self._pidfd, 0)

    def watch(self) -> None:
        """The restoring process has been let go: it should end soon. Idempotent."""
        if self._watched:
            return
        self._watched = True
        began = time.monotonic()

        def look() -> None:
            if self.restoring():
                seconds = time.monotonic() - began
                log = rundir.restore_log(self._uuid)
                self._slow(errors.RestoreOutstanding(pid=self._pid, seconds=seconds, log=log))

        self._loop.every(_SLOW_S, look)

    def _on_end(self, _events: int) -> None:
        self._loop.forget(self._pidfd)
        self._ended()

    def domid(self) -> int | None:
        """The restored domain, under its own name: the restore has succeeded."""
        found = self._xen.domain_of(self._uuid)
        return found[0] if found and found[1] == self._name else None

    def life(self) -> Life:
        domid = self.domid()
        return Life.GONE if domid is None else self._xen.life_of(domid)

    def pause(self) -> None:
        domid = self.domid()
        if domid is not None:
            self._with(domid, XenDomain.pause)

    def unpause(self) -> None:
        domid = self.domid()
        if domid is not None and self._xen.life_of(domid) is Life.PAUSED:
            self._with(domid, XenDomain.unpause)

    def _with(self, domid: int, what: Callable[[XenDomain], T]) -> T:
        control = self._xen.control(domid, watch=False)
        try:
            return what(control)
        finally:
            control.close()

    def destroy(self) -> None:
        """End the restoring process without letting it fail over, then whatever it made."""
        if self.restoring():
            self._loop.forget(self._pidfd)
            try:
                os.killpg(self._pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it ended just now
            readable(self._pidfd, _END_S)
        found = self._xen.domain_of(self._uuid)
        if found is None:
            return
        try:
            xl("destroy", str(found[0]))
        except errors.CommandFailed:
            if self._xen.domain_of(self._uuid) is not None:
                raise
