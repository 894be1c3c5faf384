"""One epoch's writes in a file of their own: appended, never changed, read back to be applied.

The data of the writes lies side by side in the order in which they came. ``seal`` puts behind it an
entry of 24 octets per write, then 32 octets that end the file::

    offset  size  field
         0     8  place on the disk
         8     8  length on the disk
        16     8  place in this file, -1: zeroes, which have no data

         0     8  magic, "RmHA-log"
         8     8  number of entries
        16     8  octets of data before them
        24     4  CRC-32 of the entries and the 24 octets before
        28     4  zero

Data lies in the page cache or on the journal's disk, as the kernel sees fit: memory is bounded
without any code here, and what was written outlives the process. What each write takes of the
process's own memory counts as ``PLACE_OCTETS`` of the journal.
"""

import ctypes
import errno
import os
import struct
import zlib
from pathlib import Path

from remus_ha.disk.errors import StoreState
from remus_ha.disk.store.pieces import ZEROES, Entry

PLACE_OCTETS = 256  # an entry and its three numbers take less
_MAGIC = b"RmHA-log"
_ENTRY = struct.Struct("<QQq")
_END = struct.Struct("<8sQQ")
_CRC = struct.Struct("<II")
_END_OCTETS = _END.size + _CRC.size
_WAIT_BEFORE = 1  # SYNC_FILE_RANGE_WAIT_BEFORE
_libc = ctypes.CDLL(None, use_errno=True)
_libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


class EpochLog:
    """The file of one epoch. ``place`` under the store's lock, ``put`` outside of it."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path, self._fd = path, fd
        self.entries: list[Entry] = []
        self._data = 0  # octets
        self.inflight = 0
        self.holed = False  # a write that was given a place is not there

    @classmethod
    def create(cls, path: Path) -> "EpochLog":
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        return cls(path, os.open(path, flags, 0o600))

    @classmethod
    def load(cls, path: Path) -> "EpochLog":
        """What a dead process has sealed. Raises StoreState for anything else."""
        log = cls(path, os.open(path, os.O_RDWR | os.O_CLOEXEC))
        whole = os.fstat(log._fd).st_size
        end = os.pread(log._fd, _END_OCTETS, max(0, whole - _END_OCTETS))
        if len(end) != _END_OCTETS:
            raise StoreState(path=path, detail="it breaks off")
        magic, count, log._data = _END.unpack_from(end)
        index = count * _ENTRY.size
        if magic != _MAGIC or log._data + index + _END_OCTETS != whole:
            raise StoreState(path=path, detail="it does not end as an epoch does")
        raw = os.pread(log._fd, index, log._data)
        if zlib.crc32(end[: _END.size], zlib.crc32(raw)) != _CRC.unpack_from(end, _END.size)[0]:
            raise StoreState(path=path, detail="the places of its writes are not as they were")
        log.entries = [Entry(*fields) for fields in _ENTRY.iter_unpack(raw)]
        return log

    @property
    def size(self) -> int:
        """Octets that it takes of the journal."""
        return self._data + len(self.entries) * PLACE_OCTETS

    def place(self, offset: int, length: int, *, zeroes: bool) -> int:
        """Set room apart for a write, in the order of the writes; where ``put`` shall put it."""
        place = self._data
        if zeroes:
            self.entries.append(Entry(offset, length, ZEROES))
        else:
            self.entries.append(Entry(offset, length, place))
            self._data = place + length
        return place

    def put(self, place: int, data: bytes | memoryview) -> None:
        """Raises OSError."""
        _put_all(self._fd, data, place)

    def read(self, length: int, place: int) -> bytes:
        return os.pread(self._fd, length, place)

    def fileno(self) -> int:
        return self._fd

    def seal(self) -> None:
        """No write comes any more: what the file holds, ``load`` finds. Raises OSError."""
        index = b"".join(_ENTRY.pack(*entry) for entry in self.entries)
        end = _END.pack(_MAGIC, len(self.entries), self._data)
        crc = zlib.crc32(end, zlib.crc32(index))
        _put_all(self._fd, index + end + _CRC.pack(crc, 0), self._data)

    def check(self) -> None:
        """Whether what was read back is what was put. Raises OSError.

        The kernel may have lost it on the way to the journal's disk, and says so when it is asked;
        nothing is written for that.
        """
        if _libc.sync_file_range(self._fd, 0, 0, _WAIT_BEFORE):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

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


def _put_all(fd: int, data: bytes | memoryview, place: int) -> None:
    done = os.pwrite(fd, data, place)
    if done == len(data):
        return
    # A signal, or the end of the space: then the next call says so.
    rest = memoryview(data)[done:]
    while rest:
        count = os.pwrite(fd, rest, place + done)
        done, rest = done + count, rest[count:]
