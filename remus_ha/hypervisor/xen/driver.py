"""The ``xen`` hypervisor driver: what a host is, which guests can be protected, and their parts."""

import errno
import os
import socket
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from remus_ha.exceptions import RemusError
from remus_ha.hypervisor import errors
from remus_ha.hypervisor.base import Guest, Life
from remus_ha.hypervisor.xen import lookup, paths, restore
from remus_ha.hypervisor.xen.claim import claim
from remus_ha.hypervisor.xen.devicewatch import DeviceWatch, disks_of
from remus_ha.hypervisor.xen.disks import ServedDisk, served
from remus_ha.hypervisor.xen.domain import XenDomain, info_of, life_of, xl
from remus_ha.hypervisor.xen.helper import SaveHelper
from remus_ha.hypervisor.xen.savers import Savers

_CREATE_S = 40.0


@dataclass(frozen=True, slots=True)
class Host:
    """This Xen host. ``free_kib`` is memory that no domain has."""

    name: str
    xen_version: str
    free_kib: int


@dataclass(frozen=True, slots=True)
class Domain:
    """Any domain of this host but dom0, as it is now."""

    domid: int
    name: str
    uuid: str
    life: Life


class XenDriver:
    """Entry point of the driver. Raises NotRoot, ToolMissing, UnknownVersion at construction."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise errors.NotRoot()
        self.version = paths.running_version()
        paths.add_bindings(self.version)
        from xen.lowlevel import xc, xs  # noqa: PLC0415  (needs dom0)

        self._xc, self._xs = xc.xc(), xs.xs()

    def host(self) -> Host:
        free_kib = int(_info().get("free_memory", 0)) * 1024
        return Host(socket.gethostname(), self.version, free_kib)

    def domain_of(self, uuid: str) -> tuple[int, str] | None:
        """Domain id and name of the domain with that UUID here, None where there is none."""
        wanted = uuid.replace("-", "").lower()
        for info in self._xc.domain_getinfo():
            if _handle(info).hex == wanted and not info["dying"]:
                return int(info["domid"]), self._name_of(info)
        return None

    def domains(self) -> list[Domain]:
        """All guests that are not dying."""
        return [
            Domain(info["domid"], self._name_of(info), str(_handle(info)), life)
            for info in self._xc.domain_getinfo()  # from 1 on it fails where dom0 is alone
            if info["domid"] and (life := life_of(info, info["domid"])) is not Life.GONE
        ]

    def _name_of(self, info: dict[str, Any]) -> str:
        name: bytes = self._xs.read("", f"/local/domain/{info['domid']}/name") or b""
        return name.decode()

    def helper_starts(self) -> Savers:
        """Readable when a save helper was started, for a save or a restore."""
        return Savers(self.version)

    def claim_memory(self, domid: int, kib: int) -> str:
        """Set ``kib`` apart for a domain; why that cannot be, empty when it is done.

        Raises NotEnoughMemory.
        """
        error = claim(self.version, domid, kib)
        if error == errno.ENOMEM:
            free = self.host().free_kib
            raise errors.NotEnoughMemory(free_mib=free // 1024, needed_mib=kib // 1024)
        return os.strerror(error) if error else ""

    def life_of(self, domid: int) -> Life:
        return life_of(info_of(self._xc, domid), domid)

    def find(self, name: str) -> Guest:
        """Raises NoSuchGuest, ConfigUnreadable."""
        return lookup.find(name, self.version)

    def control(self, domid: int, *, watch: bool = True) -> XenDomain:
        return XenDomain(domid, self.version, watch=watch)

    def save(self, domid: int, stream_fd: int, log: Callable[[str], None]) -> SaveHelper:
        return SaveHelper(paths.save_helper(self.version), domid, stream_fd, log)

    def create(self, text: str, name: str, *, minded: bool = True) -> int:
        """Start a domain from the text of an xl.cfg(5); its id.

        ``minded``: xl stays as its monitor. Raises RemusError.
        """
        with tempfile.NamedTemporaryFile("w", suffix=".cfg", prefix="remus-ha-") as f:
            f.write(text)
            f.flush()
            xl("create", "-q", *(() if minded else ("-e",)), f.name, timeout_s=_CREATE_S)
        return int(xl("domid", name))

    def obstacles(self, guest: Guest, *, disks_may_differ: bool) -> list[RemusError]:
        """Why this guest cannot be protected from here; empty when it can."""
        found: list[RemusError] = []
        name = guest.name
        if guest.life is not Life.RUNNING:
            found.append(errors.GuestNotRunning(name=name, state=guest.life.value))
        if guest.kind == "pv":
            found.append(_is_pv(name))
        if guest.kind == "hvm":
            found.append(errors.GuestIsHvm(name=name))
        if guest.passthrough:
            found.append(errors.Passthrough(name=name, devices=", ".join(guest.passthrough)))
        if guest.other_devices:
            found.append(errors.OtherDevices(name=name, devices=", ".join(guest.other_devices)))
        if not disks_may_differ:
            found += served(self._xs, guest)[1]
        found += [
            errors.BackendDomain(device=f"vif {vif.devid}", name=name, backend=vif.backend_domid)
            for vif in guest.vifs
            if vif.backend_domid
        ]
        return found

    def disks(self, guest: Guest) -> list[ServedDisk]:
        """The guest's disks that can be replicated."""
        return served(self._xs, guest)[0]

    def vif_ids(self, domid: int) -> dict[str, int]:
        """The number of each of a domain's vifs by its MAC, in lower case."""
        top = f"/local/domain/{domid}/device/vif"
        macs = {n: self._xs.read("", f"{top}/{n}/mac") or b"" for n in self._xs.ls("", top) or []}
        return {mac.decode().lower(): int(n) for n, mac in macs.items()}

    def console(self, domid: int) -> str:
        """The terminal in dom0 of a domain's console; empty where there is none."""
        terminal: bytes = self._xs.read("", f"/local/domain/{domid}/console/tty") or b""
        return terminal.decode()

    def all_disks(self, domid: int) -> dict[str, int]:
        """Octets of each disk that is served to the domain, by its name in the guest."""
        return disks_of(self._xs, domid)

    def watch_devices(
        self, domid: int, disks: Mapping[str, int], macs: Collection[str]
    ) -> DeviceWatch:
        return DeviceWatch.open(self.version, domid, disks, macs)

    def backup_obstacles(self, guest: Guest, their_version: str) -> list[RemusError]:
        """Why this host cannot be the backup of another host's guest, were there memory for it."""
        found: list[RemusError] = []
        if their_version != self.version:
            found.append(errors.VersionDiffers(ours=their_version, theirs=self.version))
        for name in (guest.name, guest.name + restore.INCOMING):
            if restore.domid_of(name) is not None:
                found.append(errors.NameTaken(name=name))
        found += [
            errors.BridgeMissing(bridge=vif.bridge, vif=f"vif {vif.devid}")
            for vif in guest.vifs
            if vif.bridge and not bridge_exists(vif.bridge)
        ]
        return found


def _info() -> dict[str, str]:
    """What ``xl info`` says of this host."""
    lines = (line.partition(":") for line in xl("info").splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def _is_pv(name: str) -> errors.GuestIsPv:
    shadow = "shadow" in _info().get("virt_caps", "").split()
    why = errors.GuestIsPv.NOT_YET if shadow else errors.GuestIsPv.NO_SHADOW
    return errors.GuestIsPv(name=name, why=why)


def _handle(info: dict[str, Any]) -> UUID:
    return UUID(bytes=bytes(octet & 0xFF for octet in info["handle"]))


def bridge_exists(name: str) -> bool:
    """Whether dom0 has a Linux bridge of that name."""
    return Path(f"/sys/class/net/{name}/bridge").is_dir()
