"""What qemu-img tells of qcow2 images, and how it makes them."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remus_ha.disk.errors import DiskError

RAW, QCOW2 = "raw", "qcow2"
FORMATS = (RAW, QCOW2)  # what a replica can be kept as
_MAGIC = b"QFI\xfb"
_TIMEOUT_S = 50.0


class QemuImgFailed(DiskError):
    code = "DISK-040"
    cause = "'{command}' failed: {detail}"
    remedy = "Install Debian's qemu-utils on that host, then run it by hand to see why."


@dataclass(frozen=True, slots=True)
class Info:
    """A qcow2 image. ``size`` is octets of its disk, ``taken`` those that its file takes up.

    ``beneath``: another file that it depends on, empty where it stands alone; ``shared``: some of
    its octets are also those of a snapshot inside, so a write to them needs room.
    """

    size: int
    taken: int
    beneath: str
    shared: bool


def is_qcow2(path: Path) -> bool:
    """By its first octets. Raises OSError."""
    with path.open("rb") as f:
        return f.read(len(_MAGIC)) == _MAGIC


def info(path: Path) -> Info:
    """Of a qcow2 image, which somebody may have open. Raises QemuImgFailed."""
    told = _told(["info", "-U", "-f", QCOW2, str(path)])
    own = told.get("format-specific", {}).get("data", {})
    return Info(
        size=int(told["virtual-size"]),
        taken=int(told["actual-size"]),
        beneath=str(told.get("backing-filename") or own.get("data-file") or ""),
        shared=bool(told.get("snapshots")),
    )


def check_chain(path: Path) -> None:
    """Whether everything is there that a qcow2 image depends on. Raises QemuImgFailed."""
    _told(["info", "-U", "--backing-chain", "-f", QCOW2, str(path)])


def room_for(size: int) -> int:
    """Octets that an image of a disk of ``size`` takes up when all of it is written to.

    Raises QemuImgFailed.
    """
    return int(_told(["measure", "-O", QCOW2, "--size", str(size)])["fully-allocated"])


def create(path: Path, size: int) -> None:
    """An empty image with all of its space. Raises QemuImgFailed."""
    _run(["create", "-q", "-f", QCOW2, "-o", "preallocation=falloc", str(path), str(size)])


def _told(words: Sequence[str]) -> dict[str, Any]:
    verb, *rest = words
    told: Any = json.loads(_run([verb, "--output=json", *rest]))
    return dict(told[0] if isinstance(told, list) else told)


def _run(words: Sequence[str]) -> str:
    command = ["qemu-img", *words]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        raise QemuImgFailed(command=" ".join(command), detail=e) from e
    if done.returncode:
        detail = done.stderr.strip() or f"exit status {done.returncode}"
        raise QemuImgFailed(command=" ".join(command), detail=detail)
    return done.stdout
