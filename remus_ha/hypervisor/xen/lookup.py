"""Finding a guest and its devices through ``xl list -l`` and xenstore.

The configuration is libxl's JSON (libxl_domain_config_to_json), the form in which xl sends it
to a restoring host.
"""

import json
from typing import Any

from remus_ha.hypervisor import errors
from remus_ha.hypervisor.base import Disk, Guest, Life, Vif
from remus_ha.hypervisor.xen.domain import XenDomain, xl

# Devices whose state or output nothing here checkpoints, replicates or holds.
_OTHER_DEVICES = (
    "p9s",
    "pvcallsifs",
    "vtpms",
    "vsnds",
    "vdispls",
    "vfbs",
    "vkbs",
    "channels",
    "usbctrls",
    "virtios",
)


def find(name: str, version: str) -> Guest:
    """The guest of that name, domain id or UUID. Raises NoSuchGuest, ConfigUnreadable."""
    for entry in entries():
        info = entry["config"]["c_info"]
        if name in (info.get("name"), info.get("uuid"), str(entry["domid"])) and entry["domid"]:
            return _guest(entry, version)
    raise errors.NoSuchGuest(name=name)


def entries() -> list[dict[str, Any]]:
    """Every domain as ``xl list -l`` tells it. Raises ConfigUnreadable."""
    text = xl("list", "-l")
    try:
        listed = json.loads(text)
    except ValueError as e:
        raise errors.ConfigUnreadable(name="*", detail=str(e)) from e
    return [entry for entry in listed if "config" in entry]


def _guest(entry: dict[str, Any], version: str) -> Guest:
    domid = int(entry["domid"])
    control = XenDomain(domid, version, watch=False)
    try:
        life = control.life()
    finally:
        control.close()
    return parse(entry, life)


def parse(entry: dict[str, Any], life: Life) -> Guest:
    """Turn one entry of ``xl list -l`` into a Guest. Raises ConfigUnreadable."""
    config, domid = entry["config"], int(entry["domid"])
    try:
        create, build = config["c_info"], config["b_info"]
        return Guest(
            name=create["name"],
            uuid=create["uuid"],
            domid=domid,
            kind=create["type"],
            memory_kib=int(build["max_memkb"]),
            vcpus=int(build.get("max_vcpus", 1)),
            life=life,
            vifs=tuple(_vif(domid, i, nic) for i, nic in enumerate(config.get("nics", []))),
            disks=tuple(_disk(disk) for disk in config.get("disks", [])),
            passthrough=_passthrough(config),
            other_devices=tuple(kind for kind in _OTHER_DEVICES if config.get(kind)),
            config=config,
        )
    except (KeyError, TypeError, ValueError) as e:
        name = config.get("c_info", {}).get("name", domid)
        raise errors.ConfigUnreadable(name=name, detail=f"no {e}") from e


def _vif(domid: int, index: int, nic: dict[str, Any]) -> Vif:
    devid = int(nic.get("devid", index))
    return Vif(
        devid=devid,
        name=nic.get("ifname") or f"vif{domid}.{devid}",
        mac=nic["mac"].lower(),
        bridge=nic.get("bridge", ""),
        script=nic.get("script", ""),
        backend_domid=int(nic.get("backend_domid", 0)),
    )


def _disk(disk: dict[str, Any]) -> Disk:
    return Disk(
        vdev=disk["vdev"],
        path=disk.get("pdev_path", ""),
        writable=bool(disk.get("readwrite", 0)),
        cdrom=bool(disk.get("is_cdrom", 0)),
        format=disk.get("format", "raw"),
    )


def _passthrough(config: dict[str, Any]) -> tuple[str, ...]:
    kinds = ("pcidevs", "dtdevs", "usbdevs", "rdms")
    return tuple(f"{kind[:-1]} {i}" for kind in kinds for i in range(len(config.get(kind, []))))
