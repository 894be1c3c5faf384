"""Entries of ``xl list -l`` in the shape that Xen 4.17 prints them; a recording of 4.20's."""

import copy
import json
from pathlib import Path
from typing import Any, cast

_RECORDED = Path(__file__).with_name("xl-create-n-4.20.json")

UUID = "6a2e2a3e-8d4b-4b6c-9a57-0d8e6a1f0c11"

DOM0: dict[str, Any] = {
    "domid": 0,
    "config": {
        "c_info": {"type": "pv", "name": "Domain-0"},
        "b_info": {
            "max_memkb": 1048576,
            "target_memkb": 1048575,
            "sched_params": {},
            "type.pv": {},
            "arch_arm": {},
            "arch_x86": {},
        },
    },
}

PVH: dict[str, Any] = {
    "domid": 3,
    "config": {
        "c_info": {
            "type": "pvh",
            "name": "web1",
            "uuid": UUID,
            "run_hotplug_scripts": "True",
        },
        "b_info": {
            "max_vcpus": 2,
            "avail_vcpus": [0, 1],
            "tsc_mode": "native",
            "max_memkb": 98304,
            "target_memkb": 98304,
            "shadow_memkb": 3072,
            "sched_params": {},
            "claim_mode": "True",
            "kernel": "/root/guest/vmlinuz",
            "cmdline": "console=hvc0 quiet",
            "ramdisk": "/root/guest/initrd",
            "type.pvh": {},
            "arch_arm": {},
            "arch_x86": {},
        },
        "nics": [
            {
                "devid": 0,
                "mac": "00:16:3E:00:00:50",
                "bridge": "xenbr0",
                "script": "/etc/xen/scripts/vif-bridge",
                "nictype": "vif",
            },
            {
                "devid": 1,
                "mac": "00:16:3e:00:00:51",
                "bridge": "xenbr1",
                "script": "vif-openvswitch",
                "ifname": "web1-inside",
                "nictype": "vif",
            },
        ],
        "on_reboot": "restart",
    },
}

DISKS = [
    {
        "pdev_path": "/var/lib/xen/web1.img",
        "vdev": "xvda",
        "backend": "phy",
        "format": "raw",
        "removable": 1,
        "readwrite": 1,
    },
    {"pdev_path": "/dev/vg0/data", "vdev": "xvdb", "backend": "phy", "format": "raw"},
    {"vdev": "hdc", "backend": "qdisk", "format": "raw", "is_cdrom": 1, "removable": 1},
]


def pvh() -> dict[str, Any]:
    return copy.deepcopy(PVH)


def other(kind: str) -> dict[str, Any]:
    """The same guest as PV or HVM."""
    entry = pvh()
    entry["config"]["c_info"]["type"] = kind
    build = entry["config"]["b_info"]
    build[f"type.{kind}"] = build.pop("type.pvh")
    return entry


def newest() -> dict[str, Any]:
    """What Xen 4.20's ``xl create -n`` makes of a file with nearly all that it can say of a PVH."""
    return cast("dict[str, Any]", json.loads(_RECORDED.read_text()))
