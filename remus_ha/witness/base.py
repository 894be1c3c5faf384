"""What every witness driver offers: a linearizable register per guest UUID.

The per-guest processes call a driver directly, never through a message bus. Every call is
bounded by ``timeout_s``; a call that fails or times out raises ``WitnessUnavailable`` and then
nobody knows whether a swap took place: only a later read tells.
"""

import abc
import enum
from dataclasses import dataclass

from remus_ha.core.register import Register


class Swap(enum.Enum):
    """The store's definite answer to a compare-and-swap."""

    WON = "won"  # the register now has the new value, or had it already (idempotent)
    REFUSED = "refused"  # the register had another value than expected


@dataclass(frozen=True, slots=True)
class Reading:
    """What one linearizable read returned.

    ``register`` is None when the guest has no row. ``opened`` is the highest generation whose
    winner recorded that it opened its vifs, 0 when there is none. ``incarnation`` names this
    life of the store: a store restored from a backup has another.
    """

    register: Register | None
    opened: int
    incarnation: str


class WitnessDriver(abc.ABC):
    """One connection to a store. Not thread-safe: one thread uses it at a time."""

    @abc.abstractmethod
    def read(self, uuid: str, timeout_s: float) -> Reading:
        """Linearizable read. Raises WitnessUnavailable, WitnessRewound."""

    @abc.abstractmethod
    def swap(self, uuid: str, old: Register | None, new: Register, timeout_s: float) -> Swap:
        """Compare ``old`` (None: no row) and write ``new``, atomically and durably.

        WON also when the row already equals ``new``. Raises WitnessUnavailable when the answer
        is not known, WitnessRewound when the store is another incarnation than the one first
        read.
        """

    @abc.abstractmethod
    def record_opened(self, uuid: str, generation: int, timeout_s: float) -> None:
        """Durably note that the holder of ``generation`` is about to open its vifs."""

    @abc.abstractmethod
    def close(self) -> None:
        """Drop the connection."""
