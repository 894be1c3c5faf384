"""Starting a disk's daemon, and ending one."""

import contextlib
import fcntl
import os
import socket
import subprocess
from dataclasses import asdict
from pathlib import Path

from remus_ha.disk import plugin
from remus_ha.disk.orders import ask
from remus_ha.disk.tapdisk.classic.files import Files
from remus_ha.disk.tapdisk.classic.setup import Setup
from remus_ha.disk.tapdisk.errors import (
    DaemonAttended,
    DaemonFinishing,
    DaemonNotThere,
    DaemonRuns,
    ServerDidNotStart,
    ServerRefused,
)
from remus_ha.disk.tapdisk.fifo import MODE
from remus_ha.disk.tapdisk.wire import SECTOR

END_S = 60.0  # a last commit, or committed epochs on their way into the image
_PLUGIN = plugin.Plugin(Path(__file__).with_name("daemon.py"), ServerRefused, ServerDidNotStart)
# The protocol knows whole sectors. What a client asks for beyond 1 MiB comes in pieces, so no
# single write is longer than what a connection may have queued.
_FILTER = ("--filter=blocksize",)
_BLOCKS = (f"minblock={SECTOR}", "maxdata=1M", "maxlen=1M")


def start(setup: Setup, files: Files, log: Path | None) -> subprocess.Popen[bytes]:
    """A daemon that serves, in a process of its own; ``log`` None: it says things where we do.

    Raises DaemonRuns, ServerDidNotStart, ServerRefused (the daemon's own error).
    """
    lock = _lock(setup, files)
    try:
        with _listen(setup, files) as listener:
            starting = plugin.begin(
                _PLUGIN,
                setup.uri,
                setup=asdict(setup),
                file=files.setup,
                listener=listener,
                log=log,
                options=_FILTER,
                parameters=_BLOCKS,
                kept=(lock,),
            )
        starting.wait()
    finally:
        os.close(lock)
    return starting.process


def _lock(setup: Setup, files: Files) -> int:
    """The lock's descriptor: whoever has it owns everything that ``files`` names."""
    try:
        files.directory.mkdir(mode=MODE, parents=True, exist_ok=True)
        fd = os.open(files.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise ServerDidNotStart(disk=setup.uri, detail=e, log=files.log) from e
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return plugin.above_listener(fd)
    except OSError as e:
        raise DaemonRuns(address=files.address) from e
    finally:
        os.close(fd)


def _listen(setup: Setup, files: Files) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        Path(setup.nbd).unlink(missing_ok=True)
        listener.bind(setup.nbd)
        os.chmod(setup.nbd, 0o600)
        listener.listen(8)
    except OSError as e:
        listener.close()
        raise ServerDidNotStart(disk=setup.uri, detail=e, log=files.log) from e
    return listener


def running(files: Files) -> Setup:
    """What the daemon that lives was started with. Raises DaemonNotThere."""
    try:
        with open(files.lock, "rb") as f:
            fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with contextlib.suppress(OSError, ValueError, TypeError):
            return Setup.load(files.setup)
    except OSError:
        pass
    raise DaemonNotThere(address=files.address)


def end(files: Files) -> None:
    """Let a daemon finish its work and end; returns when it has.

    Raises DaemonAttended (nothing has happened), DaemonNotThere, DaemonFinishing.
    """
    try:
        for told in ask(files.orders, "quit", END_S):
            if told["said"] == "failed":
                raise DaemonAttended(address=files.address)
    except ConnectionResetError:
        pass  # it has ended with news for us unread
    except TimeoutError as e:
        raise DaemonFinishing(address=files.address, seconds=END_S) from e
    except OSError as e:
        raise DaemonNotThere(address=files.address) from e
