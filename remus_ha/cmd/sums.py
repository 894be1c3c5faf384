"""What the protections take of this host all together, beside what it gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from remus_ha import shares
from remus_ha.limits import (
    Limits,
    link_taken_mbit_s,
    memory_by,
    memory_taken_mib,
    rates_by,
)
from remus_ha.shares import Share


@dataclass(frozen=True, slots=True)
class Sums:
    """Of one moment. ``outgoing`` are the shares of guests that live here."""

    limits: Limits
    outgoing: Sequence[Share]
    incoming: Sequence[Share]

    @classmethod
    def now(cls) -> Self:
        """Raises ConfigBroken."""
        return cls(Limits.read(), shares.living("primary"), shares.living("backup"))

    def lines(self) -> list[str]:
        """One for the memory, one for each direction of the link."""
        return [self._memory(), self._link("out", self.outgoing), self._link("in", self.incoming)]

    def notable(self) -> list[str]:
        """The same where something is limited."""
        limits, (memory, *link) = self.limits, self.lines()
        limited = limits.memory_mib is not None or limits.keep_free_mib > 0
        return [*([memory] if limited else []), *(link if limits.link_mbit_s else [])]

    def as_dict(self) -> dict[str, Any]:
        """For JSON output; None: not limited."""
        limits = self.limits
        return {
            "memory_mib": {
                "limit": limits.memory_mib,
                "keep_free": limits.keep_free_mib,
                "taken": memory_taken_mib(self.incoming),
            },
            "out_mbit_s": self._link_dict(self.outgoing),
            "in_mbit_s": self._link_dict(self.incoming),
            "shares": [
                {
                    "role": share.role,
                    "uuid": share.uuid,
                    "name": share.name,
                    "peer": share.peer,
                    "memory_mib": memory_taken_mib([share]),
                    "rate_mbit_s": share.rate_mbit_s,
                }
                for share in (*self.outgoing, *self.incoming)
            ],
        }

    def _link_dict(self, of: Sequence[Share]) -> dict[str, Any]:
        limits = self.limits
        return {"limit": limits.link_mbit_s or None, "taken": link_taken_mbit_s(limits, of)}

    def _memory(self) -> str:
        limits, taken = self.limits, memory_taken_mib(self.incoming)
        limit = "" if limits.memory_mib is None else f" of {limits.memory_mib}"
        kept = f"; {limits.keep_free_mib} MiB are kept free" if limits.keep_free_mib else ""
        return f"memory as a backup: {taken}{limit} MiB{memory_by(self.incoming)}{kept}"

    def _link(self, way: str, of: Sequence[Share]) -> str:
        limit, taken = self.limits.link_mbit_s, link_taken_mbit_s(self.limits, of)
        told = f"{taken} of {limit} Mbit/s" if limit else "not counted"
        return f"replication link, {way}: {told}{rates_by(of)}"
