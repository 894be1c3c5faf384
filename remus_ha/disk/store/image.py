"""The image that a store keeps up to date: a raw file or a block device, and nobody else's.

Opening it never changes what it holds. Its space is set apart when it is taken, and zeroes keep
their space, so that applying a committed epoch cannot fail for want of room.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import stat
import struct
import sys
import time
from pathlib import Path

from remus_ha.disk import errors
from remus_ha.disk.store.users import stays, user_of

_BLKGETSIZE64 = 0x80081272
_BLKZEROOUT = 0x127F
_FALLOC_KEEP_SIZE = 1
_FALLOC_PUNCH_HOLE = 2
_FALLOC_ZERO_RANGE = 0x10
_CHUNK = 1 << 20
_DYING_S = 5.0
_AGAIN_S = 0.2
_ZEROES = bytes(_CHUNK)
DEVICES = Path("/dev")
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def check(path: Path, size: int, *, known: bool) -> None:
    """Whether ``path`` can be made, or is, an image of ``size`` octets. Changes nothing.

    ``known``: what is there may be overwritten (it is this disk's replica, or the operator said
    so). Raises the Target errors of ``remus_ha.disk.errors``.
    """
    fd = unused(path)
    if fd is None:
        check_room(path, size)
        return
    try:
        theirs, missing = size_of(fd), _missing(fd)
    finally:
        os.close(fd)
    here = {"path": path, "host": socket.gethostname()}
    if theirs != size:
        raise errors.TargetSize(**here, theirs=theirs, ours=size)
    if not known:
        raise errors.TargetForeign(**here)
    if missing:
        check_room(path, missing)


def _missing(fd: int) -> int:
    """Octets of a file that have no space yet."""
    status = os.fstat(fd)
    return max(0, status.st_size - status.st_blocks * 512) if stat.S_ISREG(status.st_mode) else 0


def unused(path: Path) -> int | None:
    """What is there, opened for this process alone and used by nobody; None: there is nothing.

    Who is just ending is waited for, as a store of a session before. Raises DeviceMissing,
    TargetKind, TargetInUse, TargetReadOnly.
    """
    here = {"path": path, "host": socket.gethostname()}
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as e:
        if _would_be_in_memory(path):
            raise errors.DeviceMissing(**here) from e
        return None
    except OSError as e:
        raise errors.TargetReadOnly(**here, detail=e.strerror) from e
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise errors.TargetKind(**here)
    return _open_alone(path, stat.S_ISBLK(mode), here)


def _would_be_in_memory(path: Path) -> bool:
    """Whether a file that is made there lies beside the devices' names, and not on a disk."""
    resolved = path.resolve()
    there = next(parent for parent in resolved.parents if parent.is_dir())
    return resolved.is_relative_to(DEVICES) and there.stat().st_dev == DEVICES.stat().st_dev


def check_room(path: Path, size: int) -> None:
    """Whether ``size`` more octets find room where ``path`` is, or would be.

    Raises TargetMissing, TargetReadOnly, TargetSpace.
    """
    here = {"path": path, "host": socket.gethostname()}
    if not path.parent.is_dir():
        raise errors.TargetMissing(**here)
    try:
        room = os.statvfs(path.parent)
    except OSError as e:
        raise errors.TargetReadOnly(**here, detail=e.strerror) from e
    if room.f_flag & os.ST_RDONLY:
        raise errors.TargetReadOnly(**here, detail="its file system is mounted read-only")
    free = room.f_bavail * room.f_frsize
    if free < size:
        raise errors.TargetSpace(**here, wanted=size, detail=f"{free} octets are free")


def _open(path: Path, device: bool, here: dict[str, object], *, lock: int = fcntl.LOCK_NB) -> int:
    # On a block device O_EXCL fails while it is mounted, or something is made of it.
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_EXCL if device else 0)
    try:
        fd = os.open(path, flags)
    except OSError as e:
        if e.errno == errno.EBUSY:
            raise errors.TargetInUse(**here, by="the kernel") from e
        raise errors.TargetReadOnly(**here, detail=e.strerror) from e
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | lock)
    except OSError as e:
        os.close(fd)
        raise errors.TargetInUse(**here, by="another protection") from e
    return fd


def _open_unused(path: Path, device: bool, here: dict[str, object]) -> int:
    fd = _open(path, device, here)
    user = user_of(path)
    if user:
        os.close(fd)
        raise errors.TargetInUse(**here, by=user)
    return fd


def _open_alone(path: Path, device: bool, here: dict[str, object]) -> int:
    """Refuses at once where somebody stays. Not all who have it can be seen: they get a while."""
    end = time.monotonic() + _DYING_S
    while True:
        try:
            return _open_unused(path, device, here)
        except errors.TargetInUse:
            if time.monotonic() >= end or stays(path):
                raise
        time.sleep(_AGAIN_S)  # the kernel tells nobody that a file is free


def open_alone(path: Path, *, patient: bool = False) -> int:
    """Open what is there, for this process alone, if nobody uses it; who is dying is waited for.

    ``patient``: whoever has its lock is waited for, as long as that takes, and nobody else matters.
    What a dying process has still to write may take its disk long, and nothing shows in /proc then
    that it has the image.

    Raises TargetInUse, TargetReadOnly.
    """
    here = {"path": path, "host": socket.gethostname()}
    try:
        device = stat.S_ISBLK(path.stat().st_mode)
    except OSError as e:
        raise errors.TargetReadOnly(**here, detail=e.strerror) from e
    if not patient:
        return _open_alone(path, device, here)
    try:
        return _open(path, device, here)
    except errors.TargetInUse as e:
        print(f"{e}; waiting for it", file=sys.stderr, flush=True)
        return _open_at_last(path, device, here)


def _open_at_last(path: Path, device: bool, here: dict[str, object]) -> int:
    while True:
        with contextlib.suppress(errors.TargetInUse):
            return _open(path, device, here, lock=0)
        time.sleep(_AGAIN_S)


def size_of(fd: int) -> int:
    """Octets of a file or a block device."""
    status = os.fstat(fd)
    if not stat.S_ISBLK(status.st_mode):
        return status.st_size
    answer: bytes = fcntl.ioctl(fd, _BLKGETSIZE64, bytes(8))
    size: int = struct.unpack("Q", answer)[0]
    return size


class Image:
    """An open image. Safe to use from several threads on different places."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path, self._fd = path, fd
        self.size = size_of(fd)
        self._device = stat.S_ISBLK(os.fstat(fd).st_mode)
        self._copies = not self._device

    @classmethod
    def take(cls, path: Path, size: int, *, known: bool) -> "Image":
        """Open the image, made first where it is missing, with all of its space.

        Raises what ``check`` raises.
        """
        check(path, size, known=known)
        if not path.exists():
            _make(path, size)
        made = cls.open(path)
        try:
            if _missing(made._fd):
                _fill(path, made._fd, size)
        except BaseException:
            made.close()
            raise
        return made

    @classmethod
    def open(cls, path: Path, *, patient: bool = False) -> "Image":
        """``open_alone``. Raises TargetInUse, TargetReadOnly."""
        return cls(path, open_alone(path, patient=patient))

    def read(self, offset: int, length: int) -> bytearray:
        """Raises OSError."""
        found = bytearray(length)
        self.read_into(offset, found)
        return found

    def read_into(self, offset: int, buffer: bytearray | memoryview) -> None:
        """Fill ``buffer``. Raises OSError."""
        view, done = memoryview(buffer), 0
        while done < len(view):
            count = os.preadv(self._fd, [view[done:]], offset + done)
            if not count:
                raise OSError(errno.EIO, f"{self.path} ends at {offset + done}")
            done += count

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Raises OSError."""
        view = memoryview(data)
        while view:
            count = os.pwrite(self._fd, view, offset)
            offset, view = offset + count, view[count:]

    def zero(self, offset: int, length: int) -> None:
        """Zeroes that keep their space. Raises OSError."""
        if not length or self._zero_at_once(offset, length):
            return
        for start in range(offset, offset + length, _CHUNK):
            self.write(start, memoryview(_ZEROES)[: min(_CHUNK, offset + length - start)])

    def punch(self, offset: int, length: int) -> None:
        """Zeroes that give their space back where that can be done. Raises OSError."""
        mode = _FALLOC_PUNCH_HOLE | _FALLOC_KEEP_SIZE  # of a device too; it reads as zeroes then
        if length and _libc.fallocate(self._fd, mode, offset, length):
            self.zero(offset, length)

    def _zero_at_once(self, offset: int, length: int) -> bool:
        if self._device:
            try:
                fcntl.ioctl(self._fd, _BLKZEROOUT, struct.pack("QQ", offset, length))
            except OSError:
                return False
            return True
        mode = _FALLOC_ZERO_RANGE | _FALLOC_KEEP_SIZE
        return bool(_libc.fallocate(self._fd, mode, offset, length) == 0)

    def copy_from(self, fd: int, source: int, offset: int, length: int) -> None:
        """Octets of another file, within the kernel where it can. Raises OSError."""
        while length and self._copies:
            try:
                count = os.copy_file_range(fd, self._fd, length, source, offset)
            except OSError as e:
                if e.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise
                self._copies = False
                break
            if not count:
                raise OSError(errno.EIO, "the log ends too early")
            source, offset, length = source + count, offset + count, length - count
        while length:
            data = os.pread(fd, min(length, _CHUNK), source)
            if not data:
                raise OSError(errno.EIO, "the log ends too early")
            self.write(offset, data)
            source, offset, length = source + len(data), offset + len(data), length - len(data)

    def hand_over(self) -> None:
        """What was written outlives this process from now on: the kernel has it already."""

    def sync(self) -> None:
        """What was written outlives a power cut. Raises OSError."""
        os.fdatasync(self._fd)

    def forget(self) -> None:
        """Sync, and keep nothing of it in this host's memory. Raises OSError."""
        os.fdatasync(self._fd)
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def uncache(self, offset: int, length: int) -> None:
        """Keep nothing of a place in memory but what has to be written still."""
        os.posix_fadvise(self._fd, offset, length, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _make(path: Path, size: int) -> None:
    """A new image with all of its space; nothing is left where that fails."""
    here = {"path": path, "host": socket.gethostname()}
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise errors.TargetReadOnly(**here, detail=e.strerror) from e
    try:
        _allocate(path, fd, size)
    except errors.DiskError:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    finally:
        os.close(fd)


def _fill(path: Path, fd: int, size: int) -> None:
    """Set the space of its holes apart where the file system can. Raises TargetSpace."""
    if _libc.fallocate(fd, 0, 0, size) and ctypes.get_errno() in (errno.ENOSPC, errno.EDQUOT):
        detail = os.strerror(ctypes.get_errno())
        here = {"path": path, "host": socket.gethostname()}
        raise errors.TargetSpace(**here, wanted=size, detail=detail)


def _allocate(path: Path, fd: int, size: int) -> None:
    """What it holds stays. Raises TargetSpace, TargetReadOnly."""
    here = {"path": path, "host": socket.gethostname()}
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise errors.TargetSpace(**here, wanted=size, detail=e.strerror) from e
        raise errors.TargetReadOnly(**here, detail=e.strerror) from e
