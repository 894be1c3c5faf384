"""A disk's daemon: a plugin of nbdkit, which speaks NBD; the role behind it does the rest.

Started by ``launch.start``. The functions' names and arguments are those of
nbdkit-python-plugin(3), API version 2.
"""

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbdkit

from remus_ha.disk import plugin
from remus_ha.disk.tapdisk.classic.disk import Disk
from remus_ha.disk.tapdisk.classic.opening import open_disk
from remus_ha.disk.tapdisk.classic.orders import DaemonServer
from remus_ha.disk.tapdisk.classic.setup import Setup
from remus_ha.disk.tapdisk.errors import ImageUnusable
from remus_ha.exceptions import RemusError
from remus_ha.journal import Journal

API_VERSION = 2
# nbdkit would answer requests with errors before it ends: 'quit' is how it ends.
_DEAF_TO = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class _Export:
    """The one disk of this process."""

    setup: Setup
    disk: Disk


_this = _Export()


def thread_model() -> int:
    return int(nbdkit.THREAD_MODEL_PARALLEL)


def config(key: str, value: str) -> None:
    if key != "setup":
        raise RuntimeError(f"no parameter {key}")
    _this.setup = Setup.load(Path(value))


def after_fork() -> None:
    """Threads do not outlive a fork: everything begins here."""
    plugin.outlive_parent()
    for number in _DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    setup = _this.setup
    log = Journal(setup.uri)
    try:
        _this.disk = disk = open_disk(setup, log)
        server = DaemonServer(disk, Path(setup.orders), _end)
        disk.start(server.say)
        server.listen()
    except RemusError as e:
        _refuse(e)
    except OSError as e:
        _refuse(ImageUnusable(disk=setup.uri, path=e.filename or setup.uri, detail=e))
    log(f"serves as {disk.role.value} on {setup.nbd}")
    plugin.say_ready(setup.ready_fd)


def _refuse(error: RemusError) -> None:
    plugin.say_refusal(_this.setup.ready_fd, error)
    os._exit(1)


def _end() -> None:
    """At once: nbdkit would wait for its connections."""
    Path(_this.setup.nbd).unlink(missing_ok=True)
    os._exit(0)


@contextmanager
def _errors() -> Iterator[None]:
    """The guest is told of the image's errors as if there was nobody between."""
    try:
        yield
    except OSError as e:
        nbdkit.set_error(e.errno or errno.EIO)
        raise


def open(readonly: bool) -> int:
    return 1


def get_size(handle: int) -> int:
    return _this.disk.size


def can_write(handle: int) -> bool:
    return True


def can_flush(handle: int) -> bool:
    return True


def can_trim(handle: int) -> bool:
    """The protocol has no discard, and to send zeroes instead would cost what they cost."""
    return False


def can_zero(handle: int) -> bool:
    return True


def can_fast_zero(handle: int) -> bool:
    return False


def can_fua(handle: int) -> int:
    return int(nbdkit.FUA_NATIVE)


def can_multi_conn(handle: int) -> bool:
    return True


def pread(handle: int, buffer: bytearray, offset: int, flags: int) -> None:
    with _errors():
        _this.disk.read_into(offset, buffer)


def pwrite(handle: int, buffer: bytes, offset: int, flags: int) -> None:
    with _errors():
        _this.disk.write(offset, buffer)
        _sync_if(flags)


def zero(handle: int, count: int, offset: int, flags: int) -> None:
    with _errors():
        _this.disk.zero(offset, count)
        _sync_if(flags)


def flush(handle: int, flags: int) -> None:
    with _errors():
        _this.disk.flush()


def _sync_if(flags: int) -> None:
    if flags & nbdkit.FLAG_FUA:
        _this.disk.flush()
