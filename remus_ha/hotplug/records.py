"""Records of vifs that must come up shut, and opening them.

A record is a file named by the vif's MAC in /run/remus-ha/vif, lines ``key=value``, read by the
hotplug script ``vif-remus`` beside this file.
"""

import copy
import os
import subprocess
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from remus_ha import rundir
from remus_ha.exceptions import RemusError

SCRIPT = Path(__file__).with_name("vif-remus")
OPEN_S = 10.0
_STOCK = ("", "vif-bridge", SCRIPT.name)
_SCRIPTS = Path("/etc/xen/scripts")


class VifNotOpened(RemusError):
    code = "VIF-001"
    cause = "{vif} could not be opened: {detail}"
    remedy = "Put it into its bridge by hand ('ip link set {vif} master BRIDGE up')."


@dataclass(frozen=True, slots=True)
class VifRecord:
    """``state`` is shut or open; ``original`` the guest's own hotplug script."""

    mac: str
    state: str
    bridge: str
    original: str
    guest: str
    session: str


def directory() -> Path:
    return rundir.ROOT / "vif"


def write(record: VifRecord) -> None:
    """Replace the record as a whole. Raises ValueError for a value that does not fit a line."""
    fields = asdict(record)
    if any("\n" in value for value in fields.values()) or "/" in record.mac:
        raise ValueError(f"not a record: {record}")
    directory().mkdir(parents=True, exist_ok=True)
    path = directory() / record.mac
    fresh = path.with_name(f".{record.mac}.{os.getpid()}")
    fresh.write_text("".join(f"{key}={value}\n" for key, value in fields.items()))
    os.replace(fresh, path)


def read(mac: str) -> VifRecord | None:
    """None where there is no such record."""
    try:
        lines = (directory() / mac).read_text().splitlines()
    except FileNotFoundError:
        return None
    fields = dict(line.partition("=")[::2] for line in lines)
    return VifRecord(**fields)


def forget(mac: str) -> None:
    """Idempotent."""
    (directory() / mac).unlink(missing_ok=True)


def substitute(config: dict[str, Any]) -> dict[str, Any]:
    """A libxl configuration whose vifs are brought up by our script."""
    changed = copy.deepcopy(config)
    for nic in changed.get("nics", []):
        nic["script"] = str(SCRIPT)
    return changed


def open_vif(mac: str, domid: int, devid: int) -> None:
    """Let a vif's frames go: its record says open, it is in its bridge and up.

    Raises VifNotOpened.
    """
    record = read(mac)
    vif = f"vif{domid}.{devid}"
    if record is None:
        raise VifNotOpened(vif=vif, detail=f"no record of {mac}")
    write(replace(record, state="open"))
    if os.path.basename(record.original) in _STOCK:
        command = ["ip", "link", "set", "dev", vif, "master", record.bridge, "up"]
    else:
        command = [str(_SCRIPTS / record.original), "online"]
    environment = {
        **os.environ,
        "vif": vif,
        "type_if": "vif",
        "XENBUS_PATH": f"/local/domain/0/backend/vif/{domid}/{devid}",
        "script": record.original,
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=OPEN_S)
    if done.returncode:
        raise VifNotOpened(vif=vif, detail=done.stderr.strip() or f"status {done.returncode}")
