"""Starting a store's process: what it is told, where it listens, whether it came up."""

import contextlib
import json
import os
import socket
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import remus_ha
from remus_ha import rundir
from remus_ha.disk.errors import DiskError
from remus_ha.exceptions import RemusError
from remus_ha.lines import read_line

START_S = 60.0
SETUP = "setup.json"  # in the journal: whoever takes it up finds there what it belongs to
_PLUGIN = Path(__file__).with_name("nbd.py")
# Socket activation (sd_listen_fds(3)): the listening socket is descriptor 3 of this very process.
# Not sh: dash knows no descriptor above 9.
_EXEC = 'exec 3<&"$0" && LISTEN_FDS=1 LISTEN_PID=$$ exec nbdkit "$@"'


class StoreRefused(DiskError):
    """The store's own error, carried over from its process."""

    code = "DISK-014"
    cause = "the store of {disk} refuses: {code}: {cause}"
    remedy = "{remedy}"


class StoreDidNotStart(DiskError):
    code = "DISK-015"
    cause = "the store of {disk} did not start ({detail}); its log is {log}"
    remedy = "Install nbdkit and its Python plugin here: 'nbdkit python --version' must work."


@dataclass(frozen=True, slots=True)
class Setup:
    """What a store's process works from. ``size`` and ``limit`` are octets.

    ``known``: an image that is there already may be overwritten. ``ready_fd``: where the process
    says how its start went.
    """

    disk: str
    path: str
    size: int
    known: bool
    directory: str
    socket: str
    ack: str
    limit: int
    ready_fd: int = -1

    @classmethod
    def load(cls, path: Path) -> "Setup":
        return cls(**json.loads(path.read_text()))


def say_ready(setup: Setup) -> None:
    _say(setup, {"ready": os.getpid()})


def say_refusal(setup: Setup, error: RemusError) -> None:
    _say(setup, {"refused": error.as_dict()})


def _say(setup: Setup, told: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # its starter does not wait any more
        os.write(setup.ready_fd, json.dumps(told).encode() + b"\n")
        os.close(setup.ready_fd)


class Starting:
    """A store's process that is coming up."""

    def __init__(self, setup: Setup, process: subprocess.Popen[bytes], fd: int, log: Path) -> None:
        self._setup, self._process, self._fd, self._log = setup, process, fd, log

    def wait(self) -> int:
        """Its pid, once it serves. Raises StoreRefused, StoreDidNotStart; then it is gone."""
        try:
            self._await_ready()
        except BaseException:
            self.kill()
            raise
        os.close(self._fd)
        return self._process.pid

    def _await_ready(self) -> None:
        disk = self._setup.disk
        try:
            told = json.loads(read_line(self._fd, time.monotonic() + START_S))
        except (TimeoutError, ValueError) as e:
            detail = e if isinstance(e, TimeoutError) else "it ended and said nothing"
            raise StoreDidNotStart(disk=disk, detail=detail, log=self._log) from e
        if "refused" in told:
            raise StoreRefused(disk=disk, **told["refused"])

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._fd)


def begin(
    setup: Setup, file: Path, listener: socket.socket, log: Path, tls: Path | None = None
) -> Starting:
    """Start the store's process; it will serve on ``listener``.

    ``file`` is where its setup lies from now on. ``tls``: directory with ``ca-cert.pem``,
    ``server-cert.pem`` and ``server-key.pem``; clients have to show a certificate of that CA.
    Raises StoreDidNotStart.
    """
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    told = Setup(**{**asdict(setup), "ready_fd": theirs})
    secure = ["--tls=require", f"--tls-certificates={tls}", "--tls-verify-peer"] if tls else []
    words = ["--foreground", *secure, "python", str(_PLUGIN), f"setup={file}"]
    try:
        rundir.write_json_durably(file, asdict(told))
        with open(log, "ab") as out:
            process = subprocess.Popen(
                ["bash", "-c", _EXEC, str(listener.fileno()), *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "PYTHONPATH": _python_path()},
                pass_fds=(theirs, listener.fileno()),
                start_new_session=True,
            )
    except OSError as e:
        os.close(ours)
        raise StoreDidNotStart(disk=setup.disk, detail=e, log=log) from e
    finally:
        os.close(theirs)
    return Starting(setup, process, ours, log)


def start(
    setup: Setup, file: Path, listener: socket.socket, log: Path, tls: Path | None = None
) -> int:
    """``begin`` and wait; the store's pid."""
    return begin(setup, file, listener, log, tls).wait()


def _python_path() -> str:
    """nbdkit's interpreter is the distribution's; the package may lie elsewhere."""
    place = str(Path(remus_ha.__file__).parents[1])
    return os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH", "")]))
