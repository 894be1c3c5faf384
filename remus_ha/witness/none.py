"""No witness: for ``-F`` only, where the operator accepts that both copies may live.

UNSAFE. Every swap is won, on both hosts at once, so nothing decides between them. Values are kept
in this process alone, so that the callers' logic runs as it does with a real store.
"""

from remus_ha.core.register import Register
from remus_ha.witness.base import Reading, Swap, WitnessDriver
from remus_ha.witness.memory import Memory

INCARNATION = "none"


def is_none(url: str) -> bool:
    """Whether a session's witness is only pretended."""
    return url.startswith("none")


class NoWitness(WitnessDriver):
    """Answers at once, always WON."""

    def __init__(self, url: str = "none:", memory: Memory | None = None) -> None:
        super().__init__()
        self._registers: dict[str, Register] = {}
        self._opened: dict[str, int] = {}

    def read(self, uuid: str, timeout_s: float) -> Reading:
        return Reading(self._registers.get(uuid), self._opened.get(uuid, 0), INCARNATION)

    def swap(self, uuid: str, old: Register | None, new: Register, timeout_s: float) -> Swap:
        self._registers[uuid] = new
        return Swap.WON

    def record_opened(
        self, uuid: str, generation: int, timeout_s: float, won: Register | None = None
    ) -> None:
        self._opened[uuid] = max(generation, self._opened.get(uuid, 0))

    def close(self) -> None:
        """Nothing to drop."""
