"""The images that a store can keep up to date, by their format."""

from pathlib import Path
from typing import Protocol

from remus_ha.disk.qemuimg import QCOW2
from remus_ha.disk.store import image, qcow2
from remus_ha.disk.store.image import Image
from remus_ha.disk.store.launch import Setup
from remus_ha.disk.store.qcow2 import Qcow2Image


class StoreImage(Protocol):
    """What a store needs of an image; every call on its octets may raise OSError."""

    path: Path
    size: int

    def read(self, offset: int, length: int) -> bytearray: ...
    def write(self, offset: int, data: bytes | memoryview) -> None: ...
    def zero(self, offset: int, length: int) -> None: ...
    def copy_from(self, fd: int, source: int, offset: int, length: int) -> None: ...
    def hand_over(self) -> None: ...
    def sync(self) -> None: ...
    def uncache(self, offset: int, length: int) -> None: ...
    def close(self) -> None: ...


def check(path: Path, size: int, image_format: str, *, known: bool, overwrite: bool) -> None:
    """Whether ``path`` can be made, or is, such an image of ``size`` octets. Changes nothing.

    ``known``: what is there may be overwritten; ``overwrite``: because the operator said so. Raises
    the Target errors of ``remus_ha.disk.errors``, QemuImgFailed.
    """
    if image_format == QCOW2:
        qcow2.check(path, size, known=known, overwrite=overwrite)
    else:
        image.check(path, size, known=known)


def take(setup: Setup) -> StoreImage:
    """Open a store's image, made first where it is missing. Raises what ``check`` raises."""
    path = Path(setup.path)
    if setup.format == QCOW2:
        return Qcow2Image.take(
            path,
            setup.size,
            known=setup.known,
            overwrite=setup.overwrite,
            durable=setup.ack == "durable",
        )
    return Image.take(path, setup.size, known=setup.known)


def open_again(setup: Setup, *, patient: bool) -> StoreImage:
    """Open the image of a store that is gone. Raises TargetInUse, TargetReadOnly, TargetUnserved.

    A process that a dead store has left behind is waited for; ``patient``: for as long as it takes.
    """
    path = Path(setup.path)
    if setup.format == QCOW2:
        return Qcow2Image.open(path, durable=setup.ack == "durable", patient=patient)
    return Image.open(path, patient=patient)
