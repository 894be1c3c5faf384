"""The register: who may live, one value per guest UUID.

A register is changed only by compare-and-swap on a linearizable store (see ``remus_ha.witness``);
this module only says what a value is and how it is written down.
"""

import enum
import json
from dataclasses import dataclass
from typing import Any


class Kind(enum.Enum):
    """What a register's value says."""

    HOLDER = "holder"  # one identity may live and emit
    PAIR = "pair"  # primary lives; primary or backup may swap out of the pair
    NONE = "none"  # stopped on purpose: nobody resurrects the guest


@dataclass(frozen=True, slots=True)
class Identity:
    """One party: a host and a nonce that a process crash keeps and a host crash loses."""

    host: str
    nonce: str

    def __str__(self) -> str:
        return f"{self.host}/{self.nonce}"


@dataclass(frozen=True, slots=True)
class Register:
    """A value of the register.

    ``generation`` grows by one with every swap. ``holder`` is the one who may live (the primary
    of a pair), None for ``Kind.NONE``; ``backup`` is set for a pair only.
    """

    generation: int
    kind: Kind
    holder: Identity | None
    backup: Identity | None = None

    def encode(self) -> bytes:
        """Canonical JSON: equal registers give equal octets, so stores can compare them."""
        return json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":")).encode()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "generation": self.generation,
            "kind": self.kind.value,
            "holder": [self.holder.host, self.holder.nonce] if self.holder else None,
            "backup": [self.backup.host, self.backup.nonce] if self.backup else None,
        }

    @classmethod
    def decode(cls, raw: bytes) -> "Register":
        """The inverse of ``encode``. Raises ValueError for anything else."""
        return cls.from_dict(json.loads(raw))

    @classmethod
    def from_dict(cls, d: Any) -> "Register":
        """The inverse of ``as_dict``. Raises ValueError for anything else."""
        try:
            return cls(
                generation=int(d["generation"]),
                kind=Kind(d["kind"]),
                holder=Identity(*d["holder"]) if d["holder"] else None,
                backup=Identity(*d["backup"]) if d["backup"] else None,
            )
        except (KeyError, TypeError, AttributeError) as e:
            raise ValueError(f"not a register: {d!r}") from e
