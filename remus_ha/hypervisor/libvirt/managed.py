"""What libvirt knows of a protected guest, kept where a crash of the host does not lose it.

While a guest is protected libvirt must not start its old copy with open vifs, so its definition is
changed (``definition.guarded``); this file is where the operator's own is.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from remus_ha import rundir
from remus_ha.hypervisor.libvirt.errors import DefinitionBroken


@dataclass(frozen=True, slots=True)
class Managed:
    """A guest of libvirt's. ``definition`` is empty for a transient one."""

    name: str
    uuid: str
    live: str  # XML of the running domain, with what libvirt calls security information
    definition: str  # XML of the persistent one
    autostart: bool
    images: dict[str, str]  # where its disks lie on this host, if elsewhere, by their names in it

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def directory() -> Path:
    return rundir.STATE / "libvirt"


def keep(guest: Managed, images: Mapping[str, str] | None = None) -> None:
    """Durably. ``images``: where its disks lie on this host."""
    here = replace(guest, images=dict(images or guest.images))
    rundir.write_json_durably(_path(guest.uuid), here.as_dict())


def kept(uuid: str) -> Managed | None:
    """None where nothing is kept of that guest. Raises DefinitionBroken."""
    path = _path(uuid)
    return parse(rundir.read_json(path), str(path)) if path.exists() else None


def all_kept() -> list[str]:
    """UUIDs of the guests of which something is kept."""
    return sorted(path.stem for path in directory().glob("*.json"))


def forget(uuid: str) -> None:
    """Idempotent."""
    _path(uuid).unlink(missing_ok=True)


def parse(fields: Any, name: str) -> Managed:
    """From ``as_dict``. Raises DefinitionBroken."""
    try:
        guest = Managed(**fields)
        texts = (guest.name, guest.uuid, guest.live, guest.definition, *guest.images.values())
    except (TypeError, AttributeError) as e:
        raise DefinitionBroken(name=name, detail=e) from e
    if not all(isinstance(text, str) for text in texts) or not isinstance(guest.autostart, bool):
        raise DefinitionBroken(name=name, detail="a field of another type")
    return guest


def _path(uuid: str) -> Path:
    return directory() / f"{uuid}.json"
