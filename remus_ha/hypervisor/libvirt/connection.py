"""libvirt's daemon on this host, through libvirt-python (https://libvirt.org/python.html).

It has no time limits of its own, so the per-guest processes don't call it: ``__main__`` does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from remus_ha.hypervisor.libvirt.errors import BindingsMissing, LibvirtRefused
from remus_ha.hypervisor.libvirt.managed import Managed
from remus_ha.hypervisor.libvirt.presence import runs

URI = "xen:///system"


@contextmanager
def connection(action: str, name: str) -> Iterator[tuple[Any, Any]]:
    """The module and a connection. Raises BindingsMissing, LibvirtRefused."""
    try:
        import libvirt  # noqa: PLC0415  (needed only where a daemon runs)
    except ImportError as e:
        raise BindingsMissing(detail=e) from e
    libvirt.registerErrorHandler(lambda *_: None, None)  # it would print what is raised as well
    try:
        opened = libvirt.open(URI)
        try:
            yield libvirt, opened
        finally:
            opened.close()
    except libvirt.libvirtError as e:
        raise LibvirtRefused(action=action, name=name, detail=e.get_error_message()) from e


def managed(name: str, uuid: str) -> Managed | None:
    """What libvirt knows of a running guest; None where it is none of its own.

    Raises BindingsMissing, LibvirtRefused.
    """
    if not runs():
        return None
    with connection("look up", name) as (libvirt, opened):
        domain = _lookup(libvirt, opened, uuid)
        if domain is None or not domain.isActive():
            return None
        secure = libvirt.VIR_DOMAIN_XML_SECURE
        persistent = bool(domain.isPersistent())
        return Managed(
            name=domain.name(),
            uuid=uuid,
            live=domain.XMLDesc(secure),
            definition=domain.XMLDesc(secure | libvirt.VIR_DOMAIN_XML_INACTIVE)
            if persistent
            else "",
            autostart=bool(domain.autostart()) if persistent else False,
            images={},
        )


def domid(name: str, uuid: str) -> int | None:
    """The id of the domain that libvirt takes the guest for; None where it runs none."""
    with connection("look up", name) as (libvirt, opened):
        domain = _lookup(libvirt, opened, uuid)
        return domain.ID() if domain is not None and domain.isActive() else None


def define(name: str, xml: str, *, autostart: bool) -> None:
    """Make it the guest's definition. Raises BindingsMissing, LibvirtRefused."""
    with connection("define", name) as (_, opened):
        domain = opened.defineXML(xml)
        domain.setAutostart(int(autostart))


def undefine(name: str, uuid: str) -> None:
    """Idempotent. Raises BindingsMissing, LibvirtRefused."""
    with connection("undefine", name) as (libvirt, opened):
        domain = _lookup(libvirt, opened, uuid)
        if domain is not None and domain.isPersistent():
            domain.undefine()


def _lookup(libvirt: Any, opened: Any, uuid: str) -> Any:
    try:
        return opened.lookupByUUIDString(uuid)
    except libvirt.libvirtError as e:
        if e.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise
