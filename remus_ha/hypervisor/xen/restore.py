"""The backup's stock restoring process: ``xl migrate-receive -r`` behind a pipe of ours.

Its end of file means "restore and unpause", whatever the reason, so nobody but the keeper and
the receiver may hold the pipe's write end.
"""

import os
import signal
import subprocess
from pathlib import Path

from remus_ha.hypervisor import errors
from remus_ha.hypervisor.xen.domain import xl

BANNER = b"xl migration receiver ready, send binary domain data.\n"
INCOMING = "--incoming"
MIGRATED = "--migratedaway"  # how xl names a domain that it has sent elsewhere
COMMAND = ("xl", "migrate-receive", "-r")
UNMINDED = "-e"
_END_S = 10.0


def start(stdin_fd: int, log_path: Path, *, minded: bool = True) -> "subprocess.Popen[bytes]":
    """Start the restoring process on a pipe's read end, in a session of its own.

    ``minded``: after a failover xl stays as the domain's monitor, as after ``xl create``. Raises
    ToolMissing.
    """
    command = COMMAND if minded else (*COMMAND, UNMINDED)
    with log_path.open("ab") as log:
        try:
            return subprocess.Popen(
                command,
                stdin=stdin_fd,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        except FileNotFoundError as e:
            raise errors.ToolMissing(tool="xl") from e


def running(log_path: Path) -> int | None:
    """The restoring process that writes to that log; a copy's monitor, later, writes elsewhere."""
    argv = b"\0".join(map(str.encode, COMMAND)) + b"\0"
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "cmdline").read_bytes().startswith(argv):
                if (process / "fd/1").samefile(log_path):
                    return int(process.name)
        except OSError:
            continue  # it has just ended
    return None


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End the restoring process and its helper without letting it fail over."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait(_END_S)


def domid_of(name: str) -> int | None:
    """The domain of that name here, None where there is none. Raises ToolMissing."""
    try:
        return int(xl("domid", name))
    except (errors.CommandFailed, ValueError):
        return None
