"""The octets of the replication link, as tapdisk's remus driver has spoken them since Xen 4.0.

Every message is four ASCII letters; only ``wreq`` carries more::

    wreq  primary to backup   a write: 12 octets of header and the data
    sreq  primary to backup   means nothing, and is accepted
    creq  primary to backup   the epoch ends here: commit it
    done  backup to primary   the answer to creq

The header is a u32, the number of sectors, and a u64, the first sector, without a gap and in the
byte order **of the host**. A sector has 512 octets and a write at most 8 of them: the receiver's
buffer in the driver is that large. There is no version, no length and no epoch number, so after
one bad message nothing that follows can be understood.
"""

import enum
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from remus_ha.disk.tapdisk.errors import (
    UnknownCode,
    WireError,
    WriteOutOfRange,
    WriteTooLarge,
    WriteUnaligned,
)

SECTOR = 512
MAX_SECTORS = 8
HEADER = struct.Struct("=IQ")

_CODE = 4
_WRITE = b"wreq"
_PREFIX = _CODE + HEADER.size
_SECTORS_OF_ANY_DISK = 2**63 // SECTOR


class Signal(enum.Enum):
    """The messages that are a code alone."""

    SUBMIT = b"sreq"
    COMMIT = b"creq"
    DONE = b"done"


@dataclass(frozen=True, slots=True)
class Write:
    """``data`` is whole sectors, at most ``MAX_SECTORS``; ``sector`` is where the first goes."""

    sector: int
    data: bytes

    @property
    def offset_octets(self) -> int:
        return self.sector * SECTOR


Message = Write | Signal

TO_BACKUP: frozenset[bytes] = frozenset({_WRITE, b"sreq", b"creq"})
TO_PRIMARY: frozenset[bytes] = frozenset({b"done"})


def split(offset_octets: int, data: bytes) -> Iterator[Write]:
    """The messages for one write of the guest, of any length, in order. Raises WriteUnaligned."""
    if offset_octets % SECTOR or len(data) % SECTOR:
        raise WriteUnaligned(offset=offset_octets, length=len(data))
    first, most = offset_octets // SECTOR, MAX_SECTORS * SECTOR
    for start in range(0, len(data), most):
        yield Write(first + start // SECTOR, bytes(data[start : start + most]))


def encode(message: Message) -> bytes:
    """Raises WriteTooLarge, WriteUnaligned: what is sent can always be read."""
    if isinstance(message, Signal):
        return message.value
    sectors, rest = divmod(len(message.data), SECTOR)
    if rest:
        raise WriteUnaligned(offset=message.offset_octets, length=len(message.data))
    if sectors > MAX_SECTORS:
        raise WriteTooLarge(sectors=sectors, limit=MAX_SECTORS)
    return _WRITE + HEADER.pack(sectors, message.sector) + message.data


class Decoder:
    """Cuts a stream of octets into messages; holds at most one unfinished message.

    A header is judged as soon as it is complete, so no announced length makes the decoder wait
    for, or set aside, more than a message may have.
    """

    def __init__(self, codes: Collection[bytes], disk_sectors: int = _SECTORS_OF_ANY_DISK) -> None:
        """``codes``: TO_BACKUP or TO_PRIMARY; whatever else comes is a breach of the protocol."""
        self._codes, self._disk_sectors = codes, disk_sectors
        self._held = bytearray()
        self._error: WireError | None = None

    @property
    def held(self) -> int:
        """Octets of the unfinished message."""
        return len(self._held)

    @property
    def error(self) -> WireError | None:
        """Why no more messages come out, once that is so."""
        return self._error

    def feed(self, octets: bytes) -> list[Message]:
        """The messages that ``octets`` complete.

        A breach of the protocol ends it: messages that came whole before it are returned, ``error``
        is set, and further octets are dropped.
        """
        messages: list[Message] = []
        view = memoryview(octets)
        try:
            while view and self._error is None:
                view = view[self._hold(view) :]
                self._judge()
                if len(self._held) == self._whole():
                    messages.append(self._decode())
                    self._held.clear()
        except WireError as e:
            self._error = e
            self._held.clear()
        return messages

    def _hold(self, view: memoryview) -> int:
        """Take what the code, the header or the data still lacks; the number of octets taken."""
        piece = view[: self._whole() - len(self._held)]
        self._held += piece
        return len(piece)

    def _whole(self) -> int:
        """How long the message is, as far as that can be known now."""
        if len(self._held) < _CODE:
            return _CODE
        if self._held[:_CODE] != _WRITE:
            return _CODE
        if len(self._held) < _PREFIX:
            return _PREFIX
        return _PREFIX + self._header()[0] * SECTOR

    def _header(self) -> tuple[int, int]:
        sectors, sector = HEADER.unpack_from(self._held, _CODE)
        return sectors, sector

    def _judge(self) -> None:
        """Refuse a code, and a header, at the moment it is there."""
        if len(self._held) == _CODE and bytes(self._held) not in self._codes:
            raise UnknownCode(octets=bytes(self._held))
        if len(self._held) == _PREFIX:
            self._judge_header(*self._header())

    def _judge_header(self, sectors: int, sector: int) -> None:
        if sectors > MAX_SECTORS:
            raise WriteTooLarge(sectors=sectors, limit=MAX_SECTORS)
        if sector + sectors > self._disk_sectors:
            raise WriteOutOfRange(sectors=sectors, sector=sector, size=self._disk_sectors)

    def _decode(self) -> Message:
        if len(self._held) == _CODE:
            return Signal(bytes(self._held))
        return Write(self._header()[1], bytes(self._held[_PREFIX:]))
