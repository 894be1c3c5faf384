"""``remus-ha check``: every obstacle at once, whatever the first one is.

The hypervisor's answers and the backup's receiver are a test's; all else is the product's.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from remus_ha import conf, rundir
from remus_ha.checkpoint import arrange
from remus_ha.checkpoint.arrange import Arrangement
from remus_ha.checkpoint.receiver import Receiver
from remus_ha.checkpoint.wish import Wish
from remus_ha.cmd.remus_ha import main
from remus_ha.hypervisor.base import Guest, Life
from remus_ha.hypervisor.errors import BridgeMissing, NoSuchGuest, NotEnoughMemory
from remus_ha.hypervisor.xen import lookup
from remus_ha.hypervisor.xen.disks import ServedDisk
from remus_ha.hypervisor.xen.driver import XenDriver
from remus_ha.receive.request import CHECKED, refusal
from tests.unit.hypervisor.xen.listing import DISKS, other, pvh
from tests.unit.hypervisor.xen.test_lookup import Xenstore

REFUSED = refusal(
    NotEnoughMemory(free_mib=1, needed_mib=2), BridgeMissing(bridge="xenbr0", vif="vif 0")
)


class Xen(XenDriver):
    """The driver on a host with one guest, whose disks no QEMU serves."""

    version = "4.17"

    def __init__(self, entry: dict[str, Any]) -> None:
        self._xs = Xenstore({})
        self._guest = lookup.parse(entry, Life.RUNNING)

    def find(self, name: str) -> Guest:
        if name != self._guest.name:
            raise NoSuchGuest(name=name)
        return self._guest


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A host without protections, and no configured witness."""
    for name in ("ROOT", "STATE", "LOGS"):
        monkeypatch.setattr(rundir, name, tmp_path / name)
    monkeypatch.setattr(conf, "PATH", tmp_path / "remus-ha.conf")
    return monkeypatch


def has(host: pytest.MonkeyPatch, entry: dict[str, Any]) -> None:
    host.setattr(arrange, "XenDriver", lambda: Xen(entry))


def bare() -> dict[str, Any]:
    """A guest without devices."""
    entry = pvh()
    entry["config"].pop("nics")
    return entry


def receiver(tmp_path: Path, answer: bytes) -> str:
    """A command in the backup's place, which answers whoever only looks."""
    (tmp_path / "answer").write_bytes(answer)
    script = tmp_path / "receiver"
    script.write_text(f'[ "$1" = --check ] && read request && cat {tmp_path}/answer\n')
    return f"sh {script}"


def check(
    capsys: pytest.CaptureFixture[str], command: str, *options: str, domain: str = "web1"
) -> list[str]:
    """The codes that it tells, in order, the backup's own too; its status says if there are any."""
    status = main(["check", "--json", "-s", "", *options, domain, command])
    told = json.loads(capsys.readouterr().out)
    assert status == (1 if told else 0)
    carried = "the backup refuses: "
    return [
        e["cause"].removeprefix(carried)[:7] if carried in e["cause"] else e["code"] for e in told
    ]


def test_nothing_hides_what_else_there_is(
    host: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No witness, options without ``-F``, the guest's own obstacles, the backup's."""
    entry = other("hvm")
    entry["config"] |= {"pcidevs": [{"dev": 3}], "disks": DISKS, "on_reboot": "destroy"}
    has(host, entry)
    codes = check(capsys, receiver(tmp_path, REFUSED), "-n")
    assert codes == [
        *("PROTECT-006", "WITNESS-004"),
        *("XEN-006", "XEN-007", "XEN-008"),
        *("XEN-013", "XEN-014"),
    ]


def test_a_guest_that_is_not_there_does_not_hide_the_missing_witness(
    host: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    has(host, bare())
    codes = check(capsys, receiver(tmp_path, CHECKED), domain="web2")
    assert codes == ["WITNESS-004", "XEN-003"]


def test_a_receiver_that_is_silent_does_not_hide_the_rest(
    host: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    has(host, bare())
    witness = "etcd://127.0.0.1:1"
    assert check(capsys, "true", "--witness", witness) == ["WITNESS-001", "PROTECT-005"]
    assert check(capsys, "true", "--witness", "none:") == ["WITNESS-006", "PROTECT-005"]


def test_where_nothing_stands_in_the_way(
    host: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    has(host, bare())
    assert check(capsys, receiver(tmp_path, CHECKED), "-F") == []


def test_two_disks_that_are_mapped_onto_one_path(
    host: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {"xvda": "/images/web1.img", "xvdb": "/data/web1.img"}
    found = [ServedDisk(vdev, path, 1 << 20, vdev, "raw") for vdev, path in paths.items()]
    host.setattr(Xen, "disks", lambda _xen, _guest: found)
    has(host, bare())
    one = ["--disk-map", "/images=/srv", "--disk-map", "/data=/srv/"]
    codes = check(capsys, receiver(tmp_path, CHECKED), "-F", *one)
    assert codes == ["DISK-181"]
    assert check(capsys, receiver(tmp_path, CHECKED), "-F", *one[:2]) == []


def test_protect_is_refused_for_the_first_of_them(
    host: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    has(host, other("hvm"))
    asked = tmp_path / "asked"
    assert main(["protect", "-n", "-s", "", "web1", f"touch {asked}"]) == 1
    assert "PROTECT-006" in capsys.readouterr().err
    assert not asked.exists(), "the backup was asked for a wish that is refused"
    assert main(["protect", "-F", "-n", "-s", "", "web1", "true"]) == 1
    assert "XEN-006" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["replicate_disks", "blackhole"])
def test_disks_that_nobody_copies_may_be_any(host: pytest.MonkeyPatch, option: str) -> None:
    """With ``-F -d``, and with ``-F -b``, where there is nobody to copy them to."""
    entry = bare()
    entry["config"]["disks"] = DISKS
    has(host, entry)
    told = Wish("web1", "b", force=True)
    assert [e.code for e in Arrangement(told, Receiver(told)).obstacles()] == ["XEN-008"]
    value = not getattr(told, option)
    told = replace(told, **{option: value})
    arrangement = Arrangement(told, Receiver(told))
    assert arrangement.obstacles() == []
    assert arrangement._disk_specs() == ()


def test_a_dry_run_of_protect_is_a_check(
    host: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    has(host, bare())
    words = ["-F", "--witness", "none:", "-s", "", "web1", receiver(tmp_path, REFUSED)]
    assert main(["protect", "--dry-run", *words]) == 1
    said = capsys.readouterr().out
    assert "XEN-013" in said
    assert main(["check", *words]) == 1
    assert capsys.readouterr().out == said
