"""The product's disk drivers for a guest whose disk is in a QEMU without a machine."""

from typing import Any, ClassVar

from remus_ha.disk.qemu.driver import QemuDisks
from remus_ha.disk.tapdisk.driver import TapdiskDisks
from tests.functional.disk.machine import Guest

DRIVERS = ("Qemu", "Tapdisk")


class Machine:
    """The QEMU that the next driver is for."""

    guest: ClassVar[Guest]


def ours(options: dict[str, Any]) -> dict[str, Any]:
    guest = Machine.guest
    return {**options, "quiesce": guest.quiesce, "socket": guest.qmp}


class Qemu(QemuDisks):
    def __init__(self, **options: Any) -> None:
        super().__init__(**ours(options))


class Tapdisk(TapdiskDisks):
    def __init__(self, **options: Any) -> None:
        super().__init__(**ours(options))
