"""A guest's processes, found by what they call themselves, and their end."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from remus_ha.waiting import readable

END_S = 60.0


def pids(module: str, uuid: str) -> list[int]:
    """A test's own, if nobody else's command line has that UUID."""
    return [
        int(process.name)
        for process in Path("/proc").iterdir()
        if process.name.isdigit() and f"{module} {uuid}" in _command(process)
    ]


def _command(process: Path) -> str:
    with suppress(OSError):
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def kill(pid: int) -> None:
    """It has ended when this returns."""
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        readable(pidfd, END_S)
        os.close(pidfd)
