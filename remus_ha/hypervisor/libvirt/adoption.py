"""Making a domain libvirt's that libvirt did not start: what came here by a failover.

libvirt offers nothing for it, so the file is written from which its libxl driver learns after a
restart what it runs (libxlReconnectDomain), and the daemon is restarted. These are internals of
libvirt: all of them are in this module and in ``definition.status``.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from remus_ha.hypervisor.libvirt import connection, daemon, definition, presence
from remus_ha.hypervisor.libvirt.errors import NotAdopted
from remus_ha.hypervisor.libvirt.managed import Managed

STATES = Path("/run/libvirt/libxl")


def adopt(guest: Managed, *, domid: int, vifs: Mapping[str, str], console: str) -> None:
    """libvirt lists the domain, controls it and hears of its end. May be done again.

    A domain's first suspend is the only end that libxl ever tells libvirt of, so this is needed as
    well where libvirt knows the domain. ``vifs``, ``console``: as ``definition.status`` has them.
    Raises LibvirtError.
    """
    if not presence.runs():
        raise NotAdopted(name=guest.name, detail="its daemon does not run")
    live = definition.moved(guest.live, guest.images)
    text = definition.status(live, domid=domid, vifs=vifs, console=console)
    _write(STATES / f"{guest.name}.xml", text)
    daemon.restart()
    there = connection.domid(guest.name, guest.uuid)
    if there != domid:
        told = "knows no such running domain" if there is None else f"takes it for domain {there}"
        raise NotAdopted(name=guest.name, detail=f"it {told} after a restart")


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.remus-ha")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as f:
        f.write(text)
    os.replace(fresh, path)
