"""One epoch's writes in a file of their own: appended, never changed, read back to be applied.

Each entry is a header of 32 octets and its data (none for zeroes)::

    offset  size  field
         0     4  magic, "RmEl"
         4     4  kind: 1 data, 2 zeroes
         8     8  place on the disk
        16     8  length on the disk
        24     4  CRC-32 of the 24 octets before
        28     4  zero

Data lies in the page cache or on the journal's disk, as the kernel sees fit: memory is bounded
without any code here, and what was written outlives the process.
"""

import errno
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from remus_ha.disk.errors import StoreState
from remus_ha.disk.store.pieces import ZEROES, Entry

_MAGIC = int.from_bytes(b"RmEl", "little")
_FIELDS = struct.Struct("<IIQQ")
_TAIL = struct.Struct("<II")
HEADER = _FIELDS.size + _TAIL.size
_DATA, _ZERO = 1, 2


class EpochLog:
    """The file of one epoch. ``place`` under the store's lock, ``put`` outside of it."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path, self._fd = path, fd
        self.entries: list[Entry] = []
        self.size = 0
        self.inflight = 0
        self.holed = False  # a write that was given a place is not there

    @classmethod
    def create(cls, path: Path) -> "EpochLog":
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        return cls(path, os.open(path, flags, 0o600))

    @classmethod
    def load(cls, path: Path) -> "EpochLog":
        """What a dead process left. Raises StoreState for anything but whole entries."""
        log = cls(path, os.open(path, os.O_RDWR | os.O_CLOEXEC))
        end = os.fstat(log._fd).st_size
        while log.size < end:
            log._load_one(end)
        return log

    def _load_one(self, end: int) -> None:
        header = os.pread(self._fd, HEADER, self.size)
        if len(header) != HEADER:
            raise StoreState(path=self._path, detail="an entry breaks off")
        magic, kind, offset, length = _FIELDS.unpack_from(header)
        crc, _ = _TAIL.unpack_from(header, _FIELDS.size)
        if magic != _MAGIC or crc != zlib.crc32(header[: _FIELDS.size]):
            raise StoreState(path=self._path, detail=f"no entry at {self.size}")
        self.size += HEADER
        self.entries.append(Entry(offset, length, ZEROES if kind == _ZERO else self.size))
        if kind == _DATA:
            self.size += length
        if self.size > end:
            raise StoreState(path=self._path, detail="an entry's data breaks off")

    def place(self, offset: int, length: int, *, zeroes: bool) -> int:
        """Set room apart for a write, in the order of the writes; where ``put`` shall put it."""
        place = self.size
        source = ZEROES if zeroes else place + HEADER
        self.entries.append(Entry(offset, length, source))
        self.size += HEADER if zeroes else HEADER + length
        self.inflight += 1
        return place

    def put(self, place: int, offset: int, length: int, data: bytes | memoryview | None) -> None:
        """Write an entry (``data`` None: zeroes). Raises OSError."""
        fields = _FIELDS.pack(_MAGIC, _ZERO if data is None else _DATA, offset, length)
        header = fields + _TAIL.pack(zlib.crc32(fields), 0)
        _put_all(self._fd, [header] if data is None else [header, data], place)

    def read(self, length: int, place: int) -> bytes:
        return os.pread(self._fd, length, place)

    def fileno(self) -> int:
        return self._fd

    def sync(self) -> None:
        """What was put is on the disk, and the file's name as well. Raises OSError."""
        fd = self._fd
        if fd < 0:
            raise OSError(errno.EBADF, "the epoch has been dropped")
        os.fdatasync(fd)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def remove(self) -> None:
        """Idempotent."""
        self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _put_all(fd: int, parts: Sequence[bytes | memoryview], place: int) -> None:
    done = os.pwritev(fd, parts, place)
    whole = sum(len(part) for part in parts)
    if done == whole:
        return
    # A signal, or the end of the space: then the next call says so.
    rest = memoryview(b"".join(parts))[done:]
    while rest:
        count = os.pwrite(fd, rest, place + done)
        done, rest = done + count, rest[count:]
