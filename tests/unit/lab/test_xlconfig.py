import ast

import pytest

from remus_ha.lab.errors import BadValue
from remus_ha.lab.plan import GuestPlan
from remus_ha.lab.xlconfig import DiskSpec, GuestSpec, plain_disks, render


def settings(spec: GuestSpec) -> dict[str, object]:
    text = render(spec, GuestPlan(spec.name, 51, spec.vifs))
    pairs = (line.split(" = ", 1) for line in text.splitlines())
    return {key: ast.literal_eval(value) for key, value in pairs}


def test_standard_guest() -> None:
    made = settings(GuestSpec("web", memory_mib=128))
    assert made["name"] == "web"
    assert made["type"] == "pvh"
    assert made["memory"] == 128
    assert made["tsc_mode"] == "native"
    endings = (made["on_poweroff"], made["on_reboot"], made["on_crash"])
    assert endings == ("destroy", "restart", "preserve")


def test_the_guest_learns_its_name_number_and_load() -> None:
    line = str(settings(GuestSpec("web", vifs=2, dirty_kib_s=7, options="loop_us=1000"))["cmdline"])
    assert {"name=web", "number=51", "vifs=2", "dirty_kib_s=7", "loop_us=1000"} <= set(line.split())


def test_each_vif_has_a_mac_and_the_quick_script() -> None:
    vifs = settings(GuestSpec("web", vifs=2))["vif"]
    assert vifs == [
        "mac=00:16:3e:00:00:33,bridge=xenbr0",
        "mac=00:16:3e:00:01:33,bridge=xenbr0",
    ]


def test_another_script_is_named() -> None:
    vifs = settings(GuestSpec("web", vif_script="vif-bridge"))["vif"]
    assert vifs == ["mac=00:16:3e:00:00:33,bridge=xenbr0,script=vif-bridge"]


def test_disks_are_images_on_the_data_disk() -> None:
    made = settings(GuestSpec("web", disks=plain_disks(2)))
    assert made["disk"] == [
        "format=raw,vdev=xvda,access=rw,backendtype=qdisk,target=/srv/guests/web-xvda.img",
        "format=raw,vdev=xvdb,access=rw,backendtype=qdisk,target=/srv/guests/web-xvdb.img",
    ]
    assert "disks=2" in str(made["cmdline"]).split()


def test_another_format_and_backend() -> None:
    disk = DiskSpec("xvda", format="qcow2", backend="tap")
    assert settings(GuestSpec("web", disks=(disk,)))["disk"] == [
        "format=qcow2,vdev=xvda,access=rw,backendtype=tap,target=/srv/guests/web-xvda.img"
    ]


def test_a_block_device_of_the_host() -> None:
    disk = DiskSpec("xvda", backend="phy", device="/dev/nbd0")
    assert settings(GuestSpec("web", disks=(disk,)))["disk"] == [
        "format=raw,vdev=xvda,access=rw,backendtype=phy,target=/dev/nbd0"
    ]


def test_a_disk_that_is_only_read() -> None:
    disks = (DiskSpec("xvda", readonly=True), DiskSpec("xvdb"))
    made = settings(GuestSpec("web", disks=disks))["disk"]
    assert isinstance(made, list)
    assert [("access=ro" in disk, "access=rw" in disk) for disk in made] == [
        (True, False),
        (False, True),
    ]


def test_a_guest_without_disks_hears_nothing_of_them() -> None:
    made = settings(GuestSpec("web"))
    assert "disk" not in made
    assert "disks=" not in str(made["cmdline"])


def test_a_word_of_the_options_wins_over_the_number_of_disks() -> None:
    words = str(settings(GuestSpec("web", disks=plain_disks(2), options="disks=1"))["cmdline"])
    assert [word for word in words.split() if word.startswith("disks=")] == ["disks=2", "disks=1"]


def test_the_disk_with_a_file_system_is_the_databases() -> None:
    disks = (DiskSpec("xvda"), DiskSpec("xvdb", file_system="ext4"))
    made = settings(GuestSpec("web", disks=disks, options="writers=2"))
    assert str(made["disk"]).count("vdev=") == 2
    words = str(made["cmdline"]).split()
    assert words[-4:] == ["disks=1", "ext4", "database=xvdb", "writers=2"]


def test_a_database_alone_leaves_nothing_to_the_disk_program() -> None:
    line = str(settings(GuestSpec("web", disks=(DiskSpec("xvda", file_system="ext4"),)))["cmdline"])
    assert "disks=" not in line
    assert line.endswith("ext4 database=xvda")


@pytest.mark.parametrize("count", [-1, 9])
def test_a_number_of_disks_that_cannot_be(count: int) -> None:
    with pytest.raises(BadValue, match="number of disks"):
        plain_disks(count)
