"""A guest of libvirt's while it is protected, and afterwards.

``take`` when its protection begins; ``give_back`` where it lives, or has ended, when the protection
is over; ``hand_over`` where the other host's copy is the guest. Each may be done again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from remus_ha.hypervisor.libvirt import adoption, connection, definition, managed
from remus_ha.hypervisor.libvirt.managed import Managed


@dataclass(frozen=True, slots=True)
class Domain:
    """The guest as it runs here. ``vifs``: devices in dom0 by MAC; ``console``: its terminal."""

    domid: int
    vifs: Mapping[str, str]
    console: str


def find(name: str, uuid: str) -> Managed | None:
    """What libvirt knows of a running guest; None where it is none of its own.

    What a protection that was not ended in order has changed counts as it was before. Raises
    LibvirtError.
    """
    guest, before = connection.managed(name, uuid), managed.kept(uuid)
    if guest is None or before is None or not guest.definition:
        return guest
    return replace(guest, definition=before.definition, autostart=before.autostart)


def is_guardable(guest: Managed) -> bool:
    """Whether every vif comes up by our script, once ``take`` has seen to it."""
    return not definition.unguarded(guest.definition or guest.live)


def take(guest: Managed, script: str) -> None:
    """libvirt starts the guest neither by itself nor with open vifs. Raises LibvirtError."""
    managed.keep(guest)
    if guest.definition:
        text = definition.guarded(guest.definition, script)
        connection.define(guest.name, text, autostart=False)


def give_back(guest: Managed, domain: Domain | None, *, watched: bool = False) -> None:
    """libvirt controls the guest, which is this host's, as before the protection.

    ``domain`` None: it has ended. ``watched``: libvirt started it, and it was never suspended.
    Raises LibvirtError.
    """
    if domain is not None and not watched:
        adoption.adopt(guest, domid=domain.domid, vifs=domain.vifs, console=domain.console)
    if guest.definition:
        text = definition.moved(guest.definition, guest.images)
        connection.define(guest.name, text, autostart=guest.autostart)
    managed.forget(guest.uuid)


def hand_over(guest: Managed) -> None:
    """The guest is the other host's, and so is its definition. Raises LibvirtError."""
    connection.undefine(guest.name, guest.uuid)
    managed.forget(guest.uuid)
