"""Every error an operator can meet: a stable code, the cause and the remedy.

A code is never changed and never used again for something else. ``cause`` and ``remedy`` are
format strings over the keyword arguments; they are read by operators, so the remedy says what
to do or run next.
"""

from typing import Any, ClassVar


class RemusError(Exception):
    """Base class. Subclasses set ``code``, ``cause`` and ``remedy``."""

    code: ClassVar[str] = "REMUS-000"
    cause: ClassVar[str] = "{detail}"
    remedy: ClassVar[str] = "Report this with the output of 'remus-ha status --json'."

    def __init__(self, **facts: Any) -> None:
        self.facts = facts
        super().__init__(str(self))

    def __str__(self) -> str:
        return f"{self.code}: {self.cause.format(**self.facts)}"

    @property
    def advice(self) -> str:
        """What to do about it, one sentence."""
        return self.remedy.format(**self.facts)

    def as_dict(self) -> dict[str, str]:
        """``code``, ``cause`` and ``remedy``, for JSON output."""
        return {
            "code": self.code,
            "cause": self.cause.format(**self.facts),
            "remedy": self.advice,
        }
