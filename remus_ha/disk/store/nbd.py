"""The store's NBD side: a plugin of nbdkit, which speaks the protocol, TLS and sockets.

Started by ``launch.start``. Whatever ends the primary's connection severs the store: it is told
by ``close``, which nbdkit calls for every connection that was opened. The functions' names and
arguments are those of nbdkit-python-plugin(3), API version 2.

The export ``digests`` (``remus_ha.disk.digests``) may be read by anyone with the key, at any time.
"""

import os
from pathlib import Path

import nbdkit

from remus_ha.disk import digests
from remus_ha.disk.ack import Ack
from remus_ha.disk.errors import JournalUnusable
from remus_ha.disk.plugin import outlive_parent
from remus_ha.disk.store.engine import EpochStore
from remus_ha.disk.store.images import StoreImage, take
from remus_ha.disk.store.launch import Setup, say_ready, say_refusal
from remus_ha.disk.store.server import StoreServer
from remus_ha.exceptions import RemusError
from remus_ha.stream.fields import DIGEST_OCTETS

API_VERSION = 2
DISK, DIGESTS = 1, 2  # handles


class _Export:
    """The one store of this process, once its threads may begin."""

    setup: Setup
    image: StoreImage
    found: bool  # the image was there before
    store: EpochStore
    server: StoreServer


_this = _Export()


def thread_model() -> int:
    """One request of a connection at a time: what they do is short, and handing them to threads

    that share an interpreter takes longer than doing it.
    """
    return int(nbdkit.THREAD_MODEL_SERIALIZE_REQUESTS)


def config(key: str, value: str) -> None:
    if key != "setup":
        raise RuntimeError(f"no parameter {key}")
    _this.setup = Setup.load(Path(value))


def get_ready() -> None:
    setup = _this.setup
    _this.found = Path(setup.path).exists()
    try:
        _this.image = take(setup)
    except RemusError as e:
        say_refusal(setup, e)
        raise


def after_fork() -> None:
    """Threads do not outlive a fork: they begin here."""
    outlive_parent()  # a new receiver finds the store of a dead one
    setup = _this.setup
    try:
        _this.store = EpochStore(
            disk=setup.disk,
            image=_this.image,
            directory=Path(setup.directory),
            ack=Ack(setup.ack),
            limit=setup.limit,
        )
    except OSError as e:
        unusable = JournalUnusable(disk=setup.disk, path=setup.directory, detail=e)
        say_refusal(setup, unusable)
        raise unusable from e
    _this.server = StoreServer(_this.store, Path(setup.socket), _end)
    say_ready(setup)


def _end() -> None:
    """At once: nbdkit would wait for the connections of a primary that may be dead."""
    os._exit(0)


def open(readonly: bool) -> int:
    return DIGESTS if nbdkit.export_name() == digests.EXPORT else DISK


def close(handle: int) -> None:
    if handle == DISK:
        _this.store.sever()
        _this.server.severed()


def get_size(handle: int) -> int:
    if handle == DISK:
        return _this.store.size
    return digests.count(_this.store.size) * DIGEST_OCTETS if _this.found else 0


def can_write(handle: int) -> bool:
    return handle == DISK


def can_flush(handle: int) -> bool:
    return True


def can_trim(handle: int) -> bool:
    return True


def can_zero(handle: int) -> bool:
    return True


def can_fua(handle: int) -> int:
    return int(nbdkit.FUA_NATIVE)


def can_multi_conn(handle: int) -> bool:
    return True


def pread(handle: int, buffer: bytearray, offset: int, flags: int) -> None:
    if handle == DISK:
        buffer[:] = _this.store.read(offset, len(buffer))
    else:
        buffer[:] = _digests(offset, len(buffer))


def _digests(offset: int, length: int) -> bytes:
    first, last = offset // DIGEST_OCTETS, (offset + length - 1) // DIGEST_OCTETS
    found = b"".join(_digest_of(block) for block in range(first, last + 1))
    skipped = offset - first * DIGEST_OCTETS
    return found[skipped : skipped + length]


def _digest_of(block: int) -> bytes:
    start, size = block * digests.BLOCK, _this.store.size
    return digests.digest(_this.store.read(start, min(digests.BLOCK, size - start)))


def pwrite(handle: int, buffer: bytes, offset: int, flags: int) -> None:
    _this.store.write(offset, buffer)


def zero(handle: int, count: int, offset: int, flags: int) -> None:
    _this.store.zero(offset, count)


def trim(handle: int, count: int, offset: int, flags: int) -> None:
    _this.store.zero(offset, count)


def flush(handle: int, flags: int) -> None:
    """Nobody outside learns of a flush before its epoch is acknowledged: that makes it durable."""
