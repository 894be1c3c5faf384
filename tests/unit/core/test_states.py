"""Every state of a role is a state that the operator knows."""

from remus_ha.core import backup, primary
from remus_ha.core.states import BACKUP, PRIMARY, Protection, protection


def test_every_state_has_a_meaning() -> None:
    assert set(PRIMARY) == set(primary.State)
    assert set(BACKUP) == set(backup.State)


def test_every_meaning_is_used() -> None:
    assert {*PRIMARY.values(), *BACKUP.values()} == set(Protection)


def test_protected_is_said_only_of_a_pair_and_of_a_copy() -> None:
    protected = [s for s in (*primary.State, *backup.State) if protection(s).value == "protected"]
    assert protected == [primary.State.PROTECTED, backup.State.STANDBY]
