"""The disk as a block device of this host, by the kernel's nbd driver: for ``phy:/dev/nbdN``."""

import subprocess
from collections.abc import Sequence

from remus_ha.disk.tapdisk.errors import AttachFailed
from remus_ha.disk.tapdisk.wire import SECTOR

_COMMAND_S = 30.0


def attaching(nbd: str, device: str) -> list[str]:
    """The command that connects ``device`` to the socket ``nbd``."""
    return ["nbd-client", "-unix", nbd, device, "-block-size", str(SECTOR)]


def detaching(device: str) -> list[str]:
    return ["nbd-client", "-d", device]


def run(command: Sequence[str]) -> None:
    """Raises AttachFailed."""
    shown = " ".join(command)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise AttachFailed(command=shown, detail=e) from e
    if done.returncode:
        detail = " ".join((done.stderr + done.stdout).split()) or f"status {done.returncode}"
        raise AttachFailed(command=shown, detail=detail)
