"""The daemons that run on this host, and whether a guest can be protected with them."""

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from remus_ha.disk.orders import ask
from remus_ha.disk.spec import DiskSpec
from remus_ha.disk.tapdisk.classic import launch, nbdko
from remus_ha.disk.tapdisk.classic.disk import Role
from remus_ha.disk.tapdisk.classic.files import Files
from remus_ha.disk.tapdisk.classic.setup import Commit, Setup
from remus_ha.disk.tapdisk.errors import (
    DaemonNotThere,
    DaemonUnfit,
    DaemonUnprotected,
    DeviceLost,
    FlushesInTheWay,
    TapdiskError,
)
from remus_ha.disk.tapdisk.fifo import DIRECTORY
from remus_ha.disk.tapdisk.uri import parse

_ANSWER_S = 5.0


def attached(directory: Path = DIRECTORY) -> dict[str, Setup]:
    """What every daemon that lives was started with, by the device that is connected to it."""
    found: dict[str, Setup] = {}
    for file in directory.glob("remus_*.json"):
        try:
            setup = launch.running(Files(directory, parse(Setup.load(file).uri).address))
        except (TapdiskError, OSError, ValueError, TypeError):
            continue
        if setup.device:
            found[setup.device] = setup
    return found


def status(files: Files) -> dict[str, Any]:
    """A daemon's own word. Raises DaemonNotThere."""
    try:
        for told in ask(files.orders, "status", _ANSWER_S):
            if told["said"] == "status":
                return told
    except (OSError, ValueError, KeyError):
        pass
    raise DaemonNotThere(address=files.address)


def judge_primary(uri: str, told: dict[str, Any], base: int) -> None:
    """Whether the daemon that has told this status is a primary whose next epoch is ``base + 1``.

    Raises DaemonUnprotected, FlushesInTheWay.
    """
    if told["role"] != Role.PRIMARY.value:
        reason = f" ({told['lost']})" if told["lost"] else ""
        raise DaemonUnprotected(disk=uri, role=told["role"], reason=reason)
    if told["unanswered"]:
        detail = f"{told['unanswered']} of its flushes are not answered"
        raise FlushesInTheWay(disk=uri, detail=detail)
    if told["flushes"] != base:
        raise FlushesInTheWay(disk=uri, detail=f"{told['flushes']} have ended, {base} should have")


def base_of(uris: Sequence[str], directory: Path = DIRECTORY) -> int:
    """The epochs that have ended on every one of a guest's disks. All of them are primaries here.

    Raises UriInvalid, DaemonNotThere, DaemonUnprotected, FlushesInTheWay, DeviceLost.
    """
    base = None
    for uri in uris:
        files = Files(directory, parse(uri).address)
        told = status(files)
        base = told.get("flushes", 0) if base is None else base
        judge_primary(uri, told, base)
        device = launch.running(files).device
        if device and not nbdko.is_attached(files):
            raise DeviceLost(disk=uri, device=device, log=files.log)
    return base or 0


def device_of(spec: DiskSpec, directory: Path = DIRECTORY) -> str:
    """The device of the daemon that serves the disk here. Raises UriInvalid, DaemonNotThere."""
    return launch.running(Files(directory, parse(spec.uri).address)).device


def check_backup(spec: DiskSpec, directory: Path = DIRECTORY) -> None:
    """Whether this host's daemon can keep a session's epochs. Raises UriInvalid, DaemonUnfit."""
    files = Files(directory, parse(spec.uri).address)
    try:
        detail = _obstacle(spec, files, status(files))
    except DaemonNotThere:
        detail = "there is none"
    if detail:
        raise DaemonUnfit(disk=spec.uri, host=socket.gethostname(), detail=detail)


def _obstacle(spec: DiskSpec, files: Files, told: dict[str, Any]) -> str:
    """Why not; empty where it can. Raises DaemonNotThere."""
    setup = launch.running(files)
    wrong = {
        f"it serves {setup.uri}": parse(setup.uri) != parse(spec.uri),
        f"its role is {told['role']}": told["role"] != Role.BACKUP.value,
        "it commits by itself (--commit at-close)": setup.commit != Commit.COORDINATED.value,
        f"what it answers outlives less ('--ack {setup.ack}')": _is_less(setup.ack, spec.ack),
        "no device is attached to it": not (setup.device and nbdko.is_attached(files)),
        f"its disk has {told['size']} octets, not {spec.size}": told["size"] != spec.size,
        "it has no primary any more": bool(told.get("severed") or told.get("poisoned")),
        f"it has {told.get('prepared')} epochs, the primary has ended {spec.base}": (
            told.get("prepared") != spec.base
        ),
    }
    return next((detail for detail, is_so in wrong.items() if is_so), "")


def _is_less(theirs: str, wanted: str) -> bool:
    return (theirs, wanted) == ("received", "durable")
