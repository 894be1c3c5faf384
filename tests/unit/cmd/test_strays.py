"""Which domains are named as left over, and by what error."""

import pytest

from remus_ha.cmd.strays import strays
from remus_ha.hypervisor.base import Life
from remus_ha.hypervisor.xen.driver import Domain
from remus_ha.hypervisor.xen.savers import RESTORED
from tests.unit.control_server import UUID

COPY = Domain(7, "web1--incoming", UUID, Life.PAUSED)
GUEST = Domain(7, "web1", UUID, Life.SUSPENDED)


def codes(
    domain: Domain,
    *,
    protected: str = "",
    received: str = "",
    saved: int = 0,
    shut: str = "",
    known: str = UUID,
) -> list[str]:
    found = strays(
        [domain],
        protected=[protected],
        received=[received],
        saved={saved},
        shut={shut},
        known=[known],
    )
    return [error.code for error in found if UUID in error.advice]


def test_a_copy_that_no_session_here_receives() -> None:
    assert codes(COPY, protected=UUID) == ["PROTECT-019"]
    assert codes(COPY, received=UUID) == []


def test_a_migration_on_its_way_is_nobodys_left_over() -> None:
    assert codes(COPY, saved=RESTORED) == []


def test_a_suspended_guest_that_no_session_here_protects() -> None:
    assert codes(GUEST, received=UUID) == ["PROTECT-020"]
    assert codes(GUEST, protected=UUID) == []


def test_a_suspended_guest_that_was_never_protected_is_somebody_elses() -> None:
    assert codes(GUEST, known="") == []


def test_what_a_migration_leaves_is_not_let_go_on() -> None:
    assert codes(Domain(7, "web1--migratedaway", UUID, Life.SUSPENDED)) == []


def test_a_guest_that_somebody_saves_is_nobodys_left_over() -> None:
    assert codes(GUEST, saved=7) == []
    assert codes(GUEST, saved=8) == ["PROTECT-020"]


def test_a_copy_that_was_restored_behind_shut_vifs() -> None:
    copy = Domain(7, "web1", UUID, Life.RUNNING)
    assert codes(copy, shut=UUID) == ["PROTECT-021"]
    assert codes(copy, shut=UUID, received=UUID) == []
    assert codes(copy, shut=UUID, protected=UUID) == []


@pytest.mark.parametrize("life", [Life.RUNNING, Life.PAUSED, Life.POWEROFF, Life.CRASHED])
def test_any_other_guest_is_none_of_our_business(life: Life) -> None:
    assert codes(Domain(7, "web1", UUID, life)) == []
