"""Guests in the lab: numbered, so that their addresses follow, and found on any host."""

import json
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from remus_ha.lab import virtxml
from remus_ha.lab.control import HELLO_PORT, GuestControl
from remus_ha.lab.database import DatabaseControl
from remus_ha.lab.disks import DiskControl
from remus_ha.lab.errors import BadValue, GuestExists, GuestSilent, RemoteFailed, UnknownGuest
from remus_ha.lab.host import Host
from remus_ha.lab.network import Network
from remus_ha.lab.plan import FIRST_GUEST, MAX_DISKS, MAX_GUESTS, MAX_VIFS, GuestPlan
from remus_ha.lab.process import wait_readable
from remus_ha.lab.xlconfig import IMAGES, LIBVIRT, DiskSpec, GuestSpec, plain_disks, render

_DIRECTORY = "/lab/guests"
_LIBVIRT = "/run/libvirt/libvirt-sock"
_LEAST_DISK_MIB = 4
_LEAST_FILE_SYSTEM_MIB = 16
# With a small journal, so that a guest soon writes around in all of it.
_MKFS = {"ext4": "mkfs.ext4 -q -F -J size=4"}
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass(frozen=True, slots=True)
class GuestStatus:
    """A domain on a host; ``state`` is xl's (such as ``-b----``), ``ipv4`` None if not ours."""

    name: str
    host: str
    domid: int
    memory_mib: int
    state: str
    ipv4: str | None


class Guests:
    """Creates, lists and destroys guests; their numbers are kept in ``register``."""

    def __init__(
        self,
        register: Path,
        network: Network,
        running: Callable[[], list[Host]],
        host: Callable[[str], Host],
    ) -> None:
        self._register = register
        self._network = network
        self._running = running
        self._host = host

    def create(
        self, spec: GuestSpec, host: str = "a", *, wait: bool = True, timeout_s: float = 90.0
    ) -> GuestPlan:
        """Create a guest on ``host``, wait until it says hello and its programs answer.

        Its disks' images are made where they are not there yet; one that is there is used as it is.
        Raises BadValue, GuestExists, HostDown, RemoteFailed, GuestSilent, LedgerUnreachable. A
        guest that was interrupted while being created is destroyed; a silent one is kept, to be
        looked at.
        """
        _check(spec)
        target = self._host(host)
        target.require()
        for other in self.list():
            if other.name == spec.name:
                raise GuestExists(name=spec.name, host=other.host)
        spec = self._send_images(spec, target)
        plan = self._number(spec)
        with self._network.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
            ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            ear.bind(("", HELLO_PORT))
            try:
                _create(spec, plan, target)
                heard = not wait or _heard(ear, spec.name, time.monotonic() + timeout_s)
            except KeyboardInterrupt:
                undo = [f"xl destroy {spec.name}", _undefine(spec.name), _remove_images(spec.name)]
                target.shell.run("; ".join(undo), check=False)
                raise
        if not heard:
            raise GuestSilent(name=spec.name, host=host, seconds=timeout_s)
        if wait:
            self.control(spec.name).command("welcome")
            if spec.bare_disks:
                self.disks(spec.name).stat(timeout_s)
            if spec.database:
                self.database(spec.name).wait_served(timeout_s)
        return plan

    def _send_images(self, spec: GuestSpec, target: Host) -> GuestSpec:
        """Copy a kernel or an initrd that is a file of this machine to the host."""

        def send(file: str, part: str) -> str:
            path = Path(file)
            if not path.is_file():
                return file
            there = f"{_DIRECTORY}/{spec.name}.{part}"
            target.shell.run(f"mkdir -p {_DIRECTORY} && cat >{there}", stdin=path.read_bytes())
            return there

        return replace(
            spec, kernel=send(spec.kernel, "kernel"), initrd=send(spec.ramdisk, "initrd")
        )

    def _plans(self) -> dict[str, GuestPlan]:
        if not self._register.exists():
            return {}
        rows = json.loads(self._register.read_text())
        return {name: GuestPlan(name, *numbers) for name, numbers in rows.items()}

    def _write(self, plans: dict[str, GuestPlan]) -> None:
        rows = {plan.name: (plan.number, plan.vifs, plan.disks) for plan in plans.values()}
        self._register.write_text(json.dumps(rows))

    def _number(self, spec: GuestSpec) -> GuestPlan:
        plans = self._plans()
        taken = {plan.number for name, plan in plans.items() if name != spec.name}
        free = (n for n in range(FIRST_GUEST, FIRST_GUEST + MAX_GUESTS) if n not in taken)
        plans[spec.name] = GuestPlan(spec.name, next(free), spec.vifs, len(spec.disks))
        self._write(plans)
        return plans[spec.name]

    def plan(self, name: str) -> GuestPlan:
        """Addresses of a guest that was created here. UnknownGuest."""
        try:
            return self._plans()[name]
        except KeyError:
            raise UnknownGuest(name=name) from None

    def control(self, name: str) -> GuestControl:
        """The guest's control port. UnknownGuest."""
        return GuestControl(self._network, self.plan(name).ipv4())

    def disks(self, name: str) -> DiskControl:
        """The port of the guest's disk program. UnknownGuest."""
        return DiskControl(self._network.enter, self.plan(name).ipv4())

    def database(self, name: str) -> DatabaseControl:
        """The port of the guest's database program. UnknownGuest."""
        return DatabaseControl(self._network.enter, self.plan(name).ipv4())

    def list(self) -> list[GuestStatus]:
        """All domains but dom0 on all running hosts."""
        plans = self._plans()
        found = []
        for host in self._running():
            for row in parse_xl_list(host.shell.text("xl list")):
                plan = plans.get(row.name)
                found.append(replace(row, host=host.name, ipv4=plan.ipv4() if plan else None))
        return found

    def destroy(self, name: str) -> None:
        """Destroy the guest wherever it is, remove its images from all running hosts.

        Its number is forgotten. UnknownGuest.
        """
        there = [row for row in self.list() if row.name in (name, f"{name}--incoming")]
        plans = self._plans()
        if not there and name not in plans:
            raise UnknownGuest(name=name)
        for row in there:
            _destroy(self._host(row.host), row)
        for host in self._running():
            host.shell.run(_undefine(name))
        if name in plans and plans[name].disks:
            for host in self._running():
                host.shell.run(_remove_images(name))
        plans.pop(name, None)
        self._write(plans)


def _create(spec: GuestSpec, plan: GuestPlan, target: Host) -> None:
    if spec.via == LIBVIRT:
        file, text = f"{_DIRECTORY}/{spec.name}.xml", virtxml.render(spec, plan)
        start = f"lab-libvirt start && virsh -q define {file} && virsh -q start {spec.name}"
    else:
        file, text = f"{_DIRECTORY}/{spec.name}.cfg", render(spec, plan)
        start = f"xl create -q {file}"
    steps = [f"mkdir -p {_DIRECTORY}", f"cat >{file}", *_make_images(spec), start]
    target.shell.run(" && ".join(steps), stdin=text.encode())


def _undefine(name: str) -> str:
    """Shell command; does nothing where libvirt does not run or know it."""
    known = f"virsh -q dominfo {name} >/dev/null 2>&1"
    return f"{{ [ ! -S {_LIBVIRT} ] || ! {known} || virsh -q undefine {name}; }}"


def _make_images(spec: GuestSpec) -> list[str]:
    """Shell commands; an image is sparse, so it takes no more than what the guest writes."""
    files = [disk for disk in spec.disks if not disk.device]
    made = [_make_image(disk, disk.file(spec.name)) for disk in files]
    return [f"mkdir -p {IMAGES}", *made] if made else []


def _make_image(disk: DiskSpec, file: str) -> str:
    """An image is whole or absent, so that one with half a file system is never used."""
    half = f"{file}.half"
    made = f"qemu-img create -q -f {disk.format} {half} {disk.size_mib}M"
    steps = [made if disk.format != "raw" else f"truncate -s {disk.size_mib}M {half}"]
    steps += [f"{_MKFS[disk.file_system]} {half}"] if disk.file_system else []
    return f"{{ [ -e {file} ] || {{ {' && '.join([*steps, f'mv {half} {file}'])}; }}; }}"


def _remove_images(name: str) -> str:
    return f"rm -f {IMAGES}/{name}-xvd?.img"


def _destroy(host: Host, row: GuestStatus) -> None:
    """A domain that has gone in the meantime is no failure."""
    try:
        host.shell.run(f"xl destroy {row.domid}")
    except RemoteFailed:
        if any(other.domid == row.domid for other in parse_xl_list(host.shell.text("xl list"))):
            raise


def parse_xl_list(text: str) -> list[GuestStatus]:
    """Rows of ``xl list`` without dom0: name, id, memory, vcpus, state, time."""
    rows = []
    for line in text.splitlines()[1:]:
        name, domid, memory, _, state, _ = line.rsplit(maxsplit=5)
        if domid != "0":
            rows.append(GuestStatus(name.strip(), "", int(domid), int(memory), state, None))
    return rows


def _check(spec: GuestSpec) -> None:
    if not _NAME.fullmatch(spec.name):
        wanted = "a letter, then letters, digits and hyphens, 31 at most"
        raise BadValue(what="a guest's name", value=spec.name, wanted=wanted)
    if not 1 <= spec.vifs <= MAX_VIFS:
        raise BadValue(what="the number of vifs", value=spec.vifs, wanted=f"1 to {MAX_VIFS}")
    if spec.memory < 64:
        raise BadValue(what="a guest's memory", value=spec.memory, wanted="64 MiB or more")
    _check_disks(spec)


def _check_disks(spec: GuestSpec) -> None:
    """The guest is told only how many bare disks it has: they must be the first ones, in order."""
    named = [disk.vdev for disk in spec.disks]
    known = [disk.vdev for disk in plain_disks(MAX_DISKS)]
    if named != known[: len(named)]:
        wanted = f"the first of {', '.join(known)}, in this order"
        raise BadValue(what="a guest's disks", value=", ".join(named), wanted=wanted)
    for disk in spec.disks:
        if disk.size_mib < _LEAST_DISK_MIB:
            wanted = f"{_LEAST_DISK_MIB} MiB or more"
            raise BadValue(what="a disk's size", value=disk.size_mib, wanted=wanted)
    if any(disk.file_system for disk in spec.disks[:-1]):
        wanted = "the last one"
        raise BadValue(what="the disk with a file system", value=spec.database, wanted=wanted)
    if spec.database:
        _check_file_system(spec.disks[-1])


def _check_file_system(disk: DiskSpec) -> None:
    """It is made in the image file, so that must be the bare disk."""
    if disk.file_system not in _MKFS or disk.format != "raw":
        value = f"{disk.file_system} in {disk.format}"
        raise BadValue(what="a disk's file system", value=value, wanted="ext4 in a raw image")
    if disk.size_mib < _LEAST_FILE_SYSTEM_MIB:
        what, wanted = "the size of a disk with ext4", f"{_LEAST_FILE_SYSTEM_MIB} MiB or more"
        raise BadValue(what=what, value=disk.size_mib, wanted=wanted)


def _heard(ear: socket.socket, name: str, deadline: float) -> bool:
    while wait_readable(ear.fileno(), deadline):
        if ear.recv(256) == f"hello {name}".encode():
            return True
    return False
