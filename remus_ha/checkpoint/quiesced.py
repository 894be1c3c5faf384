"""Pausing a running guest for some instants, so that nobody's death leaves it paused."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from remus_ha import rundir
from remus_ha.hypervisor.base import Life


class Pausable(Protocol):
    """The part of a domain's control that this needs."""

    def life(self) -> Life: ...
    def pause(self) -> None: ...
    def unpause(self) -> None: ...
    def close(self) -> None: ...


def _mark(uuid: str) -> Path:
    return rundir.directory("primary", uuid) / "quiesced"


def paused_by_us(uuid: str) -> bool:
    """Whether a process died with the guest paused."""
    return _mark(uuid).exists()


def go_on(uuid: str, domain: Pausable) -> None:
    """Idempotent."""
    domain.unpause()
    _mark(uuid).unlink(missing_ok=True)


@contextmanager
def quiesced(uuid: str, control: Callable[[], Pausable]) -> Iterator[None]:
    """The guest does not run inside; one that its operator has paused stays as it is."""
    domain = control()
    ours = domain.life() is Life.RUNNING
    try:
        if ours:
            _mark(uuid).touch()
            domain.pause()
        yield
    finally:
        if ours:
            go_on(uuid, domain)
        domain.close()
