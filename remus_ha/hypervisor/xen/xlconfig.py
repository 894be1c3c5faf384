"""From libxl's JSON configuration back to a file that ``xl create`` takes.

Needed where we do a guest's reboot ourselves: xl's own monitor is there no more from the first
checkpoint on. Covers what a PVH guest can have; anything else is refused rather than left out.
"""

import json
from typing import Any

from remus_ha.exceptions import RemusError

_BUILD = {
    "max_vcpus": "maxvcpus",
    "cmdline": "cmdline",
    "kernel": "kernel",
    "ramdisk": "ramdisk",
    "tsc_mode": "tsc_mode",
    "bootloader": "bootloader",
    "bootloader_user": "bootloader_user",
}
_BUILD_FLAGS = ("bootloader_restrict",)
_FLAGS = {"True": 1, "False": 0}
_IGNORED = frozenset(
    """
    acpi altp2m arch_arm arch_x86 blkdev_start claim_mode cpuid device_model
    device_model_stubdomain device_model_user device_model_version disable_migrate
    dm_restrict event_channels exec_ssidref iomem iommu_memkb ioports irqs
    max_grant_frames max_grant_version max_maptrack_frames max_memkb nested_hvm
    numa_placement rtc_timeoffset sched_params shadow_memkb target_memkb tee type type.hvm
    type.pvh video_memkb vmtrace_buf_kb vnuma_nodes vpmu avail_vcpus
    """.split()
)
_EMPTY: tuple[Any, ...] = ([], {}, None, "", 0, "<default>", "unknown")
_VIF = {
    "mac": "mac",
    "bridge": "bridge",
    "script": "script",
    "ifname": "vifname",
    "mtu": "mtu",
    "vlan": "vlan",
}
# xl-disk-configuration(5).
_DISK_FLAGS: dict[str, dict[Any, str]] = {
    "is_cdrom": {1: "devtype=cdrom"},
    "direct_io_safe": {True: "direct-io-safe"},
    "discard_enable": {"True": "discard", "False": "no-discard"},
    "trusted": {"True": "trusted", "False": "untrusted"},
}
# ``removable`` is nothing that xl could be told: it sets it for a cdrom, libvirt for every disk.
_DISK = ("backend", "format", "vdev", "readwrite", "script", "pdev_path", "removable")
_DISK_DEFAULTS = {"colo_enable": "False", "colo_restore_enable": "False", "specification": "xen"}


class NotRebootable(RemusError):
    code = "XEN-020"
    cause = "'{name}' could not be started again after a reboot: its configuration has {what}"
    remedy = (
        "Let on_poweroff, on_reboot and on_crash be other than restart, or do without that; a"
        " guest that has ended already is started with its own file ('xl create')."
    )


def render(config: dict[str, Any]) -> str:
    """The text of an xl.cfg(5). Raises NotRebootable."""
    create, build = config["c_info"], config["b_info"]
    name = create["name"]
    if create.get("type") != "pvh":
        raise NotRebootable(name=name, what=f"type {create.get('type')}")
    settings: dict[str, Any] = {
        "name": name,
        "uuid": create["uuid"],
        "type": "pvh",
        "memory": int(build["target_memkb"]) // 1024,
        "maxmem": int(build["max_memkb"]) // 1024,
        "vcpus": _vcpus(build),
        **{ours: build[theirs] for theirs, ours in _BUILD.items() if theirs in build},
        **{key: _FLAGS[build[key]] for key in _BUILD_FLAGS if build.get(key) in _FLAGS},
        # libxl's names of actions have underscores, xl's hyphens (coredump-restart, soft-reset).
        **{key: str(config[key]).replace("_", "-") for key in config if key.startswith("on_")},
        "vif": [
            _device(name, nic, _VIF, ("devid", "nictype", "backend_domid", "model"))
            for nic in config.get("nics", [])
        ],
        "disk": [_disk(name, disk) for disk in config.get("disks", [])],
    }
    _refuse_unknown(name, config, build)
    return "".join(
        f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in settings.items()
    )


def _vcpus(build: dict[str, Any]) -> int:
    available = build.get("avail_vcpus")
    return len(available) if isinstance(available, list) and available else 1


def _device(
    name: str, fields: dict[str, Any], known: dict[str, str], ignored: tuple[str, ...]
) -> str:
    _refuse_unknown_of(name, "vif", fields, {*known, *ignored})
    words = [f"{known[k]}={v}" for k, v in fields.items() if k in known and k not in ignored]
    return ",".join(words)


def _disk(name: str, disk: dict[str, Any]) -> str:
    if disk.get("backend", "phy") not in ("phy", "qdisk", "unknown"):
        raise NotRebootable(name=name, what=f"a disk with backend {disk['backend']}")
    told = {key: value for key, value in disk.items() if value != _DISK_DEFAULTS.get(key)}
    _refuse_unknown_of(name, "disk", told, {*_DISK, *_DISK_FLAGS})
    words = [
        f"format={disk.get('format', 'raw')}",
        f"vdev={disk['vdev']}",
        f"access={'rw' if disk.get('readwrite') else 'ro'}",
    ]
    if disk.get("backend") == "qdisk":
        words.append("backendtype=qdisk")
    if disk.get("script"):
        words.append(f"script={disk['script']}")
    words += [flags[disk[key]] for key, flags in _DISK_FLAGS.items() if disk.get(key) in flags]
    # It takes all that follows. A drive without a medium has none.
    return ",".join([*words, f"target={disk['pdev_path']}"] if disk.get("pdev_path") else words)


def _refuse_unknown_of(name: str, kind: str, fields: dict[str, Any], known: set[str]) -> None:
    for key, value in fields.items():
        if key not in known and value not in _EMPTY:
            raise NotRebootable(name=name, what=f"a {kind} with {key}")


def _refuse_unknown(name: str, config: dict[str, Any], build: dict[str, Any]) -> None:
    """Whatever is set and not translated would be lost by the reboot."""
    known = {"c_info", "b_info", "nics", "disks", "consoles"}
    for key, value in config.items():
        if key not in known and not key.startswith("on_") and value not in ([], {}, None):
            raise NotRebootable(name=name, what=key)
    known = {*_BUILD, *_BUILD_FLAGS, *_IGNORED}
    for key, value in build.items():
        if key not in known and value not in ([], {}, None):
            raise NotRebootable(name=name, what=f"b_info.{key}")
