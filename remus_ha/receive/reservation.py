"""The backup's memory for the copy: claimed as soon as the copy's domain can have it."""

from collections.abc import Callable
from typing import Protocol

from remus_ha.exceptions import RemusError
from remus_ha.hypervisor.xen.savers import Savers
from remus_ha.loop import Loop


class Hypervisor(Protocol):
    """The part of ``XenDriver`` that this needs."""

    def domain_of(self, uuid: str) -> tuple[int, str] | None: ...
    def claim_memory(self, domid: int, kib: int) -> str: ...
    def helper_starts(self) -> Savers: ...


class Reservation:
    """Claims when the restore's helper starts: its domain has got its maximum just before.

    ``done`` is told once: nothing, why nothing could be claimed (the copy may have room all the
    same), or that the host has not enough memory any more.
    """

    def __init__(
        self,
        loop: Loop,
        xen: Hypervisor,
        uuid: str,
        kib: int,
        done: Callable[[RemusError | str], None],
    ) -> None:
        self._loop, self._xen, self._uuid, self._kib = loop, xen, uuid, kib
        self._done = done
        self._helpers: Savers | None = None

    def begin(self) -> None:
        """From now on, before the restore can have read its configuration."""
        self._helpers = self._xen.helper_starts()
        self._loop.watch(self._helpers.fileno(), self._on_helper)

    def _on_helper(self, _events: int) -> None:
        if self._helpers is None:
            return
        self._helpers.drain()
        domain = self._xen.domain_of(self._uuid)
        if domain is None:
            return  # somebody else's helper
        self.end()
        outcome: RemusError | str
        try:
            outcome = self._xen.claim_memory(domain[0], self._kib)
        except RemusError as e:
            outcome = e
        self._done(outcome)

    def end(self) -> None:
        """Look no more; a claim that was made stays for as long as its domain."""
        if self._helpers is not None:
            self._loop.forget(self._helpers.fileno())
            self._helpers.close()
            self._helpers = None

    def give_back(self) -> None:
        """The copy is the guest: what it has not taken is free for others."""
        self.end()
        domain = self._xen.domain_of(self._uuid)
        if domain is not None:
            self._xen.claim_memory(domain[0], 0)
