"""Starting a store's process: what it is told, where it listens, whether it came up."""

import json
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from remus_ha import rundir
from remus_ha.disk import plugin
from remus_ha.disk.errors import DiskError, LineageUnwritable
from remus_ha.disk.tls import FILE as KEY
from remus_ha.exceptions import RemusError

SETUP = "setup.json"  # in the journal: whoever takes it up finds there what it belongs to


class StoreRefused(DiskError):
    """The store's own error, carried over from its process."""

    code = "DISK-014"
    cause = "the store of {disk} refuses: {code}: {cause}"
    remedy = "{remedy}"


class StoreFailed(DiskError):
    """The same of a store that had started."""

    code = "DISK-016"
    cause = "{code}: {cause}"
    remedy = "{remedy}"


class StoreDidNotStart(DiskError):
    code = "DISK-015"
    cause = "the store of {disk} did not start ({detail}); its log is {log}"
    remedy = (
        "Look at the end of that log. 'nbdkit python --version' must work on that host: install "
        "nbdkit and its Python plugin if it does not."
    )


Starting = plugin.Starting
_PLUGIN = plugin.Plugin(Path(__file__).with_name("nbd.py"), StoreRefused, StoreDidNotStart)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a store's process works from. ``size`` and ``limit`` are octets.

    ``known``: an image that is there already may be overwritten; ``overwrite``: the operator said
    so. ``ready_fd``: where the process says how its start went. ``images`` are those of all of the
    ``session``'s disks; without a session it is not known which belong together.
    """

    disk: str
    path: str
    size: int
    known: bool
    directory: str
    socket: str
    ack: str
    limit: int
    format: str = "raw"
    overwrite: bool = False
    session: str = ""
    images: Sequence[str] = ()
    ready_fd: int = -1

    @classmethod
    def load(cls, path: Path) -> "Setup":
        return cls(**json.loads(path.read_text()))


def say_ready(setup: Setup) -> None:
    """The store has its image, and is whom the journal belongs to. Raises OSError."""
    try:
        rundir.write_json_durably(Path(setup.directory) / SETUP, asdict(setup))
    except OSError as e:
        say_refusal(setup, LineageUnwritable(path=setup.path, detail=e.strerror or e))
        raise
    plugin.say_ready(setup.ready_fd)


def say_refusal(setup: Setup, error: RemusError) -> None:
    plugin.say_refusal(setup.ready_fd, error)


def begin(
    setup: Setup, file: Path, listener: socket.socket, log: Path, tls: Path | None = None
) -> Starting:
    """Start the store's process; it will serve on ``listener``.

    ``file`` is where it finds its setup, nobody else's: the journal may be another store's still.
    ``tls``: directory of the key that clients have to know (``remus_ha.disk.tls``). Raises
    StoreDidNotStart; waiting for it, StillStarting and StoreRefused as well.
    """
    secure = ["--tls=require", f"--tls-psk={tls / KEY}"] if tls else []
    return plugin.begin(
        _PLUGIN,
        setup.disk,
        setup=asdict(setup),
        file=file,
        listener=listener,
        log=log,
        options=secure,
    )


def start(
    setup: Setup, file: Path, listener: socket.socket, log: Path, tls: Path | None = None
) -> int:
    """``begin`` and wait; the store's pid."""
    return begin(setup, file, listener, log, tls).wait()
