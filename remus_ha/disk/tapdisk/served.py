"""The guest's disk as the block server serves it: reads from here, writes here and to the backlog.

A write is complete when the image here has it, so it costs no round trip. The image is opened
without O_DIRECT, also where QEMU had it open with it: a guest's buffers come from the server at any
place in memory, and a copy of each to an aligned one would cost more than the page cache does. The
kernel keeps both ways in agreement on one host; what is flushed is on the disk either way.
"""

import os
from collections.abc import Callable
from pathlib import Path

from remus_ha.disk.store.image import Image
from remus_ha.disk.tapdisk.backlog import Backlog
from remus_ha.disk.tapdisk.errors import ImageUnusable

_MENDED = 32 << 20  # octets: as large as a write can be; zeroes may be more


def open_image(disk: str, path: Path, size: int) -> Image:
    """The image here, which QEMU has open as well. Raises ImageUnusable."""
    try:
        image = Image(path, os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as e:
        raise ImageUnusable(disk=disk, path=path, detail=e.strerror or e) from e
    if image.size != size:
        image.close()
        detail = f"it has {image.size} octets instead of {size}"
        raise ImageUnusable(disk=disk, path=path, detail=detail)
    return image


class ServedDisk:
    """Every call may be made by several threads, and raises OSError for the image here alone."""

    def __init__(self, image: Image, backlog: Backlog) -> None:
        self._image, self._backlog = image, backlog
        self.unknown: Callable[[str], None] = lambda reason: None  # what the image holds somewhere

    @property
    def size(self) -> int:
        return self._image.size

    def read_into(self, offset: int, buffer: bytearray | memoryview) -> None:
        self._image.read_into(offset, buffer)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        span = self._backlog.begin(offset, len(data), data)
        try:
            self._image.write(offset, data)
        except OSError:
            self._mend(offset, len(data))
            raise
        finally:
            self._backlog.end(span)

    def zero(self, offset: int, length: int, *, punch: bool) -> None:
        """``punch``: the space may be given back. The store writes zeroes in both cases."""
        span = self._backlog.begin(offset, length, None)
        try:
            if punch:
                self._image.punch(offset, length)
            else:
                self._image.zero(offset, length)
        except OSError:
            self._mend(offset, length)
            raise
        finally:
            self._backlog.end(span)

    def _mend(self, offset: int, length: int) -> None:
        """A write has failed here, in part perhaps: the store gets what the image holds now."""
        try:
            data = bytes(self._image.read(offset, length)) if length <= _MENDED else None
        except OSError as e:
            self.unknown(f"{self._image.path} can be neither written nor read: {e.strerror or e}")
            return
        if data is None:
            self.unknown(f"{length} octets could not be written to {self._image.path}")
        else:
            self._backlog.follow(offset, data)

    def flush(self) -> None:
        """What is complete outlives a power cut here; the backup is not concerned."""
        self._image.sync()
