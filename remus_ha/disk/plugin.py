"""A process of nbdkit with a plugin of ours: what it is told, where it listens, whether it came up.

The plugin reads its setup, a JSON object, from a file. ``ready_fd`` in it is where the process says
with ``say_ready`` or ``say_refusal`` how its start went.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import remus_ha
from remus_ha import rundir
from remus_ha.disk.errors import DiskError, StillStarting
from remus_ha.exceptions import RemusError
from remus_ha.lines import read_line

START_S = 60.0
_PR_SET_PDEATHSIG = 1
_SYSTEM = ("/usr/sbin", "/usr/bin")
# Socket activation (sd_listen_fds(3)): the listening socket is descriptor 3 of this very process.
# Not sh: dash knows no descriptor above 9.
_EXEC = 'exec 3<&"$0" && LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
_ABOVE_LISTENER = 4


@dataclass(frozen=True, slots=True)
class Plugin:
    """``path`` is the plugin's; the errors are told ``disk``, and what is said of it."""

    path: Path
    refused: type[DiskError]
    silent: type[DiskError]


def say_ready(fd: int) -> None:
    _say(fd, {"ready": os.getpid()})


def say_refusal(fd: int, error: RemusError) -> None:
    _say(fd, {"refused": error.as_dict()})


def outlive_parent() -> None:
    """Call it in nbdkit's main thread: some versions (1.32) always die with whoever started them.

    They do so by the kernel's means, whether ``--exit-with-parent`` was asked for or not.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, 0)


def die_with_parent() -> None:
    """Whoever started this process; its thread, to be exact (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def above_listener(fd: int) -> int:
    """A duplicate that a process may inherit beside its listening socket. Raises OSError."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE_LISTENER)


def _say(fd: int, told: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # its starter does not wait any more
        os.write(fd, json.dumps(told).encode() + b"\n")
        os.close(fd)


class Starting:
    """A process that is coming up."""

    def __init__(
        self, plugin: Plugin, disk: str, process: subprocess.Popen[bytes], fd: int, log: Path | None
    ) -> None:
        self._plugin, self._disk, self._log = plugin, disk, log or "standard error"
        self.process, self._fd = process, fd
        self._deadline = time.monotonic() + START_S  # of several that come up together

    def wait(self) -> int:
        """Its pid, once it serves. Raises StillStarting, the plugin's errors; then it is gone."""
        try:
            self._await_ready()
        except BaseException:
            self.kill()
            raise
        os.close(self._fd)
        return self.process.pid

    def _await_ready(self) -> None:
        try:
            told = json.loads(read_line(self._fd, self._deadline))
        except TimeoutError as e:
            raise StillStarting(disk=self._disk, seconds=START_S, log=self._log) from e
        except ValueError as e:
            detail = "it ended and said nothing"
            raise self._plugin.silent(disk=self._disk, detail=detail, log=self._log) from e
        if "refused" in told:
            raise self._plugin.refused(disk=self._disk, **told["refused"])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)


def begin(
    plugin: Plugin,
    disk: str,
    *,
    setup: dict[str, Any],
    file: Path,
    listener: socket.socket,
    log: Path | None,
    options: Sequence[str] = (),
    parameters: Sequence[str] = (),
    kept: Sequence[int] = (),
) -> Starting:
    """Start the process; it will serve on ``listener``.

    ``file`` is where ``setup`` lies from now on; ``log`` None: it writes where this process does.
    ``options`` are nbdkit's, ``parameters`` its filters'; ``kept`` are descriptors above 3 that it
    holds as long as it lives. Raises the plugin's ``silent``.
    """
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    words = ["--foreground", *options, "python", str(plugin.path), f"setup={file}", *parameters]
    try:
        rundir.write_json(file, {**setup, "ready_fd": theirs})
        with open(log, "ab") if log else contextlib.nullcontext() as out:
            output = out.fileno() if out else None
            process = nbdkit(listener, words, theirs, *kept, output=output)
    except OSError as e:
        os.close(ours)
        raise plugin.silent(disk=disk, detail=e, log=log) from e
    finally:
        os.close(theirs)
    return Starting(plugin, disk, process, ours, log)


def nbdkit(
    listener: socket.socket, words: Sequence[str], *pass_fds: int, output: int | None = None
) -> subprocess.Popen[bytes]:
    """Start nbdkit with these words; it serves on ``listener``. Raises OSError."""
    return serving(listener, ["nbdkit", *words], *pass_fds, output=output)


def serving(
    listener: socket.socket, command: Sequence[str], *pass_fds: int, output: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a program that takes its listening socket over as of systemd. Raises OSError."""
    return subprocess.Popen(
        ["bash", "-c", _EXEC, str(listener.fileno()), *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment(),
        pass_fds=(*pass_fds, listener.fileno()),
        start_new_session=True,
    )


def environment() -> dict[str, str]:
    """In which ``python3`` is the interpreter inside nbdkit, and finds this package."""
    return {**os.environ, "PYTHONPATH": _python_path(), "PATH": _path()}


def _path() -> str:
    """The interpreter inside nbdkit takes its libraries from where the first python3 lies: that has

    to be the distribution's, not that of an environment in which this process was started.
    """
    return os.pathsep.join(filter(None, [*_SYSTEM, os.environ.get("PATH", "")]))


def _python_path() -> str:
    """nbdkit's interpreter is the distribution's; the package may lie elsewhere."""
    place = str(Path(remus_ha.__file__).parents[1])
    return os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH", "")]))
