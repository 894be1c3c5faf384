"""What a store must not forget: how far its epochs are, in one record of a file.

The record is 64 octets in one sector, written over in place: it is there whole or not at all.
"""

import os
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from remus_ha.disk.errors import StoreState

FILE = "state"  # in the journal's directory: without it there is nothing to take up
NOTHING = -1
_MAGIC = b"RmHA-store-1\0\0\0\0"
_FIELDS = struct.Struct("<16sqqqQ")
_RECORD = 64


@dataclass(frozen=True, slots=True)
class Progress:
    """Epochs of the session, each the highest one: held whole here, real, and in the image.

    ``prepared >= committed >= applied``; ``NOTHING`` where there is none.
    """

    prepared: int = NOTHING
    committed: int = NOTHING
    applied: int = NOTHING


def progress_of(path: Path) -> Progress:
    """What the state file at ``path`` says; nobody else's business is disturbed.

    Raises StoreState, OSError.
    """
    with open(path, "rb") as f:
        return _parse(path, f.read(_RECORD))


def _parse(path: Path, raw: bytes) -> Progress:
    if not raw:
        return Progress()
    if len(raw) != _RECORD:
        raise StoreState(path=path, detail="it breaks off")
    magic, prepared, committed, applied, _ = _FIELDS.unpack_from(raw)
    (crc,) = struct.unpack_from("<I", raw, _FIELDS.size)
    if magic != _MAGIC or crc != zlib.crc32(raw[: _FIELDS.size]):
        raise StoreState(path=path, detail="it is not a store's state")
    return Progress(prepared, committed, applied)


class StateFile:
    """The record and its file; ``durable``: a change is on the disk when the call returns."""

    def __init__(self, path: Path, *, durable: bool, anew: bool) -> None:
        """``anew`` forgets what was there. Raises StoreState, OSError."""
        self._path, self._durable = path, durable
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(path, flags | (os.O_TRUNC if anew else 0), 0o600)
        self.now = _parse(path, os.pread(self._fd, _RECORD, 0))
        if anew:
            self.change()
            self._sync_name()

    def change(self, **fields: Any) -> None:
        """Raises OSError."""
        now = replace(self.now, **fields)
        packed = _FIELDS.pack(_MAGIC, now.prepared, now.committed, now.applied, 0)
        raw = (packed + struct.pack("<I", zlib.crc32(packed))).ljust(_RECORD, b"\0")
        os.pwrite(self._fd, raw, 0)
        if self._durable:
            os.fdatasync(self._fd)
        self.now = now

    def _sync_name(self) -> None:
        if self._durable:
            fd = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def close(self) -> None:
        os.close(self._fd)
