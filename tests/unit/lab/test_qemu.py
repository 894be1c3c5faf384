from pathlib import Path

from remus_ha.lab.image import Images
from remus_ha.lab.plan import plan_hosts
from remus_ha.lab.qemu import HostFiles, Machine, command

IMAGES = Images(
    disk=Path("/i/disk"),
    xen=Path("/i/xen"),
    kernel=Path("/i/vmlinux"),
    initrd=Path("/i/dom0.img"),
    ssh_key=Path("/i/key"),
)
FILES = HostFiles(Path("/r/b"), Path("/s/b.qcow2"))


def words(**options: bool) -> list[str]:
    host = plan_hosts(2)[1]
    machine = Machine(memory_mib=3000, dom0_mib=700)
    return command(
        host, ["a", "b"], machine, IMAGES, FILES, emulator=Path("/i/qemu"), console_fd=7, **options
    )


def value(option: str) -> str:
    all_words = words()
    return all_words[all_words.index(option) + 1]


def test_xen_gets_its_memory_and_dom0_its_share() -> None:
    assert value("-m") == "3000"
    assert "dom0_mem=700M,max:700M" in value("-append")


def test_kernel_and_initrd_are_two_modules_and_no_comma_is_inside() -> None:
    kernel, initrd = value("-initrd").split(",")
    assert kernel.startswith("/i/vmlinux ")
    assert "lab.host=b lab.id=2 lab.names=a.b" in kernel
    assert initrd == "/i/dom0.img"


def test_cards_are_in_the_order_of_dom0s_interfaces() -> None:
    taps = [word for word in words() if word.startswith("tap,")]
    names = [tap.split("ifname=")[1].split(",")[0] for tap in taps]
    assert names == ["b-guest-tap", "b-repl-tap", "b-mgmt-tap"]


def test_the_processor_lacks_what_breaks_under_emulation() -> None:
    assert value("-cpu").startswith("qemu64,")
    assert "-rdtscp" in value("-cpu")
    assert not {"+smap", "+avx", "+xsave"} & set(value("-cpu").split(","))


def test_a_thawing_host_waits_for_its_memory() -> None:
    assert "-incoming" not in words()
    assert words(incoming=True)[-2:] == ["-incoming", "defer"]


def test_the_data_disk_is_the_second_and_flushes_when_told() -> None:
    drives = [word for word in words() if word.startswith("if=none,id=")]
    assert [drive.split(",")[1] for drive in drives] == ["id=disk", "id=data"]
    assert "file=/s/b-data.raw,format=raw,cache=writeback" in drives[1]
    devices = [word for word in words() if word.startswith("virtio-blk-pci")]
    assert devices == ["virtio-blk-pci,drive=disk", "virtio-blk-pci,drive=data"]
