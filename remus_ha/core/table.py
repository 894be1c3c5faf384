"""Transition tables: what a role may do, as data.

A table says of every (state, event) exactly one of three things: *handled* (one or more rows,
tried in order, the last one without a condition), *ignored* (with the reason) or *impossible*
(with the reason; stepping it raises). A table that leaves a combination out cannot be built, so
"what if that arrives here" is answered before anything runs.
"""

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

S = TypeVar("S", bound=enum.Enum)
E = TypeVar("E", bound=enum.Enum)
A = TypeVar("A", bound=enum.Enum)
F = TypeVar("F")

Guard = Callable[[F], bool]


def always(_facts: Any) -> bool:
    """The guard of a row that has no condition."""
    return True


class Verdict(enum.Enum):
    """What a table says of one (state, event)."""

    HANDLED = "handled"
    IGNORED = "ignored"
    IMPOSSIBLE = "impossible"


class TableError(Exception):
    """A table contradicts itself or leaves a combination out: a defect in this package."""


class ImpossibleEvent(Exception):
    """An event came in a state that the table declares impossible: a defect in the caller."""


@dataclass(frozen=True, slots=True)
class Row(Generic[S, E, F, A]):
    """In ``state`` on ``event``, if ``guard`` holds: go to ``next``, do ``actions`` in order."""

    state: S
    event: E
    guard: Guard[F]
    next: S
    actions: tuple[A, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Remark(Generic[S, E]):
    """``event`` in ``state`` changes nothing (IGNORED) or cannot be (IMPOSSIBLE), and why."""

    state: S
    event: E
    verdict: Verdict
    why: str


def all_but(kind: type[S], *but: S) -> tuple[S, ...]:
    """Every member of an enum except those named."""
    return tuple(member for member in kind if member not in but)


def each(  # noqa: PLR0917  # reads like the row it stands for
    states: Iterable[S],
    event: E,
    guard: Guard[F],
    next_state: S | None,
    actions: tuple[A, ...],
    why: str,
) -> tuple[Row[S, E, F, A], ...]:
    """The same row for several states; ``next_state`` None means stay."""
    return tuple(
        Row(state, event, guard, state if next_state is None else next_state, actions, why)
        for state in states
    )


def ignored(states: Iterable[S], events: Iterable[E], why: str) -> tuple[Remark[S, E], ...]:
    """``events`` change nothing in ``states``."""
    events = tuple(events)
    return tuple(Remark(s, e, Verdict.IGNORED, why) for s in states for e in events)


def impossible(states: Iterable[S], events: Iterable[E], why: str) -> tuple[Remark[S, E], ...]:
    """``events`` cannot come in ``states``."""
    events = tuple(events)
    return tuple(Remark(s, e, Verdict.IMPOSSIBLE, why) for s in states for e in events)


class Table(Generic[S, E, F, A]):
    """A complete, checked table.

    Invariant: every (state, event) of the two enums is handled, ignored or impossible, never two
    of these, and the rows of a handled one end with an unguarded row. Raises TableError otherwise.
    """

    def __init__(
        self,
        name: str,
        states: type[S],
        events: type[E],
        rows: Iterable[Row[S, E, F, A]],
        remarks: Iterable[Remark[S, E]],
    ) -> None:
        self.name = name
        self.states: tuple[S, ...] = tuple(states)
        self.events: tuple[E, ...] = tuple(events)
        self.rows = tuple(rows)
        self.remarks = tuple(remarks)
        self._rows: dict[tuple[S, E], tuple[Row[S, E, F, A], ...]] = {}
        for row in self.rows:
            key = (row.state, row.event)
            self._rows[key] = (*self._rows.get(key, ()), row)
        self._remarks = {(r.state, r.event): r for r in self.remarks}
        self._check()

    def _check(self) -> None:
        if len(self._remarks) != len(self.remarks):
            raise TableError(f"{self.name}: a combination is remarked upon twice")
        for state in self.states:
            for event in self.events:
                self._check_one(state, event)

    def _check_one(self, state: S, event: E) -> None:
        where = f"{self.name}: {state.name} x {event.name}"
        rows, remark = self._rows.get((state, event)), self._remarks.get((state, event))
        if rows and remark:
            raise TableError(f"{where} is handled and {remark.verdict.value}")
        if not rows and not remark:
            raise TableError(f"{where} is left out")
        if rows and any(row.guard is always for row in rows[:-1]):
            raise TableError(f"{where} has rows after its unguarded row")
        if rows and rows[-1].guard is not always:
            raise TableError(f"{where} has no unguarded last row")

    def verdict(self, state: S, event: E) -> Verdict:
        """What the table says of ``event`` in ``state``."""
        remark = self._remarks.get((state, event))
        return remark.verdict if remark else Verdict.HANDLED

    def rows_of(self, state: S, event: E) -> tuple[Row[S, E, F, A], ...]:
        """The rows of a handled combination in the order of trial; empty for another."""
        return self._rows.get((state, event), ())

    def find(self, state: S, event: E, facts: F) -> Row[S, E, F, A] | None:
        """The row that applies; None for an ignored event. Raises ImpossibleEvent."""
        for row in self._rows.get((state, event), ()):
            if row.guard(facts):
                return row
        remark = self._remarks[state, event]
        if remark.verdict is Verdict.IMPOSSIBLE:
            raise ImpossibleEvent(f"{self.name}: {event.name} in {state.name}: {remark.why}")
        return None


class Machine(Generic[S, E, F, A]):
    """One run of a table. It remembers its state and nothing else."""

    def __init__(self, table: Table[S, E, F, A], initial: S) -> None:
        self.table = table
        self.state = initial

    def step(self, event: E, facts: F) -> tuple[A, ...]:
        """Take ``event``: change the state and return the actions to execute, in order.

        Every action is idempotent. Raises ImpossibleEvent.
        """
        row = self.table.find(self.state, event, facts)
        if row is None:
            return ()
        self.state = row.next
        return row.actions
