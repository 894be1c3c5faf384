"""The guest that is paused for some instants, and what a death in them leaves."""

from pathlib import Path

import pytest

from remus_ha import rundir
from remus_ha.checkpoint.quiesced import go_on, paused_by_us, quiesced
from remus_ha.hypervisor.base import Life

UUID = "6a2e2a3e-8d4b-4b6c-9a57-0d8e6a1f0c11"


class Domain:
    """One that only pauses."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def life(self) -> Life:
        return self._life

    def pause(self) -> None:
        assert paused_by_us(UUID), "a death right after the pause has to be seen"
        self._life = Life.PAUSED

    def unpause(self) -> None:
        self._life = Life.RUNNING

    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture(autouse=True)
def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rundir, "ROOT", tmp_path)
    rundir.directory("primary", UUID).mkdir(parents=True)


def test_it_runs_again_afterwards_also_after_an_error() -> None:
    domain = Domain(Life.RUNNING)

    def fail() -> None:
        with quiesced(UUID, lambda: domain):
            assert domain.life() is Life.PAUSED
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert domain.life() is Life.RUNNING
    assert not paused_by_us(UUID)


def test_an_operators_pause_stays() -> None:
    domain = Domain(Life.PAUSED)
    with quiesced(UUID, lambda: domain):
        assert not paused_by_us(UUID)
    assert domain.life() is Life.PAUSED


def test_whoever_comes_after_a_death_lets_it_go_on() -> None:
    domain = Domain(Life.RUNNING)
    context = quiesced(UUID, lambda: domain)
    context.__enter__()
    assert paused_by_us(UUID)
    go_on(UUID, domain)
    assert domain.life() is Life.RUNNING
    assert not paused_by_us(UUID)
