"""The block server between a running guest and its image: a plugin of nbdkit.

Started by ``launch.begin``. It serves the disk on a local socket; its errors are those of the image
here, never of replication. The functions' names and arguments are those of
nbdkit-python-plugin(3), API version 2.
"""

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import nbdkit

from remus_ha.disk import plugin
from remus_ha.disk.store.image import Image
from remus_ha.disk.tapdisk.backlog import Backlog
from remus_ha.disk.tapdisk.control import ControlServer
from remus_ha.disk.tapdisk.launch import Setup
from remus_ha.disk.tapdisk.replication import Replication
from remus_ha.disk.tapdisk.served import ServedDisk, open_image
from remus_ha.disk.tapdisk.store_connection import Where
from remus_ha.exceptions import RemusError

API_VERSION = 2
# nbdkit would answer requests with errors before it ends. A server that nobody needs ends anyway.
_DEAF_TO = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class _Export:
    """The one disk of this process, once its threads may begin."""

    setup: Setup
    image: Image
    disk: ServedDisk
    control: ControlServer


_this = _Export()


def thread_model() -> int:
    return int(nbdkit.THREAD_MODEL_PARALLEL)


def config(key: str, value: str) -> None:
    if key != "setup":
        raise RuntimeError(f"no parameter {key}")
    _this.setup = Setup.load(Path(value))


def get_ready() -> None:
    setup = _this.setup
    try:
        _this.image = open_image(setup.disk, Path(setup.path), setup.size)
    except RemusError as e:
        plugin.say_refusal(setup.ready_fd, e)
        raise


def after_fork() -> None:
    """Threads do not outlive a fork: they begin here."""
    plugin.outlive_parent()
    for number in _DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    setup, image = _this.setup, _this.image
    backlog = Backlog(setup.limit)
    _this.disk = ServedDisk(image, backlog)
    _this.control = ControlServer(Path(setup.orders), _end)
    where = Where(setup.address, setup.port, setup.tls, setup.size, setup.patience_ms)
    say = _this.control.say
    replication = Replication(setup.disk, image, backlog, where, rate=setup.rate, say=say)
    _this.disk.unknown = replication.lose
    _this.control.begin(replication)
    plugin.say_ready(setup.ready_fd)


def _end() -> None:
    """At once: nbdkit would wait for its connections.

    A QEMU that goes past the page cache from now on finds nothing of ours there.
    """
    if _this.setup.direct:
        with suppress(OSError):  # whoever flushed was told
            _this.image.forget()
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
    _this.control.joined()
    return 1


def close(handle: int) -> None:
    _this.control.parted()


def get_size(handle: int) -> int:
    return _this.disk.size


def can_write(handle: int) -> bool:
    return True


def can_flush(handle: int) -> bool:
    return True


def can_trim(handle: int) -> bool:
    return True


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
        _this.disk.zero(offset, count, punch=bool(flags & nbdkit.FLAG_MAY_TRIM))
        _sync_if(flags)


def trim(handle: int, count: int, offset: int, flags: int) -> None:
    with _errors():
        _this.disk.zero(offset, count, punch=True)
        _sync_if(flags)


def flush(handle: int, flags: int) -> None:
    with _errors():
        _this.disk.flush()


def _sync_if(flags: int) -> None:
    if flags & nbdkit.FLAG_FUA:
        _this.disk.flush()
