"""Hosts frozen at the moment they were ready: their memory and disks, cached.

A host that starts from its frozen state is there in about a second, with its programs already
in memory. The cold boot that makes the state happens once per image and shape of the lab, in a
namespace of its own. Data disks are no part of it: a frozen host has seen one of the same size and
never mounted it, so that it may wake beside any other.
"""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from remus_ha.lab import cache, emulator
from remus_ha.lab.boot import wait_ready
from remus_ha.lab.errors import StepFailed
from remus_ha.lab.host import Host
from remus_ha.lab.image import Images
from remus_ha.lab.network import Network
from remus_ha.lab.plan import HostPlan, Link, outside_mac
from remus_ha.lab.progress import Progress
from remus_ha.lab.qemu import Frozen, HostFiles, Machine, command

_KEPT = 3
# what tests and users start first; its pages are in memory from then on
_WARM_UP = (
    "python3 -c 'import xen.lowlevel.xc, xen.lowlevel.xs, pyroute2, stevedore, ssl, "
    "asyncio, cryptography.x509, importlib.metadata'; "
    "cat /lab/vmlinux /lab/guest*.img /usr/lib/xen-*/bin/libxl-save-helper >/dev/null; "
    "cat /usr/libexec/xen-qemu-system-i386 >/dev/null; "
    "/usr/libexec/xen-qemu-system-i386 --version >/dev/null; "
    "nbdkit python --dump-plugin >/dev/null; "
    "xl list >/dev/null; ssh localhost true; tcpdump --version >/dev/null 2>&1; "
    "tc qdisc show >/dev/null; xenstore-ls >/dev/null; busybox true; sync"
)


@dataclass(frozen=True, slots=True)
class FrozenLab:
    """The frozen states of all hosts of one shape."""

    directory: Path

    def host(self, name: str) -> Frozen:
        """One host's."""
        return Frozen(self.directory / f"{name}.qcow2", self.directory / f"{name}.memory")


def ensure(
    hosts: Sequence[HostPlan], machine: Machine, images: Images, progress: Progress
) -> FrozenLab:
    """The frozen states, from the cache or made now by a cold boot.

    Raises HostDied, SshFailed, TimedOut, StepFailed, RemoteFailed.
    """

    def build(place: Path) -> None:
        with progress.step("boot the hosts once and freeze them (half a minute)"):
            _freeze(place, hosts, machine, images)

    key = cache.key_of([*_words(hosts, machine, images), _WARM_UP])
    return FrozenLab(cache.entry("ready", key, build, keep=_KEPT))


def _words(hosts: Sequence[HostPlan], machine: Machine, images: Images) -> list[str]:
    """Everything that QEMU is told and who is in the network of the frozen hosts.

    The images' directories and the emulator's are named by their content.
    """
    names = [host.name for host in hosts]
    files = HostFiles(Path("run"), Path("disk"))
    program = emulator.ensure()
    words = [
        word
        for host in hosts
        for word in command(host, names, machine, images, files, emulator=program, console_fd=0)
    ]
    return [*words, f"data disk {machine.data_mib}", *(outside_mac(link) for link in Link)]


def _freeze(place: Path, plans: Sequence[HostPlan], machine: Machine, images: Images) -> None:
    run_directory = Path(tempfile.mkdtemp(prefix="remus-lab-"))
    network = Network(run_directory.name)
    hosts = [
        Host(
            plan,
            network,
            images,
            HostFiles(run_directory / plan.name, place / f"{plan.name}.qcow2"),
        )
        for plan in plans
    ]
    try:
        network.create(list(plans))
        for host in hosts:
            host.start([plan.name for plan in plans], machine)
        wait_ready(hosts)
        warming = [host.shell.popen(_WARM_UP) for host in hosts]
        for child in warming:
            _, said = child.communicate(timeout=180)
            if child.returncode != 0:
                raise StepFailed(command=_WARM_UP, status=child.returncode, output=said)
        for host in hosts:
            host.freeze(place / f"{host.name}.memory")
    finally:
        for host in hosts:
            host.cut()
            host.close_console()
            host.files.data.unlink(missing_ok=True)
        network.remove()
        shutil.rmtree(run_directory)
