"""The records that say whether a vif with a given MAC comes up shut on this host.

One file per MAC, lines ``key=value``, read by the hotplug script ``vif-remus`` and by nothing else
outside this package. ``/var/lib/remus-ha/vif`` survives a crash of the host: there is where "shut"
is written, durably, so that a host that comes back and starts its old copy starts it shut.
``/run/remus-ha/vif`` goes before it and is lost with the host: there is where "open" is written,
so that it is never more than what this boot has decided.
"""

import enum
import os
import re
from dataclasses import dataclass
from pathlib import Path

from remus_ha import rundir
from remus_ha.hotplug.errors import BadRecord

STATE_ROOT = Path(os.environ.get("REMUS_HA_STATE_DIR", "/var/lib/remus-ha"))
# What the hotplug script needs of a shut vif comes first.
_ORDER = ("state", "vifname", "mac", "bridge", "original", "guest", "session", "before")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class VifState(enum.StrEnum):
    """How a vif comes up."""

    SHUT = "shut"  # link down, in no bridge, connected for Xen
    OPEN = "open"  # as without us


@dataclass(frozen=True, slots=True)
class VifRecord:
    """One vif's record.

    ``bridge``, ``original`` (the guest's own hotplug script) and ``vifname`` (of the device in
    dom0) may be empty: the usual ones. ``before`` is "shut" where a former session had left the
    vif shut on this host.
    """

    mac: str
    state: str
    bridge: str = ""
    original: str = ""
    guest: str = ""
    session: str = ""
    vifname: str = ""
    before: str = ""


def run_directory() -> Path:
    """Records of this boot; they go first."""
    return rundir.ROOT / "vif"


def state_directory() -> Path:
    """Records that survive a crash of the host."""
    return STATE_ROOT / "vif"


def write(record: VifRecord) -> None:
    """Make ``record`` the one that counts; returns when it would survive what it must survive.

    Raises BadRecord for values that do not fit the form, OSError where a directory is not
    writable (then the former record counts).
    """
    octets = _encode(record)
    if record.state == VifState.SHUT:
        _replace(state_directory() / record.mac, octets)
        _remove(run_directory() / record.mac)
    else:
        _replace(run_directory() / record.mac, octets)


def keep(record: VifRecord) -> None:
    """Write ``record`` so that it counts after a crash of the host too, whatever its state.

    For a guest that is not protected any more but whose configuration still names our script:
    its own script must be known for as long as it lives.
    """
    _replace(state_directory() / record.mac, _encode(record))
    _remove(run_directory() / record.mac)


def read(mac: str) -> VifRecord | None:
    """The record that counts; None where there is none. Raises BadRecord."""
    for directory in (run_directory(), state_directory()):
        path = directory / mac.lower()
        try:
            return _decode(path)
        except FileNotFoundError:
            continue
    return None


def forget(mac: str) -> None:
    """The vif comes up as without us. Idempotent."""
    for directory in (run_directory(), state_directory()):
        _remove(directory / mac.lower())


def records() -> tuple[VifRecord, ...]:
    """Every record that counts, by MAC. Raises BadRecord for the first unreadable one."""
    macs = set()
    for directory in (run_directory(), state_directory()):
        if directory.is_dir():
            macs |= {path.name for path in directory.iterdir() if _MAC.fullmatch(path.name)}
    return tuple(record for mac in sorted(macs) if (record := read(mac)) is not None)


def _encode(record: VifRecord) -> bytes:
    fields = {name: str(getattr(record, name)) for name in _ORDER}
    path = state_directory() / record.mac
    if not _MAC.fullmatch(record.mac):
        raise BadRecord(action="written", detail=f"{record.mac!r} is not a MAC", path=path)
    if record.state not in list(VifState):
        raise BadRecord(action="written", detail=f"state {record.state!r}", path=path)
    if any(set(value) & set("\n\0") for value in fields.values()):
        raise BadRecord(action="written", detail="a value has a line break", path=path)
    return "".join(f"{key}={value}\n" for key, value in fields.items()).encode()


def _decode(path: Path) -> VifRecord:
    try:
        lines = path.read_text().splitlines()
        fields = dict(line.partition("=")[::2] for line in lines)
        return VifRecord(**{name: fields[name] for name in VifRecord.__slots__ if name in fields})
    except (TypeError, UnicodeDecodeError) as e:
        raise BadRecord(action="read", detail=str(e), path=path) from e


def _replace(path: Path, octets: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with open(fresh, "wb") as f:
        f.write(octets)
        f.flush()
        os.fsync(f.fileno())
    os.replace(fresh, path)
    _sync(path.parent)


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except FileNotFoundError:
        return
    _sync(path.parent)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
