"""The lab's etcd: served when started, remembering what it was told, empty when wiped."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.lab.errors import StepFailed
from remus_ha.lab.network import Network
from remus_ha.lab.witness import Witness
from remus_ha.witness import admin
from remus_ha.witness.errors import WitnessNotInitialised

pytestmark = pytest.mark.root


@pytest.fixture
def witness(network: Network, tmp_path: Path) -> Iterator[Witness]:
    made = Witness(network, tmp_path, tmp_path / "store")
    yield made
    made.remove()
    assert not made.running
    assert not (tmp_path / "store" / "witness").exists()


def incarnation(network: Network, witness: Witness) -> str:
    with network.enter():
        return admin.inspect(witness.url).incarnation


def test_it_remembers_over_a_kill(network: Network, witness: Witness) -> None:
    witness.start()
    witness.start()
    witness.initialise()
    name = incarnation(network, witness)
    witness.initialise()
    witness.stop()
    assert not witness.running
    witness.stop()
    witness.start()
    assert incarnation(network, witness) == name


def test_a_wiped_one_knows_nothing(network: Network, witness: Witness) -> None:
    witness.start()
    witness.initialise()
    witness.wipe()
    assert witness.running
    with pytest.raises(WitnessNotInitialised):
        incarnation(network, witness)


def test_one_that_cannot_start_says_why(network: Network, witness: Witness, tmp_path: Path) -> None:
    other = Witness(network, tmp_path / "other", tmp_path / "other-store")
    (tmp_path / "other").mkdir()
    witness.start()
    with pytest.raises(StepFailed, match="address already in use"):
        other.start()
    assert not other.running
    other.remove()
    assert witness.running
