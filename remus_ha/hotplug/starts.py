"""Whether this host would start an old copy of a guest with open vifs.

The record "shut" of a vif is obeyed by our hotplug script alone. So it matters which script the
vifs get when the host comes back and starts the guest by itself (xendomains, libvirt), or somebody
does. Read from the files of xl and libvirt: nothing is started, nobody is asked.
"""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from remus_ha.hotplug.errors import AutostartsOpen, StartsOpen
from remus_ha.hotplug.script import SCRIPT, is_stock
from remus_ha.hypervisor.xen import xlfile

STOCK = "vif-bridge"  # libxl's, where nothing names one
_DEFAULT = "vif.default.script"
_LIBVIRTS = f", or give its interfaces <script path='{SCRIPT}'/>"


@dataclass(frozen=True, slots=True)
class Files:
    """Where a host keeps what it starts."""

    xl_conf: Path = Path("/etc/xen/xl.conf")
    auto: Path = Path("/etc/xen/auto")  # xendomains starts every file in it
    libvirt: Path = Path("/etc/libvirt/libxl")  # its guests; autostart/ has links to some


HERE = Files()


@dataclass(frozen=True, slots=True)
class Start:
    """One way to start a guest here: ``scripts`` bring its vifs up.

    ``instead`` says how the usual script would be replaced by ours.
    """

    name: str
    uuid: str
    scripts: tuple[str, ...]
    instead: str

    def is_of(self, name: str, uuid: str) -> bool:
        return self.name == name or self.uuid.lower() == uuid

    def danger(self) -> dict[str, Any] | None:
        """What an error tells of the first vif that our script does not bring up."""
        for script in self.scripts:
            if script.rpartition("/")[2] != SCRIPT.name:
                instead = self.instead if is_stock(script) else ""
                return {"host": socket.gethostname(), "script": script, "instead": instead}
        return None


def at_boot(
    name: str, uuid: str, files: Files = HERE, *, libvirt: bool = True
) -> AutostartsOpen | None:
    """Why this host must not boot while the guest is protected; None when it may.

    ``libvirt`` False: what libvirt starts does not count.
    """
    by_xl = ((path, _of_xl(path, files)) for path in _files(files.auto, "*"))
    autostart = files.libvirt / "autostart"
    by_libvirt = ((path, _of_libvirt(path)) for path in _files(autostart, "*.xml"))
    for path, start in (*by_xl, *(by_libvirt if libvirt else ())):
        danger = start.danger() if start.is_of(name, uuid) else None
        if danger:
            return AutostartsOpen(name=name, entry=path, **danger)
    return None


def by_hand(name: str, uuid: str, scripts: Sequence[str], files: Files = HERE) -> StartsOpen | None:
    """Why nobody should start it here; ``scripts`` are those of the running guest's vifs."""
    defined = (_of_libvirt(path) for path in _files(files.libvirt, "*.xml"))
    libvirts = next((start for start in defined if start.is_of(name, uuid)), None)
    danger = (libvirts or _xl(name, uuid, scripts, files)).danger()
    return StartsOpen(name=name, **danger) if danger else None


def _xl(name: str, uuid: str, scripts: Sequence[str], files: Files) -> Start:
    """``scripts`` are the vifs' own, empty where they name none: then xl.conf's counts."""
    settings = xlfile.settings(_text(files.xl_conf))
    default = xlfile.first(settings, _DEFAULT) or STOCK
    instead = f', or put {_DEFAULT}="{SCRIPT}" into {files.xl_conf}'
    return Start(name, uuid, tuple(script or default for script in scripts), instead)


def _of_xl(path: Path, files: Files) -> Start:
    """What an xl.cfg(5) starts."""
    found = xlfile.settings(_text(path))
    scripts = [_words(vif).get("script", "") for vif in found.get("vif", ())]
    return _xl(xlfile.first(found, "name"), xlfile.first(found, "uuid"), scripts, files)


def _words(vif: str) -> dict[str, str]:
    """The settings of one vif (xl-network-configuration(5))."""
    pairs = (word.partition("=")[::2] for word in vif.split(","))
    return {key.strip(): value.strip() for key, value in pairs}


def _of_libvirt(path: Path) -> Start:
    """What a definition of libvirt's starts; libvirt does not read xl.conf."""
    try:
        domain = ElementTree.fromstring(_text(path))  # noqa: S314  root's own file
    except ElementTree.ParseError:
        return Start("", "", (), "")
    scripts = [nic.find("script") for nic in domain.iterfind("devices/interface")]
    paths = tuple(STOCK if script is None else script.get("path", STOCK) for script in scripts)
    return Start(domain.findtext("name", ""), domain.findtext("uuid", ""), paths, _LIBVIRTS)


def _files(directory: Path, pattern: str) -> Iterator[Path]:
    return (path for path in sorted(directory.glob(pattern)) if path.is_file())


def _text(path: Path) -> str:
    """Empty where there is nothing to read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
