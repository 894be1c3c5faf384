"""What every witness driver offers: a linearizable register per guest UUID.

The per-guest processes call a driver directly, never through a message bus. Every call is
bounded by ``timeout_s``; a call that fails or times out raises ``WitnessUnavailable`` and then
nobody knows whether a swap took place: only a later read tells.
"""

import abc
import enum
import threading
from dataclasses import dataclass

from remus_ha.core.register import Register
from remus_ha.witness.deadline import Deadline
from remus_ha.witness.errors import WitnessUnavailable
from remus_ha.witness.memory import Memory


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
    """One connection to a store. Not thread-safe: one thread uses it at a time.

    Only ``interrupt`` may be called while another thread is inside a call.
    """

    REREAD_S = 0.5  # pause between two reads, and between two attempts at a store that is away
    ASK_S = 2.0  # the longest that one of the reads of a long wait may take

    def __init__(self) -> None:
        self._interrupted = threading.Event()

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
    def record_opened(
        self, uuid: str, generation: int, timeout_s: float, won: Register | None = None
    ) -> None:
        """Durably note that the holder of ``generation`` is about to open its vifs.

        ``won``: only while the row is exactly this value, which a process must ask for: a note of
        its own that comes late must not speak for somebody else's win. Raises WitnessUnavailable
        where nothing was noted, or nobody knows.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Drop the connection."""

    def connect(self, timeout_s: float) -> None:  # noqa: B027
        """Load what the driver needs and try the store, so that the first ask is a quick one.

        Call it before the epoch loop starts. Raises like ``read``.
        """

    @property
    def memory(self) -> Memory | None:
        """What to keep in /run and hand to this driver's successor; None: nothing seen yet."""
        return None

    def forget(self) -> None:  # noqa: B027
        """Trust the store that answers next, whatever was seen before: an operator has said so."""

    def wait_change(self, uuid: str, since: Reading | None, timeout_s: float) -> Reading:
        """Wait for a reading other than ``since`` (None: for any), up to ``timeout_s``.

        Returns the last reading, equal to ``since`` when nothing changed in time. A store that is
        away is asked again until it is back; raises WitnessUnavailable when it is still away at
        the end, and at once after ``interrupt``.
        """
        deadline = Deadline(timeout_s)
        while True:
            try:
                reading = self.read(uuid, deadline.within(self.ASK_S).remaining())
                if reading != since:
                    return reading
                self._await_event(uuid, deadline)
                if deadline.remaining() <= 0:
                    return reading
            except WitnessUnavailable:
                if deadline.remaining() <= self.REREAD_S or self._interrupted.is_set():
                    raise
                self._interrupted.wait(self.REREAD_S)

    def _await_event(self, uuid: str, deadline: Deadline) -> None:
        """Return when another read is worth while: here, after a pause."""
        if self._interrupted.wait(min(self.REREAD_S, deadline.remaining())):
            raise WitnessUnavailable(store=type(self).__name__, why="the wait was interrupted")

    def rearm(self) -> None:
        """Forget an earlier ``interrupt``."""
        self._interrupted.clear()

    def interrupt(self) -> None:
        """End the call that another thread is in, soon, with WitnessUnavailable.

        Calls go on failing until ``rearm``. A driver that can't do it lets the call run out.
        """
        self._interrupted.set()
