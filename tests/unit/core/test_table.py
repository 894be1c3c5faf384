"""A table that leaves something out, or says two things, cannot be built."""

import enum
from dataclasses import dataclass

import pytest

from remus_ha.core.table import (
    ImpossibleEvent,
    Machine,
    Remark,
    Row,
    Table,
    TableError,
    Verdict,
    all_but,
    always,
    each,
    ignored,
    impossible,
)


class Door(enum.Enum):
    OPEN = "open"
    SHUT = "shut"


class Push(enum.Enum):
    PUSH = "push"
    PULL = "pull"


class Deed(enum.Enum):
    SWING = "swing"
    CREAK = "creak"


@dataclass(frozen=True)
class Facts:
    locked: bool = False


def locked(facts: Facts) -> bool:
    return facts.locked


ROWS: tuple[Row[Door, Push, Facts, Deed], ...] = (
    Row(Door.SHUT, Push.PUSH, locked, Door.SHUT, (Deed.CREAK,), "it is locked"),
    Row(Door.SHUT, Push.PUSH, always, Door.OPEN, (Deed.SWING, Deed.CREAK), "it gives way"),
    Row(Door.OPEN, Push.PULL, always, Door.SHUT, (Deed.SWING,), "it shuts"),
)
REMARKS: tuple[Remark[Door, Push], ...] = (
    *ignored((Door.OPEN,), (Push.PUSH,), "it is open already"),
    *impossible((Door.SHUT,), (Push.PULL,), "there is no handle on that side"),
)


def door(
    rows: tuple[Row[Door, Push, Facts, Deed], ...] = ROWS,
    remarks: tuple[Remark[Door, Push], ...] = REMARKS,
) -> Table[Door, Push, Facts, Deed]:
    return Table("door", Door, Push, rows, remarks)


def test_the_first_row_whose_guard_holds_applies() -> None:
    machine = Machine(door(), Door.SHUT)
    assert machine.step(Push.PUSH, Facts(locked=True)) == (Deed.CREAK,)
    assert machine.state.value == "shut"
    assert machine.step(Push.PUSH, Facts()) == (Deed.SWING, Deed.CREAK)
    assert machine.state.value == "open"


def test_an_ignored_event_changes_nothing() -> None:
    machine = Machine(door(), Door.OPEN)
    assert machine.step(Push.PUSH, Facts()) == ()
    assert machine.state is Door.OPEN


def test_an_impossible_event_raises_and_says_why() -> None:
    machine = Machine(door(), Door.SHUT)
    with pytest.raises(ImpossibleEvent, match="door: PULL in SHUT: there is no handle"):
        machine.step(Push.PULL, Facts())
    assert machine.state is Door.SHUT


def test_verdicts() -> None:
    table = door()
    assert table.verdict(Door.SHUT, Push.PUSH) is Verdict.HANDLED
    assert table.verdict(Door.OPEN, Push.PUSH) is Verdict.IGNORED
    assert table.verdict(Door.SHUT, Push.PULL) is Verdict.IMPOSSIBLE


def test_a_combination_left_out() -> None:
    with pytest.raises(TableError, match="SHUT x PULL is left out"):
        door(remarks=REMARKS[:1])


def test_handled_and_remarked_upon() -> None:
    more = (*REMARKS, *ignored((Door.OPEN,), (Push.PULL,), "never mind"))
    with pytest.raises(TableError, match="OPEN x PULL is handled and ignored"):
        door(remarks=more)


def test_remarked_upon_twice() -> None:
    with pytest.raises(TableError, match="remarked upon twice"):
        door(remarks=(*REMARKS, REMARKS[0]))


def test_no_unguarded_last_row() -> None:
    with pytest.raises(TableError, match="SHUT x PUSH has no unguarded last row"):
        door(rows=(ROWS[0], ROWS[2]))


def test_rows_that_are_never_tried() -> None:
    with pytest.raises(TableError, match="SHUT x PUSH has rows after its unguarded row"):
        door(rows=(ROWS[1], ROWS[1], ROWS[2]))


def test_the_same_row_for_several_states() -> None:
    rows = each(all_but(Door), Push.PULL, always, None, (Deed.CREAK,), "stays")
    assert [(r.state, r.next) for r in rows] == [(Door.OPEN, Door.OPEN), (Door.SHUT, Door.SHUT)]
    assert all_but(Door, Door.OPEN) == (Door.SHUT,)
