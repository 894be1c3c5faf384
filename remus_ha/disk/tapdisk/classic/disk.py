"""What a daemon's NBD side asks of the role that its host has."""

import abc
import enum
from collections.abc import Callable
from typing import Any

from remus_ha.disk.errors import StoreOrder
from remus_ha.disk.orders import Order

Say = Callable[..., None]  # a word and its facts, to whoever is at the local socket


class Role(enum.Enum):
    """The names of old; every role only ever becomes ``UNPROTECTED``."""

    PRIMARY = "primary"  # reads and writes here, writes are sent to the backup as well
    BACKUP = "backup"  # the primary's epochs come in; a guest may read what is committed
    UNPROTECTED = "unprotected"  # the image here, and nothing else


class Disk(abc.ABC):
    """Calls may be made by any thread. OSError: the image here, never replication."""

    @property
    @abc.abstractmethod
    def role(self) -> Role:
        """As of now."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Octets."""

    @abc.abstractmethod
    def start(self, say: Say) -> None:
        """Begin with what takes threads. Once. Raises RemusError, OSError."""

    @abc.abstractmethod
    def read_into(self, offset: int, buffer: bytearray | memoryview) -> None:
        """Fill ``buffer``."""

    @abc.abstractmethod
    def write(self, offset: int, data: bytes | memoryview) -> None:
        """A guest's write."""

    @abc.abstractmethod
    def zero(self, offset: int, length: int) -> None:
        """A guest's write of zeroes."""

    @abc.abstractmethod
    def flush(self) -> None:
        """What a guest has written outlives a power cut here."""

    @abc.abstractmethod
    def status(self) -> dict[str, Any]:
        """For people."""

    def order(self, order: Order) -> None:
        """A receiver's. Raises DiskError; always, in a role that takes none."""
        detail = f"this host's role is {self.role.value}"
        raise StoreOrder(disk="this daemon", action=order.verb, n=order.n, detail=detail)

    @abc.abstractmethod
    def settle(self) -> None:
        """The process is about to end: finish what can be finished. Raises RemusError, OSError.

        Nothing that a guest asks from now on is answered.
        """
