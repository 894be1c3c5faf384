"""libvirt's domain XML, changed as a protection and a failover need it. Pure.

Every function takes and gives a whole ``<domain>`` and raises DefinitionBroken for anything else.
"""

from collections.abc import Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from remus_ha.hypervisor.libvirt.errors import DefinitionBroken

# libxl runs a script for these kinds of interface only (libvirt's libxlMakeNic).
_SCRIPTED = ("bridge", "ethernet")


def guarded(definition: str, script: str) -> str:
    """As libvirt may have it while the guest is protected: its vifs come up by our script."""
    domain = _domain(definition)
    for interface in domain.iterfind("devices/interface"):
        if interface.get("type") in _SCRIPTED:
            element = interface.find("script")
            if element is None:
                element = SubElement(interface, "script")
            element.set("path", script)
    return _text(domain)


def unguarded(definition: str) -> list[str]:
    """MACs of the interfaces that libvirt brings up without any script of ours."""
    return [
        mac.get("address", "")
        for interface in _domain(definition).iterfind("devices/interface")
        if interface.get("type") not in _SCRIPTED
        for mac in interface.iterfind("mac")
    ]


def moved(definition: str, images: Mapping[str, str]) -> str:
    """With the paths that the disks have on this host; ``images`` by their names in the guest."""
    domain = _domain(definition)
    for disk in domain.iterfind("devices/disk"):
        target, source = disk.find("target"), disk.find("source")
        there = images.get(target.get("dev", "")) if target is not None else None
        if there and source is not None:
            source.set("dev" if disk.get("type") == "block" else "file", there)
    return _text(domain)


def status(live: str, *, domid: int, vifs: Mapping[str, str], console: str) -> str:
    """What libvirt's libxl driver keeps of a domain that runs here (``virDomainObjFormat``).

    ``vifs``: devices in dom0 by MAC, ``console``: its terminal in dom0, empty for none.
    """
    domain = _domain(live)
    domain.set("id", str(domid))
    for interface in domain.iterfind("devices/interface"):
        mac = interface.find("mac")
        device = vifs.get(mac.get("address", "").lower()) if mac is not None else None
        target = interface.find("target")
        if device and target is None:
            target = SubElement(interface, "target")
        if device and target is not None:
            target.set("dev", device)
    for terminal in domain.iterfind("devices/console"):
        _set_terminal(terminal, console)
    whole = Element("domstatus", state="running", reason="booted", pid="0")
    whole.append(domain)
    return _text(whole)


def _set_terminal(terminal: Element, console: str) -> None:
    terminal.attrib.pop("tty", None)
    for source in terminal.findall("source"):
        terminal.remove(source)
    if console:
        terminal.set("tty", console)
        terminal.insert(0, Element("source", path=console))


def _domain(text: str) -> Element:
    try:
        domain = ElementTree.fromstring(text)  # noqa: S314  libvirt's own, no entities in it
    except ElementTree.ParseError as e:
        raise DefinitionBroken(name="the guest", detail=e) from e
    if domain.tag != "domain":
        raise DefinitionBroken(name="the guest", detail=f"a <{domain.tag}>")
    return domain


def _text(element: Element) -> str:
    ElementTree.indent(element)
    return ElementTree.tostring(element, encoding="unicode") + "\n"
