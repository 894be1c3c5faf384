"""The product's rules as the checker steps them: its own tables and witness rule, memoised.

Nothing here decides anything: tables and witness functions are looked up and their answers are
remembered, because the checker asks the same questions millions of times. Registers and ledgers
are numbered so that worlds compare quickly; number 0 is "no row".
"""

import enum
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from remus_ha.core import backup, primary, returning, witness
from remus_ha.core.register import Register
from remus_ha.core.table import Row, Table
from remus_ha.core.witness import Ledger, View

PRIMARY, BACKUP, RETURNING = 0, 1, 2

TABLES: tuple[Table[Any, Any, Any, Any], ...] = (primary.TABLE, backup.TABLE, returning.TABLE)
FACTS: tuple[Any, ...] = (primary.Facts, backup.Facts, returning.Facts)


@dataclass(frozen=True)
class WorldRules:
    """The rules that bind the world around the tables; a mutation switches one off."""

    keeper: bool = True  # the pipe of the restore is held when the receiver dies
    restarts: bool = True  # W11: a process that died is replaced
    doubts: bool = True  # W10: a primary that gets no answer asks
    incarnations: bool = True  # W9: swaps and readings name the store's incarnation
    own_wins_count: bool = True  # W5: finding (g+1, me), proposed by this process, is having won
    notes_checked: bool = True  # W12: "opened g" is noted only while the register is that very win
    conductor_swaps: bool = False  # W8: somebody swaps for a host that it takes for dead


class Numbers:
    """Values numbered in the order in which they are met."""

    def __init__(self, *first: Hashable) -> None:
        self.values: list[Any] = list(first)
        self._numbers: dict[Hashable, int] = {v: i for i, v in enumerate(first)}

    def of(self, value: Hashable) -> int:
        """The number of ``value``."""
        number = self._numbers.get(value)
        if number is None:
            number = self._numbers[value] = len(self.values)
            self.values.append(value)
        return number


class Rules:
    """The tables and the witness rule of one check."""

    def __init__(
        self,
        tables: tuple[Table[Any, Any, Any, Any], ...] = TABLES,
        world: WorldRules | None = None,
    ) -> None:
        self.tables = tables
        self.world = world or WorldRules()
        self.registers = Numbers(None)
        self.ledgers = Numbers(None)
        self._rows: dict[Hashable, Row[Any, Any, Any, Any] | None] = {}
        self._readings: dict[tuple[int, int, int, int], tuple[int, View]] = {}
        self._proposals: dict[tuple[str, int], tuple[int, int, int]] = {}
        self._derived: dict[tuple[str, int], int] = {}

    def find(
        self, role: int, state: enum.Enum, event: enum.Enum, facts: tuple[tuple[str, Any], ...]
    ) -> Row[Any, Any, Any, Any] | None:
        """The row of the product's table that applies. Raises ImpossibleEvent."""
        key = (role, state, event, facts)
        try:
            return self._rows[key]
        except KeyError:
            row = self.tables[role].find(state, event, FACTS[role](**dict(facts)))
            self._rows[key] = row
            return row

    def read(self, ledger: int, register: int, opened: int, inc: int) -> tuple[int, View]:
        """``witness.read`` on numbers."""
        key = (ledger, register, opened, inc)
        if key not in self._readings:
            new, view = witness.read(
                self.ledgers.values[ledger], self.registers.values[register], opened, str(inc)
            )
            self._readings[key] = (self.ledgers.of(new), view)
        return self._readings[key]

    def propose(self, kind: str, ledger: int) -> tuple[int, int, int]:
        """The ledger that has proposed, and the numbers of the swap's old and new value.

        ``kind`` names the function of ``remus_ha.core.witness`` that makes the proposal.
        """
        key = (kind, ledger)
        if key not in self._proposals:
            known: Ledger = self.ledgers.values[ledger]
            new: Register = getattr(witness, kind)(known)
            self._proposals[key] = (
                self.ledgers.of(witness.propose(known, new)),
                self.registers.of(known.known),
                self.registers.of(new),
            )
        return self._proposals[key]

    def derive(self, what: str, ledger: int) -> int:
        """A ledger made from another by a function of ``remus_ha.core.witness``."""
        return self._derive(what, ledger, getattr(witness, what))

    def _derive(self, what: str, ledger: int, make: Callable[[Ledger], Ledger]) -> int:
        key = (what, ledger)
        if key not in self._derived:
            self._derived[key] = self.ledgers.of(make(self.ledgers.values[ledger]))
        return self._derived[key]

    def generation(self, register: int) -> int:
        """A numbered register's generation; 0 where there is no row."""
        value = self.registers.values[register]
        return value.generation if value else 0
