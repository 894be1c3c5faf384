"""What the guardian does for a guest whose process has died."""

from pathlib import Path

import pytest

from remus_ha import rundir
from remus_ha.checkpoint.guardian import let_go_on
from remus_ha.checkpoint.quiesced import paused_by_us, quiesced
from remus_ha.hypervisor.base import Life
from tests.functional.checkpoint.guest import Guest, Story
from tests.unit.control_server import UUID


@pytest.fixture(name="guest")
def _guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guest:
    monkeypatch.setattr(rundir, "ROOT", tmp_path)
    rundir.directory("primary", UUID).mkdir(parents=True)
    return Guest(Story())


def test_a_suspended_guest_is_resumed(guest: Guest) -> None:
    guest.become(Life.SUSPENDED)
    let_go_on(UUID, guest)
    assert guest.life() is Life.RUNNING


def test_a_request_that_the_guest_has_not_taken_is_withdrawn(guest: Guest) -> None:
    """Its operator has paused it: it would take it much later, and nobody would resume it."""
    guest.take_s = None
    guest.request_suspend()
    let_go_on(UUID, guest)
    assert not guest.withdraw_suspend(), "nothing is there to be taken any more"
    assert guest.life() is Life.RUNNING


def test_a_guest_that_its_operator_has_paused_stays_paused(guest: Guest) -> None:
    guest.become(Life.PAUSED)
    let_go_on(UUID, guest)
    assert guest.life() is Life.PAUSED


def test_a_guest_that_was_paused_for_instants_goes_on(guest: Guest) -> None:
    inside = quiesced(UUID, lambda: guest)
    inside.__enter__()  # and then its process dies
    assert guest.life() is Life.PAUSED
    let_go_on(UUID, guest)
    assert (guest.life(), paused_by_us(UUID)) == (Life.RUNNING, False)
