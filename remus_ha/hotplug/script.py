"""Our hotplug script, and a libxl configuration that uses it."""

import copy
from pathlib import Path
from typing import Any

from remus_ha.hotplug import store
from remus_ha.hotplug.errors import ForeignBackend, NoMac
from remus_ha.hotplug.store import VifRecord, VifState

SCRIPT = Path(__file__).with_name("vif-remus")
DOM0 = ("", "0", "Domain-0")
_STOCK = ("", "vif-bridge", SCRIPT.name)


def is_stock(script: str) -> bool:
    """Whether a hotplug script does what opening a vif does anyway: join a Linux bridge."""
    return script.rpartition("/")[2] in _STOCK


def own_script(mac: str, script: str) -> str:
    """The guest's own hotplug script, empty for the usual one.

    ``script`` is what its configuration names; where that is ours, a former protection put it
    there, and its record says what it replaced. Raises BadRecord.
    """
    if script.rpartition("/")[2] == SCRIPT.name:
        record = store.read(mac)
        script = record.original if record else ""
    return "" if is_stock(script) else script


def substitute(config: dict[str, Any], script_path: str | Path = SCRIPT) -> dict[str, Any]:
    """A copy of ``config`` (as ``xl list -l`` prints it) whose vifs are brought up by our script.

    What it replaced is in ``records_of(config)``. Raises ForeignBackend for a vif that dom0 does
    not serve.
    """
    changed = copy.deepcopy(config)
    for nic in changed.get("nics", []):
        _check_backend(nic)
        nic["script"] = str(script_path)
    return changed


def records_of(config: dict[str, Any], guest: str, session: str) -> tuple[VifRecord, ...]:
    """A record "shut" for every vif of ``config``, with its own script and bridge.

    Raises NoMac, ForeignBackend, BadRecord.
    """
    return tuple(
        _record(nic, position, guest, session)
        for position, nic in enumerate(config.get("nics", []))
    )


def _record(nic: dict[str, Any], position: int, guest: str, session: str) -> VifRecord:
    _check_backend(nic)
    if not nic.get("mac"):
        raise NoMac(devid=nic.get("devid", position))
    mac = str(nic["mac"]).lower()
    return VifRecord(
        mac=mac,
        state=VifState.SHUT,
        bridge=str(nic.get("bridge") or ""),
        original=own_script(mac, str(nic.get("script") or "")),
        guest=guest,
        session=session,
        vifname=str(nic.get("ifname") or ""),
    )


def _check_backend(nic: dict[str, Any]) -> None:
    for backend in (nic.get("backend_domid") or "", nic.get("backend_domname") or ""):
        if str(backend) not in DOM0:
            raise ForeignBackend(mac=nic.get("mac", "without MAC"), backend=backend)
