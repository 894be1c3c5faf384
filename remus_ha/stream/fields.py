"""How one field of a control frame is written: little-endian, every length bounded.

A frame class annotates each attribute with one of the aliases below; ``remus_ha.stream.frames``
reads the codec out of the annotation. ``pack`` raises ValueError for a value of ours that does
not fit, ``unpack`` raises ProtocolError for octets of the peer's.
"""

import enum
import struct
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from remus_ha.stream.errors import ProtocolError

SESSION_OCTETS = 16
KEY_OCTETS = 32
NAME_OCTETS = 255
TEXT_OCTETS = 4096
WORD_OCTETS = 64
MAX_FEATURES = 64
MAX_MARKS = 256
DIGEST_OCTETS = 32
MAX_DIGESTS = 512


class Cursor:
    """A place in a frame's body. Never reads past the end, never allocates more than is there."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next ``count`` octets. Raises ProtocolError when fewer are left."""
        end = self._at + count
        if end > len(self._raw):
            raise ProtocolError(detail="a frame is shorter than its fields")
        piece = self._raw[self._at : end]
        self._at = end
        return piece

    def finish(self) -> None:
        """Raises ProtocolError when octets are left over."""
        if self._at != len(self._raw):
            raise ProtocolError(detail="a frame is longer than its fields")


class Codec(Protocol):
    """Writes and reads one value."""

    def pack(self, value: Any) -> bytes: ...

    def unpack(self, cursor: Cursor) -> Any: ...


@dataclass(frozen=True, slots=True)
class Integer:
    """An unsigned integer of 1, 2, 4 or 8 octets."""

    octets: int

    def pack(self, value: int) -> bytes:
        try:
            return value.to_bytes(self.octets, "little")
        except OverflowError as e:
            raise ValueError(f"{value} does not fit into {self.octets} octets") from e

    def unpack(self, cursor: Cursor) -> int:
        return int.from_bytes(cursor.take(self.octets), "little")


@dataclass(frozen=True, slots=True)
class Fixed:
    """Exactly ``octets`` octets."""

    octets: int

    def pack(self, value: bytes) -> bytes:
        if len(value) != self.octets:
            raise ValueError(f"{len(value)} octets where {self.octets} belong")
        return bytes(value)

    def unpack(self, cursor: Cursor) -> bytes:
        return cursor.take(self.octets)


@dataclass(frozen=True, slots=True)
class Text:
    """A u16 length in octets, then UTF-8 without NUL."""

    limit: int

    def pack(self, value: str) -> bytes:
        raw = value.encode()
        if len(raw) > self.limit or b"\0" in raw:
            raise ValueError(f"text over {self.limit} octets or with a NUL: {value[:40]!r}")
        return struct.pack("<H", len(raw)) + raw

    def unpack(self, cursor: Cursor) -> str:
        (length,) = struct.unpack("<H", cursor.take(2))
        if length > self.limit:
            raise ProtocolError(detail=f"a text of {length} octets, the limit is {self.limit}")
        raw = cursor.take(length)
        try:
            text = raw.decode()
        except UnicodeDecodeError as e:
            raise ProtocolError(detail="a text is not UTF-8") from e
        if "\0" in text:
            raise ProtocolError(detail="a text contains NUL")
        return text


@dataclass(frozen=True, slots=True)
class GuestUuid:
    """A UUID: 16 octets in network order on the wire, canonical text in the program."""

    def pack(self, value: str) -> bytes:
        return uuid.UUID(value).bytes

    def unpack(self, cursor: Cursor) -> str:
        return str(uuid.UUID(bytes=cursor.take(16)))


@dataclass(frozen=True, slots=True)
class Choice:
    """One octet: the value of an enum's member. Unknown values are an error."""

    choices: type[enum.Enum]

    def pack(self, value: enum.Enum) -> bytes:
        return Integer(1).pack(value.value)

    def unpack(self, cursor: Cursor) -> enum.Enum:
        number = cursor.take(1)[0]
        try:
            return self.choices(number)
        except ValueError as e:
            raise ProtocolError(detail=f"{number} is no {self.choices.__name__}") from e


@dataclass(frozen=True, slots=True)
class Tuple:
    """A u16 count, then that many items, each one value of ``parts``, or a tuple of them."""

    limit: int
    parts: tuple[Codec, ...]

    def pack(self, value: tuple[Any, ...]) -> bytes:
        if len(value) > self.limit:
            raise ValueError(f"{len(value)} items, the limit is {self.limit}")
        return struct.pack("<H", len(value)) + b"".join(map(self._pack_item, value))

    def unpack(self, cursor: Cursor) -> tuple[Any, ...]:
        (count,) = struct.unpack("<H", cursor.take(2))
        if count > self.limit:
            raise ProtocolError(detail=f"{count} items, the limit is {self.limit}")
        return tuple(self._unpack_item(cursor) for _ in range(count))

    def _pack_item(self, item: Any) -> bytes:
        values = item if len(self.parts) > 1 else (item,)
        return b"".join(p.pack(v) for p, v in zip(self.parts, values, strict=True))

    def _unpack_item(self, cursor: Cursor) -> Any:
        values = tuple(part.unpack(cursor) for part in self.parts)
        return values if len(values) > 1 else values[0]


U64 = Annotated[int, Integer(8)]
Session = Annotated[bytes, Fixed(SESSION_OCTETS)]
DataKey = Annotated[bytes, Fixed(KEY_OCTETS)]
Uuid = Annotated[str, GuestUuid()]
Name = Annotated[str, Text(NAME_OCTETS)]
Word = Annotated[str, Text(WORD_OCTETS)]
LongText = Annotated[str, Text(TEXT_OCTETS)]
Features = Annotated[tuple[str, ...], Tuple(MAX_FEATURES, (Text(WORD_OCTETS),))]
Marks = Annotated[tuple[tuple[str, int], ...], Tuple(MAX_MARKS, (Text(WORD_OCTETS), Integer(8)))]
Digests = Annotated[tuple[bytes, ...], Tuple(MAX_DIGESTS, (Fixed(DIGEST_OCTETS),))]
