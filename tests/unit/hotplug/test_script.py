"""A guest's configuration gets our script; what it replaced is remembered."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from remus_ha import rundir
from remus_ha.hotplug import store
from remus_ha.hotplug.errors import ForeignBackend, NoMac
from remus_ha.hotplug.script import SCRIPT, is_stock, records_of, substitute
from remus_ha.hotplug.store import VifRecord

CAPTURED = Path(__file__).parent / "xl-list-l-4.17.json"


@pytest.fixture(autouse=True)
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of the test's own."""
    monkeypatch.setattr(rundir, "ROOT", tmp_path / "run")
    monkeypatch.setattr(store, "STATE_ROOT", tmp_path / "state")


@pytest.fixture
def config() -> dict[str, Any]:
    """``xl list -l`` of a PVH guest with two vifs on Xen 4.17, one by a script of its own.

    It was captured after a failover, when both were by ours.
    """
    loaded: dict[str, Any] = json.loads(CAPTURED.read_text())[0]["config"]
    loaded["nics"][1]["script"] = "/etc/xen/scripts/vif-openvswitch"
    return loaded


def test_only_the_scripts_change(config: dict[str, Any]) -> None:
    before = copy.deepcopy(config)
    changed = substitute(config)
    assert config == before, "the argument was changed"
    assert [nic["script"] for nic in changed["nics"]] == [str(SCRIPT)] * 2
    for nic, was in zip(changed["nics"], before["nics"], strict=True):
        nic["script"] = was["script"]
    assert changed == before


def test_another_path_may_be_named(config: dict[str, Any]) -> None:
    changed = substitute(config, "/opt/vif")
    assert {nic["script"] for nic in changed["nics"]} == {"/opt/vif"}


def test_records_remember_bridge_and_script(config: dict[str, Any]) -> None:
    first, second = config["nics"]
    first["script"], second["script"] = "/etc/xen/scripts/vif-bridge", "/opt/my-vif"
    assert records_of(config, "uuid-a", "s1") == (
        VifRecord(first["mac"], "shut", first["bridge"], "", "uuid-a", "s1"),
        VifRecord(second["mac"], "shut", second["bridge"], "/opt/my-vif", "uuid-a", "s1"),
    )


def test_a_second_protection_finds_the_guests_own_script_in_the_records(
    config: dict[str, Any],
) -> None:
    first = records_of(config, "uuid-a", "s1")
    assert [r.original for r in first] == ["", "/etc/xen/scripts/vif-openvswitch"]
    for record in first:
        store.write(record)
    again = records_of(substitute(config), "uuid-a", "s2")
    assert [r.original for r in again] == [r.original for r in first]


def test_without_a_record_our_script_stands_for_the_usual_one(config: dict[str, Any]) -> None:
    assert {r.original for r in records_of(substitute(config), "uuid-a", "s1")} == {""}


def test_macs_are_written_in_lower_case(config: dict[str, Any]) -> None:
    wanted = [nic["mac"] for nic in config["nics"]]
    for nic in config["nics"]:
        nic["mac"] = nic["mac"].upper()
    assert [r.mac for r in records_of(config, "", "")] == wanted


@pytest.mark.parametrize("backend", [{"backend_domid": 3}, {"backend_domname": "driver"}])
def test_a_driver_domains_vif_is_refused(config: dict[str, Any], backend: dict[str, Any]) -> None:
    config["nics"][1].update(backend)
    for call in (lambda: substitute(config), lambda: records_of(config, "", "")):
        with pytest.raises(ForeignBackend) as refused:
            call()
        assert config["nics"][1]["mac"] in str(refused.value)


@pytest.mark.parametrize("backend", [{"backend_domid": 0}, {"backend_domname": "Domain-0"}])
def test_dom0_by_any_name_is_dom0(config: dict[str, Any], backend: dict[str, Any]) -> None:
    config["nics"][1].update(backend)
    assert len(records_of(config, "", "")) == 2


def test_a_vif_without_mac_is_refused(config: dict[str, Any]) -> None:
    del config["nics"][0]["mac"]
    with pytest.raises(NoMac):
        records_of(config, "", "")


def test_a_guest_without_vifs_needs_nothing(config: dict[str, Any]) -> None:
    del config["nics"]
    assert substitute(config) == config
    assert records_of(config, "", "") == ()


@pytest.mark.parametrize(
    ("script", "stock"),
    [
        ("", True),
        ("vif-bridge", True),
        ("/etc/xen/scripts/vif-bridge", True),
        (str(SCRIPT), True),
        ("vif-openvswitch", False),
        ("/opt/vif-bridge-mine", False),
    ],
)
def test_which_scripts_only_join_a_bridge(script: str, stock: bool) -> None:
    assert is_stock(script) is stock
