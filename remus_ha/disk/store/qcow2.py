"""A qcow2 image that a store keeps up to date. It stands alone, whatever the guest's own lies upon.

A new one has its space set apart, and zeroes keep theirs, so that applying a committed epoch cannot
fail for want of room. One that was there before has what it has: only its room is checked.
"""

import contextlib
import errno
import os
import socket
from pathlib import Path

from remus_ha.disk import errors, qemuimg
from remus_ha.disk.store import image
from remus_ha.disk.store.qemunbd import QemuNbd

_CHUNK = 1 << 20


def check(path: Path, size: int, *, known: bool, overwrite: bool) -> bool:
    """Whether the image has to be made; False: it is there and is to be used. Changes nothing.

    ``known`` as of ``image.check``; ``overwrite``: the operator's word, which an image that depends
    on another file needs: it is made anew. Raises the Target errors, QemuImgFailed.
    """
    fd = image.unused(path)
    if fd is None:
        image.check_room(path, qemuimg.room_for(size))
        return True
    os.close(fd)
    here = {"path": path, "host": socket.gethostname()}
    if not path.is_file():
        raise errors.TargetFormat(**here, detail="it is a block device")
    if not qemuimg.is_qcow2(path):
        raise errors.TargetFormat(**here, detail="it is not in that format")
    found = qemuimg.info(path)
    if found.beneath and not overwrite:
        raise errors.TargetLayered(**here, beneath=found.beneath)
    if found.beneath:
        image.check_room(path, qemuimg.room_for(size))
        return True
    if found.size != size:
        raise errors.TargetSize(**here, theirs=found.size, ours=size)
    if not known:
        raise errors.TargetForeign(**here)
    taken = 0 if found.shared else found.taken
    image.check_room(path, max(0, qemuimg.room_for(size) - taken))
    return False


class Qcow2Image:
    """An open image. Safe to use from several threads; the one that opened it has to live on."""

    def __init__(self, path: Path, lock: int, served: QemuNbd) -> None:
        self.path, self.size = path, served.size
        self._lock, self._served = lock, served

    @classmethod
    def take(
        cls, path: Path, size: int, *, known: bool, overwrite: bool, durable: bool
    ) -> "Qcow2Image":
        """Open the image, made first where ``check`` says so. Raises what ``check`` raises, too."""
        if check(path, size, known=known, overwrite=overwrite):
            _make(path, size)
        return cls.open(path, durable=durable)

    @classmethod
    def open(cls, path: Path, *, durable: bool, patient: bool = False) -> "Qcow2Image":
        """``image.open_alone``. Raises TargetInUse, TargetReadOnly, TargetUnserved."""
        lock = image.open_alone(path, patient=patient)
        try:
            return cls(path, lock, QemuNbd(path, lock, durable=durable))
        except BaseException:
            os.close(lock)
            raise

    def read(self, offset: int, length: int) -> bytearray:
        """Raises OSError."""
        found = bytearray(length)
        self._served.read_into(offset, found)
        return found

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Raises OSError."""
        self._served.write(offset, data)

    def zero(self, offset: int, length: int) -> None:
        """Zeroes that keep their space. Raises OSError."""
        self._served.zero(offset, length)

    def copy_from(self, fd: int, source: int, offset: int, length: int) -> None:
        """Octets of another file. Raises OSError."""
        while length:
            data = os.pread(fd, min(length, _CHUNK), source)
            if not data:
                raise OSError(errno.EIO, "the log ends too early")
            self.write(offset, data)
            source, offset, length = source + len(data), offset + len(data), length - len(data)

    def hand_over(self) -> None:
        """What was written outlives qemu-nbd, which keeps the image's tables to itself until then.

        Raises OSError.
        """
        self._served.flush()

    def sync(self) -> None:
        """What was written outlives a power cut. Raises OSError."""
        self._served.flush()
        os.fdatasync(self._lock)

    def uncache(self, offset: int, length: int) -> None:
        """Nothing: where a place of the disk lies in the file is qemu-nbd's business."""

    def close(self) -> None:
        """Nobody has the image open any more. Idempotent."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            self._served.end()
            os.close(lock)


def _make(path: Path, size: int) -> None:
    """A new image with all of its space, in place of what was there once it is whole."""
    here = {"path": path, "host": socket.gethostname()}
    making = path.with_name(f".{path.name}.making")
    try:
        making.unlink(missing_ok=True)
        os.close(os.open(making, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        qemuimg.create(making, size)
        making.replace(path)
    except OSError as e:
        raise errors.TargetReadOnly(**here, detail=e.strerror) from e
    finally:
        with contextlib.suppress(OSError):
            making.unlink()
