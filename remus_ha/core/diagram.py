"""The tables as documentation: ``python -m remus_ha.core.diagram ROLE [--format dot|rst]``.

``dot`` is Graphviz: states and the events that lead from one to another. ``rst`` is a list table
with every row, its condition (the guard's docstring), its actions and its reason. Nothing of it
is written by hand, so it can't differ from what runs.
"""

import argparse
import enum
import sys
from collections.abc import Iterator
from typing import Any, Final

from remus_ha.core import backup, primary, returning
from remus_ha.core.table import Row, Table, always

AnyTable = Table[Any, Any, Any, Any]
AnyRow = Row[Any, Any, Any, Any]

ROLES: Final[dict[str, AnyTable]] = {
    table.name: table for table in (primary.TABLE, backup.TABLE, returning.TABLE)
}


def dot(table: AnyTable) -> str:
    """A Graphviz digraph; end states have a double border, rows that stay are left out."""
    ends = [s for s in table.states if not any(r.state is s for r in table.rows)]
    lines = [f"digraph {table.name} {{", "  rankdir=LR;", '  node [shape=box, style="rounded"];']
    lines += [f"  {s.value} [peripheries=2];" for s in ends]
    for (a, b), events in _arrows(table).items():
        label = "\\n".join(event.value for event in events)
        lines.append(f'  {a.value} -> {b.value} [label="{label}"];')
    return "\n".join([*lines, "}"]) + "\n"


def _arrows(table: AnyTable) -> dict[tuple[enum.Enum, enum.Enum], list[enum.Enum]]:
    arrows: dict[tuple[enum.Enum, enum.Enum], list[enum.Enum]] = {}
    for row in table.rows:
        if row.state is not row.next:
            events = arrows.setdefault((row.state, row.next), [])
            if row.event not in events:
                events.append(row.event)
    return arrows


def rst(table: AnyTable) -> str:
    """A reStructuredText list table of all rows, in the order of the states."""
    lines = [
        f".. list-table:: {table.name}: transitions",
        "   :header-rows: 1",
        "   :widths: 12 14 22 12 20 40",
        "",
    ]
    for cells in _cells(table):
        first, *rest = cells
        lines += [f"   * - {first}", *(f"     - {cell}".rstrip() for cell in rest)]
    return "\n".join(lines) + "\n"


def _cells(table: AnyTable) -> Iterator[tuple[str, ...]]:
    yield ("State", "Event", "If", "Next", "Actions", "Why")
    for state in table.states:
        for event in table.events:
            for row in table.rows_of(state, event):
                yield (
                    state.value,
                    event.value,
                    condition(row),
                    "" if row.next is state else row.next.value,
                    ", ".join(action.value for action in row.actions),
                    row.why,
                )


def condition(row: AnyRow) -> str:
    """The guard in words: the first line of its docstring."""
    if row.guard is always:
        return ""
    return (row.guard.__doc__ or row.guard.__name__).strip().splitlines()[0]


def main(argv: list[str] | None = None) -> int:
    """Print one role's table."""
    parser = argparse.ArgumentParser(description="A role's transitions as a diagram or a table.")
    parser.add_argument("role", choices=sorted(ROLES))
    parser.add_argument("--format", choices=("dot", "rst"), default="dot")
    args = parser.parse_args(argv)
    sys.stdout.write((dot if args.format == "dot" else rst)(ROLES[args.role]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
