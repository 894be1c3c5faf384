"""Which disk driver takes which formats: told before anything is begun."""

from remus_ha.checkpoint.arrange import unfit
from remus_ha.disk.qemu.driver import QemuDisks
from remus_ha.disk.tapdisk.driver import TapdiskDisks
from remus_ha.hypervisor.xen.disks import ServedDisk

DISKS = [
    ServedDisk("xvda", "/images/web1.img", 1 << 20, "xvda-raw", "raw"),
    ServedDisk("xvdb", "/images/web1.qcow2", 1 << 20, "xvdb-qcow2", "qcow2"),
]


def test_the_mirror_takes_both() -> None:
    assert not list(unfit(QemuDisks, "web1", DISKS))


def test_the_block_server_takes_raw_ones_and_the_refusal_says_what_else_there_is() -> None:
    (refused,) = unfit(TapdiskDisks, "web1", DISKS)
    assert "xvdb" in str(refused)
    assert "Leave '--disk-driver' away" in refused.advice
