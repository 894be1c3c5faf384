"""A guest that asks for a reboot is created again from its own JSON configuration."""

import ast
from typing import Any

import pytest

from remus_ha.hypervisor.xen.xlconfig import NotRebootable, render
from tests.unit.hypervisor.xen.listing import DISKS, UUID, newest, other, pvh


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """The text read back: an xl configuration of literals is Python as well."""
    lines = render(config).splitlines()
    return {
        key.strip(): ast.literal_eval(value.strip())
        for key, _, value in (line.partition("=") for line in lines)
    }


def test_a_pvh_guest_comes_back_as_it_was() -> None:
    told = settings(pvh()["config"])
    assert told == {
        "name": "web1",
        "uuid": UUID,
        "type": "pvh",
        "memory": 96,
        "maxmem": 96,
        "vcpus": 2,
        "maxvcpus": 2,
        "kernel": "/root/guest/vmlinuz",
        "ramdisk": "/root/guest/initrd",
        "cmdline": "console=hvc0 quiet",
        "tsc_mode": "native",
        "on_reboot": "restart",
        "vif": [
            "mac=00:16:3E:00:00:50,bridge=xenbr0,script=/etc/xen/scripts/vif-bridge",
            "mac=00:16:3e:00:00:51,bridge=xenbr1,script=vif-openvswitch,vifname=web1-inside",
        ],
        "disk": [],
    }


def test_disks() -> None:
    config = pvh()["config"]
    config["disks"] = DISKS[:2]
    assert settings(config)["disk"] == [
        "format=raw,vdev=xvda,access=rw,target=/var/lib/xen/web1.img",
        "format=raw,vdev=xvdb,access=ro,target=/dev/vg0/data",
    ]
    config["disks"] = [{**DISKS[0], "backend": "qdisk"}]
    assert settings(config)["disk"] == [
        "format=raw,vdev=xvda,access=rw,backendtype=qdisk,target=/var/lib/xen/web1.img"
    ]


def disk_of(**told: Any) -> str:
    """What is made of a disk of which libxl tells that beside its name and its image."""
    config = pvh()["config"]
    config["disks"] = [DISKS[0] | told]
    [made] = settings(config)["disk"]
    return str(made)


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("is_cdrom", 1, "devtype=cdrom"),
        ("direct_io_safe", True, "direct-io-safe"),
        ("discard_enable", "True", "discard"),
        ("discard_enable", "False", "no-discard"),
        ("trusted", "False", "untrusted"),
    ],
)
def test_how_a_disk_is_served_is_told_before_its_target(key: str, value: Any, word: str) -> None:
    assert disk_of(**{key: value}).endswith(f",access=rw,{word},target=/var/lib/xen/web1.img")


def test_an_empty_drive_stays_one() -> None:
    """Without a target: xl takes that of a cdrom alone."""
    config = pvh()["config"]
    config["disks"] = [DISKS[2]]
    assert settings(config)["disk"] == [
        "format=raw,vdev=hdc,access=ro,backendtype=qdisk,devtype=cdrom"
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("backend_domid", 3),
        ("backend_domname", "storage"),
        ("colo_enable", "True"),
        ("specification", "virtio"),
        ("hidden_disk", "/var/lib/xen/hidden.img"),
    ],
)
def test_what_of_a_disk_would_be_lost_is_refused(key: str, value: Any) -> None:
    with pytest.raises(NotRebootable, match=f"a disk with {key}"):
        disk_of(**{key: value})


def test_what_a_disk_has_by_default_is_not_lost() -> None:
    told = {"colo_enable": "False", "specification": "xen", "transport": "unknown"}
    assert disk_of(**told, backend_domid=0, script="", trusted="<default>") == disk_of()


@pytest.mark.parametrize("kind", ["pv", "hvm"])
def test_other_kinds_are_refused(kind: str) -> None:
    with pytest.raises(NotRebootable, match=kind):
        render(other(kind)["config"])


def test_what_xen_4_20_knows_besides() -> None:
    config = newest()
    del config["virtios"]
    told = settings(config)
    assert (told["bootloader_restrict"], told["bootloader_user"]) == (1, "nobody")
    assert told["vif"][1].endswith(
        "vlan=10p/20,mac=00:16:3e:00:00:51,bridge=xenbr1,vifname=web1-inside,script=vif-openvswitch"
    )


@pytest.mark.parametrize(("restrict", "told"), [("False", 0), ("<default>", None)])
def test_a_flag_that_is_not_set(restrict: str, told: int | None) -> None:
    config = pvh()["config"]
    config["b_info"]["bootloader_restrict"] = restrict
    assert settings(config).get("bootloader_restrict") == told


@pytest.mark.parametrize("key", ["pcidevs", "p9s", "vtpms", "virtios"])
def test_a_device_that_would_be_lost_is_refused(key: str) -> None:
    config = pvh()["config"]
    config[key] = [{"devid": 0}]
    with pytest.raises(NotRebootable, match=key):
        render(config)


def test_a_setting_that_would_be_lost_is_refused() -> None:
    config = pvh()["config"]
    config["b_info"]["extra_pages"] = 7
    with pytest.raises(NotRebootable, match="extra_pages"):
        render(config)


def test_what_is_set_to_nothing_is_not_lost() -> None:
    config = pvh()["config"]
    config["b_info"]["extra_pages"] = []
    config["p9s"] = []
    assert settings(config)["name"] == "web1"


@pytest.mark.parametrize("cmdline", ['root="LABEL=x y"', "a\\b", "tab\there", "ümlaut"])
def test_text_survives_its_quotes(cmdline: str) -> None:
    config = pvh()["config"]
    config["b_info"]["cmdline"] = cmdline
    assert settings(config)["cmdline"] == cmdline
    assert "\\u" not in render(config), "xl knows no such escape"


def test_actions_are_spelt_as_xl_spells_them() -> None:
    config = pvh()["config"]
    config["on_soft_reset"], config["on_crash"] = "soft_reset", "coredump_restart"
    told = settings(config)
    assert (told["on_soft_reset"], told["on_crash"]) == ("soft-reset", "coredump-restart")
