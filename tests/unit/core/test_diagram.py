"""The documentation's tables come from the tables that run."""

import subprocess
import sys

import pytest

from remus_ha.core import diagram


@pytest.mark.parametrize("role", sorted(diagram.ROLES))
def test_every_arrow_and_every_state_is_drawn(role: str) -> None:
    table = diagram.ROLES[role]
    text = diagram.dot(table)
    assert text.startswith(f"digraph {role} {{\n")
    assert text.endswith("}\n")
    for row in table.rows:
        if row.state is not row.next:
            assert f"  {row.state.value} -> {row.next.value} [" in text


@pytest.mark.parametrize("role", sorted(diagram.ROLES))
def test_every_row_is_listed_with_its_reason(role: str) -> None:
    table = diagram.ROLES[role]
    text = diagram.rst(table)
    assert text.count("   * - ") == len(table.rows) + 1
    for row in table.rows:
        assert f"     - {row.why}\n" in text


def test_the_command_prints_one_role() -> None:
    command = [sys.executable, "-m", "remus_ha.core.diagram", "backup", "--format", "rst"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == diagram.rst(diagram.ROLES["backup"])
