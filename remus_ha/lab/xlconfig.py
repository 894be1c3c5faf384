"""The xl configuration of a lab guest. Pure."""

import json
import string
from dataclasses import dataclass

from remus_ha.lab.errors import BadValue
from remus_ha.lab.plan import MAX_DISKS, GuestPlan

KERNEL = "/lab/vmlinux"
INITRD = "/lab/guest.img"
INITRD_WITH_DISKS = "/lab/guest-disks.img"
MEMORY_MIB = 96
MEMORY_WITH_DISKS_MIB = 128
STOCK_VIF_SCRIPT = "vif-bridge"
BRIDGE = "xenbr0"
IMAGES = "/srv/guests"
XL, LIBVIRT = "xl", "libvirt"


@dataclass(frozen=True, slots=True)
class DiskSpec:
    """A guest's disk: an image file on the host's data disk, served by QEMU (``backend``).

    With a ``device`` it is that block device of the host, which is there already.
    With a ``file_system`` (``ext4``) a new image is made with one, and the guest's database lives
    there; without one (empty) the disk is the disk program's.
    """

    vdev: str
    size_mib: int = 64
    format: str = "raw"
    backend: str = "qdisk"
    file_system: str = ""
    device: str = ""
    readonly: bool = False

    def file(self, guest: str) -> str:
        """Its image on every host."""
        return f"{IMAGES}/{guest}-{self.vdev}.img"


def plain_disks(count: int, size_mib: int = 64) -> tuple[DiskSpec, ...]:
    """xvda, xvdb, ... all of one size. BadValue."""
    if not 0 <= count <= MAX_DISKS:
        raise BadValue(what="the number of disks", value=count, wanted=f"0 to {MAX_DISKS}")
    return tuple(DiskSpec(f"xvd{letter}", size_mib) for letter in string.ascii_lowercase[:count])


@dataclass(frozen=True, slots=True)
class GuestSpec:
    """What a guest shall be.

    ``options`` are words for its kernel command line, which all of its programs read: also
    ``ext4`` (load that file system's modules), ``disks=N`` (the disk program uses only the first
    N disks), ``writers=N``, ``kib_s=N``, ``area_kib=N`` (what it does with them).
    ``ext4 database=VDEV`` comes of itself with a disk that has a file system.
    """

    name: str
    memory_mib: int = 0  # 0: what its programs need
    vcpus: int = 1
    vifs: int = 1
    disks: tuple[DiskSpec, ...] = ()
    kernel: str = KERNEL
    initrd: str = ""  # empty: the standard guest's
    vif_script: str = ""  # empty: xl.conf's default, which ``push`` sets to the product's own
    dirty_kib_s: int = 1024
    dirty_mib: int = 4
    chatter_per_s: int = 20
    options: str = ""
    via: str = XL  # who manages it

    @property
    def memory(self) -> int:
        """Its memory in MiB."""
        return self.memory_mib or (MEMORY_WITH_DISKS_MIB if self.disks else MEMORY_MIB)

    @property
    def ramdisk(self) -> str:
        """Its initial RAM file system."""
        return self.initrd or (INITRD_WITH_DISKS if self.disks else INITRD)

    @property
    def bare_disks(self) -> int:
        """How many disks have no file system: those of the disk program."""
        return sum(not disk.file_system for disk in self.disks)

    @property
    def database(self) -> str:
        """The disk on which the database lives; empty without one."""
        return next((disk.vdev for disk in self.disks if disk.file_system), "")


def render(spec: GuestSpec, plan: GuestPlan) -> str:
    """The file's text; a JSON string or list is also one of xl's syntax (xl.cfg(5))."""
    settings: dict[str, object] = {
        "name": spec.name,
        "type": "pvh",
        "kernel": spec.kernel,
        "ramdisk": spec.ramdisk,
        "cmdline": command_line(spec, plan),
        "memory": spec.memory,
        "vcpus": spec.vcpus,
        "tsc_mode": "native",
        "vif": [_vif(plan, vif, spec.vif_script) for vif in range(spec.vifs)],
        "on_poweroff": "destroy",
        "on_reboot": "restart",
        "on_crash": "preserve",
    }
    if spec.disks:
        settings["disk"] = [_disk(spec.name, disk) for disk in spec.disks]
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())


def command_line(spec: GuestSpec, plan: GuestPlan) -> str:
    """What its kernel and all of its programs are told."""
    words = [
        *("console=hvc0", "quiet", "mitigations=off", "net.ifnames=0", "panic=0"),
        *(f"name={spec.name}", f"number={plan.number}", f"vifs={spec.vifs}"),
        *(f"dirty_kib_s={spec.dirty_kib_s}", f"dirty_mib={spec.dirty_mib}"),
        f"chatter={spec.chatter_per_s}",
        f"disks={spec.bare_disks}" if spec.bare_disks else "",
        f"ext4 database={spec.database}" if spec.database else "",
        spec.options,
    ]
    return " ".join(word for word in words if word)


def _disk(guest: str, disk: DiskSpec) -> str:
    # target takes all that follows (xl-disk-configuration(5))
    access = "ro" if disk.readonly else "rw"
    words = (f"format={disk.format}", f"vdev={disk.vdev}", f"access={access}")
    target = disk.device or disk.file(guest)
    return ",".join([*words, f"backendtype={disk.backend}", f"target={target}"])


def _vif(plan: GuestPlan, vif: int, script: str) -> str:
    words = [f"mac={plan.mac(vif)}", f"bridge={BRIDGE}"]
    return ",".join([*words, f"script={script}"] if script else words)
