"""The QEMU command line of one Xen host. Pure.

The processor model matters: SMAP kills dom0 under emulation, AVX crashes its programs now and
then, RDTSCP kills PVH guests. Two processors: dom0 has one, its guests need not wait for it.
"""

from dataclasses import dataclass
from pathlib import Path

from remus_ha.lab.image import Images
from remus_ha.lab.plan import HostPlan, Link

_CPU = "qemu64,+svm,+npt,+ssse3,+sse4.1,+sse4.2,+popcnt,-rdtscp"
# eth0, eth1, eth2 of dom0, in this order
_CARDS = (Link.GUEST, Link.REPL, Link.MGMT)


@dataclass(frozen=True, slots=True)
class Machine:
    """Size of a host; ``data_mib`` is its data disk's, of which only what is used takes space."""

    memory_mib: int = 2560
    dom0_mib: int = 1024
    data_mib: int = 2048


@dataclass(frozen=True, slots=True)
class Frozen:
    """A host that was stopped when it was ready: its disk then, and its memory."""

    disk: Path
    memory: Path


@dataclass(frozen=True, slots=True)
class HostFiles:
    """A host's directory in the run directory, its overlay of the base disk, its data disk."""

    directory: Path
    disk: Path

    @property
    def data(self) -> Path:
        """The disk that outlives power cuts; raw, so that nothing of it is in QEMU's memory."""
        return self.disk.with_name(f"{self.disk.stem}-data.raw")

    @property
    def console(self) -> Path:
        """All that Xen and dom0 print."""
        return self.directory / "console.log"

    @property
    def monitor(self) -> Path:
        """QEMU's QMP socket."""
        return self.directory / "qmp"

    @property
    def pid(self) -> Path:
        """pid and start time of its QEMU."""
        return self.directory / "pid"

    @property
    def ssh(self) -> Path:
        """Control socket of the shared ssh connection."""
        return self.directory / "ssh"


def command(
    host: HostPlan,
    names: list[str],
    machine: Machine,
    images: Images,
    files: HostFiles,
    *,
    emulator: Path,
    console_fd: int,
    incoming: bool = False,
) -> list[str]:
    """Words that start ``host`` in the background; its console is the socket ``console_fd``.

    With ``incoming`` it waits for ``migrate-incoming`` on its monitor.
    """
    xen = (
        f"console=com1 com1=115200,8n1 dom0_mem={machine.dom0_mib}M,max:{machine.dom0_mib}M "
        "dom0_max_vcpus=1 spec-ctrl=no xpti=off bootscrub=0"
    )
    kernel = (
        "console=hvc0 quiet mitigations=off net.ifnames=0 tsc=reliable "
        f"lab.host={host.name} lab.id={host.number} lab.names={'.'.join(names)}"
    )
    return [
        *(str(emulator), "-name", f"remus-lab-{host.name}", "-daemonize"),
        *("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", _CPU, "-smp", "2"),
        *("-m", str(machine.memory_mib), "-display", "none", "-vga", "none"),
        *("-nodefaults", "-no-reboot", "-pidfile", str(files.pid.with_suffix(".qemu"))),
        "-chardev",
        f"socket,id=console,fd={console_fd},server=on,wait=off,logfile={files.console}",
        *("-serial", "chardev:console"),
        *("-qmp", f"unix:{files.monitor},server=on,wait=off"),
        *("-kernel", str(images.xen), "-append", xen),
        *("-initrd", f"{images.kernel} {kernel},{images.initrd}"),
        *("-drive", f"if=none,id=disk,file={files.disk},cache=unsafe"),
        *("-device", "virtio-blk-pci,drive=disk"),
        *("-drive", f"if=none,id=data,file={files.data},format=raw,cache=writeback,discard=unmap"),
        *("-device", "virtio-blk-pci,drive=data"),
        *(word for link in _CARDS for word in _card(host, link)),
        *("-object", "rng-random,id=rng,filename=/dev/urandom"),
        *("-device", "virtio-rng-pci,rng=rng"),
        *(("-incoming", "defer") if incoming else ()),
    ]


def _card(host: HostPlan, link: Link) -> list[str]:
    tap = f"tap,id={link},ifname={host.device(link, 'tap')},script=no,downscript=no"
    card = f"virtio-net-pci,netdev={link},mac={host.mac(link)},romfile="
    return ["-netdev", tap, "-device", card]
