"""Which guest has a block device of dom0, as xenstore tells it."""

import os
from typing import Any

from remus_ha.hypervisor import errors
from remus_ha.hypervisor.xen import paths
from remus_ha.hypervisor.xen.devicewatch import BACKENDS


def guest_with(device: str) -> str:
    """The guest of this host that has it, empty where none does.

    Raises UnknownVersion, CommandFailed.
    """
    try:
        paths.add_bindings(paths.running_version())
    except errors.ToolMissing:
        return ""  # no Xen, no guest
    from xen.lowlevel import xs  # noqa: PLC0415  (needs dom0)

    try:
        return found(xs.xs(), device)
    except xs.Error as e:
        raise errors.CommandFailed(command="xenstore-ls " + BACKENDS, detail=e) from e


def found(xs: Any, device: str) -> str:
    """The same over ``xs``, a connection of ``xen.lowlevel.xs``."""
    for domid in xs.ls("", f"{BACKENDS}/vbd") or []:
        name: bytes | None = xs.read("", f"/local/domain/{domid}/name")
        if name is None:
            continue  # what a dead guest has left
        for devid in xs.ls("", f"{BACKENDS}/vbd/{domid}") or []:
            if _is(xs, f"{BACKENDS}/vbd/{domid}/{devid}", device):
                return name.decode()
    return ""


def _is(xs: Any, top: str, device: str) -> bool:
    name, number = (xs.read("", f"{top}/{key}") for key in ("params", "physical-device"))
    return bool(name == device.encode() or number == _number(device))


def _number(device: str) -> bytes:
    """As the hotplug scripts write it."""
    try:
        number = os.stat(device).st_rdev
    except OSError:
        return b"none"
    return f"{os.major(number):x}:{os.minor(number):x}".encode()
