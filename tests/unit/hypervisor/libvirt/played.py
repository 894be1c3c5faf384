"""libvirt's daemon as libvirt-python shows it, played: domains, definitions, autostart."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

NO_DOMAIN = 42


class PlayedError(Exception):
    """``libvirt.libvirtError``."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self._code = code

    def get_error_code(self) -> int:
        return self._code

    def get_error_message(self) -> str:
        return str(self)


@dataclass
class PlayedDomain:
    """``libvirt.virDomain``."""

    uuid: str
    domid: int = -1
    live: str = ""
    definition: str = ""
    starts: bool = False

    def name(self) -> str:
        return ElementTree.fromstring(self.live or self.definition).findtext("name", "")

    def ID(self) -> int:
        return self.domid

    def isActive(self) -> int:
        return int(self.domid >= 0)

    def isPersistent(self) -> int:
        return int(bool(self.definition))

    def autostart(self) -> int:
        return int(self.starts)

    def setAutostart(self, value: int) -> None:
        self.starts = bool(value)

    def XMLDesc(self, flags: int) -> str:
        assert flags & Daemon.VIR_DOMAIN_XML_SECURE
        return self.definition if flags & Daemon.VIR_DOMAIN_XML_INACTIVE else self.live

    def undefine(self) -> None:
        self.definition = ""


class Daemon:
    """The module ``libvirt`` and the connection that it opens. ``refuses``: a call's message."""

    VIR_DOMAIN_XML_SECURE, VIR_DOMAIN_XML_INACTIVE = 1, 2
    VIR_ERR_NO_DOMAIN = NO_DOMAIN
    libvirtError = PlayedError

    def __init__(self) -> None:
        self.domains: dict[str, PlayedDomain] = {}
        self.refuses = ""

    def registerErrorHandler(self, _handler: object, _context: object) -> None:
        pass

    def open(self, uri: str) -> Daemon:
        assert uri == "xen:///system"
        return self

    def close(self) -> None:
        pass

    def lookupByUUIDString(self, uuid: str) -> PlayedDomain:
        if uuid not in self.domains:
            raise PlayedError(NO_DOMAIN, "no domain with that UUID")
        return self.domains[uuid]

    def defineXML(self, xml: str) -> PlayedDomain:
        if self.refuses:
            raise PlayedError(1, self.refuses)
        uuid = ElementTree.fromstring(xml).findtext("uuid", "")
        domain = self.domains.setdefault(uuid, PlayedDomain(uuid))
        domain.definition = xml
        return domain
