import subprocess
import sys

import pytest

from remus_ha.loading import DriverMissing, entry_point
from remus_ha.witness.errors import (
    WitnessMissing,
    WitnessRequiresForce,
    WitnessUrlInvalid,
)
from remus_ha.witness.etcd import EtcdWitness
from remus_ha.witness.load import driver_name, open_witness
from remus_ha.witness.memory import Memory
from remus_ha.witness.none import NoWitness


@pytest.mark.parametrize("url", ["etcd://a:1", "etcd+https://a:1/p"])
@pytest.mark.parametrize("force", [True, False])
def test_etcd_by_scheme(url: str, force: bool) -> None:
    memory = Memory("i", "c", 5)
    witness = open_witness(url, force=force, memory=memory)
    assert isinstance(witness, EtcdWitness)
    assert witness.memory == memory


def test_nothing_given() -> None:
    with pytest.raises(WitnessMissing):
        open_witness(None, force=False)
    assert isinstance(open_witness(None, force=True), NoWitness)


def test_none_needs_force() -> None:
    with pytest.raises(WitnessRequiresForce):
        open_witness("none:", force=False)
    assert isinstance(open_witness("none:", force=True), NoWitness)


def test_none_needs_force_even_by_its_import_path() -> None:
    with pytest.raises(WitnessRequiresForce):
        open_witness("none:", force=False, entry="remus_ha.witness.none:NoWitness")


@pytest.mark.parametrize("url", ["", "etcd", "://a", "10.0.0.1:2379"])
def test_no_scheme(url: str) -> None:
    with pytest.raises(WitnessUrlInvalid):
        open_witness(url, force=True)


@pytest.mark.parametrize(
    "entry", ["no.such.module:X", "remus_ha.witness.etcd:Nothing", "remus_ha.witness.url:Tls", "x"]
)
def test_entries_that_are_no_driver(entry: str) -> None:
    with pytest.raises(DriverMissing):
        open_witness("zookeeper://a", force=False, entry=entry)


def test_an_unknown_scheme() -> None:
    with pytest.raises(DriverMissing) as caught:
        open_witness("zookeeper://a", force=False)
    assert "zookeeper" in str(caught.value)
    with pytest.raises(DriverMissing):
        entry_point("remus_ha.witness", "zookeeper")


@pytest.mark.parametrize("url", ["etcd://a:1", "etcd+https://a:1"])
def test_the_installed_entry_point_leads_to_the_driver(url: str) -> None:
    entry = entry_point("remus_ha.witness", driver_name(url))
    assert entry == "remus_ha.witness.etcd:EtcdWitness"
    assert isinstance(open_witness(url, force=False, entry=entry), EtcdWitness)


def test_the_drivers_load_nothing_big() -> None:
    """What a per-guest process loads: the standard library and this project."""
    code = (
        "import sys, remus_ha.witness.etcd, remus_ha.witness.load, remus_ha.witness.asker\n"
        "heavy = {'requests', 'urllib3', 'etcd3gw', 'stevedore', 'pbr', 'importlib.metadata'}\n"
        "print(*[m for m in sys.modules if m in heavy or m.startswith(('oslo', 'keystone'))])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == []
