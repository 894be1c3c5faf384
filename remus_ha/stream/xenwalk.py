"""Walk through a Xen memory stream record by record, strictly: for tests and diagnosis.

Stricter than Xen's own ``verify-stream-v2``: it understands checkpoints, and checks the order
and the completeness of epochs as well. Holds one record at a time, 128 MiB at most.
"""

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from remus_ha.stream import xenrecords as rec
from remus_ha.stream import xenstream as xs
from remus_ha.stream.errors import XenStreamInvalid


class Framing(enum.Enum):
    """Which layers a stream has."""

    RESTORE = "restore"  # all: what the restoring process is fed
    WIRE = "wire"  # libxc's alone, as the save helper writes it and primary sends it to backup


class Kind(enum.Enum):
    """Which layer's header or record a piece is."""

    XL_HEADER = "xl header"
    LIBXL_HEADER = "libxl header"
    LIBXL = "libxl record"
    LIBXC_HEADER = "libxc headers"
    LIBXC = "libxc record"


@dataclass(frozen=True, slots=True)
class Piece:
    """One header or record: ``raw`` with header and padding, ``body`` without."""

    kind: Kind
    type: int  # the record's type, 0 for headers
    epoch: int
    offset: int  # of ``raw`` in the stream
    raw: bytes
    body: bytes

    @property
    def completes_epoch(self) -> bool:
        """Whether the restore may start from here."""
        return self.kind is Kind.LIBXL and self.type == xs.LIBXL_CHECKPOINT_END


def walk(stream: BinaryIO, framing: Framing = Framing.RESTORE) -> Iterator[Piece]:
    """Every header and record, in order, as they come.

    ``stream.read(n)`` gives fewer than n octets at the end only, as buffered files do.

    Ends where the stream ends between two records. Raises XenStreamInvalid at the first octet
    that breaks the format, and for an end inside a record.
    """
    return _Walker(stream, framing).pieces()


class _Walker:
    def __init__(self, stream: BinaryIO, framing: Framing) -> None:
        self._stream = stream
        self._framing = framing
        self._offset = 0
        self._start = 0
        self._epoch = 0
        self._version = 0
        self._guest = 0
        self._stage = rec.Stage.STATIC
        self._tail: set[int] = set()
        self._static_done = False

    def pieces(self) -> Iterator[Piece]:
        if self._framing is Framing.RESTORE:
            yield self._xl_header()
            yield self._libxl_header()
            yield self._libxl_record(only=xs.LIBXL_LIBXC_CONTEXT)
        yield self._libxc_header()
        while (piece := self._libxc_record()) is not None:
            yield piece
            if piece.type == rec.END:
                if self._framing is Framing.RESTORE:
                    yield from self._libxl_records(until=xs.LIBXL_END)
                return self._nothing_left()
            if piece.type == rec.CHECKPOINT:
                if self._framing is Framing.RESTORE:
                    yield from self._libxl_records(until=xs.LIBXL_CHECKPOINT_END)
                self._next_epoch()

    def _fail(self, detail: str) -> XenStreamInvalid:
        return XenStreamInvalid(offset=self._start, detail=detail)

    def _exact(self, count: int) -> bytes:
        raw = self._stream.read(count)
        self._offset += len(raw)
        if len(raw) < count:
            raise self._fail("it ends inside a record")
        return raw

    def _piece(self, kind: Kind, number: int, raw: bytes, body: bytes) -> Piece:
        return Piece(kind, number, self._epoch, self._start, raw, body)

    def _xl_header(self) -> Piece:
        head = self._exact(xs.SAVE_HEADER.size)
        magic, order, mandatory, _optional, length = xs.SAVE_HEADER.unpack(head)
        if magic != xs.SAVE_MAGIC or order != xs.BYTE_ORDER:
            raise self._fail("no xl save header")
        if mandatory != xs.FLAG_JSON | xs.FLAG_STREAM_V2:
            raise self._fail(f"mandatory flags {mandatory:#x}")
        if not 4 < length <= xs.MAX_CONFIG + 4:
            raise self._fail(f"a configuration of {length} octets")
        data = self._exact(length)
        config = data[4:]
        if int.from_bytes(data[:4], "little") != len(config) or config.find(b"\0") != length - 5:
            raise self._fail("a configuration that does not end with its only NUL")
        return self._piece(Kind.XL_HEADER, 0, head + data, config[:-1])

    def _libxl_header(self) -> Piece:
        self._start = self._offset
        raw = self._exact(xs.LIBXL_HEADER.size)
        if raw != xs.libxl_header():
            raise self._fail("no libxl header of version 2")
        return self._piece(Kind.LIBXL_HEADER, 0, raw, raw)

    def _libxc_header(self) -> Piece:
        self._start = self._offset
        image = self._exact(xs.LIBXC_IMAGE.size)
        marker, ident, version, options, *zeros = xs.LIBXC_IMAGE.unpack(image)
        if (marker, ident) != (xs.LIBXC_MARKER, xs.LIBXC_ID) or options or any(zeros):
            raise self._fail("no libxc image header")
        domain = self._exact(xs.LIBXC_DOMAIN.size)
        guest, page_shift, zero, major, _minor = xs.LIBXC_DOMAIN.unpack(domain)
        if version not in (2, 3) or guest not in rec.TAIL or page_shift != 12 or zero or not major:
            raise self._fail(f"libxc version {version}, guest type {guest}, shift {page_shift}")
        self._version, self._guest = version, guest
        return self._piece(Kind.LIBXC_HEADER, 0, image + domain, domain)

    def _record(self) -> tuple[int, bytes, bytes] | None:
        """Type, whole record, body; None at the end of the stream."""
        self._start = self._offset
        head = self._stream.read(xs.RECORD.size)
        if not head:
            return None
        self._offset += len(head)
        if len(head) < xs.RECORD.size:
            raise self._fail("it ends inside a record")
        kind, length = xs.RECORD.unpack(head)
        if length > xs.MAX_RECORD:
            raise self._fail(f"a record of {length} octets")
        padded = self._exact(length + -length % 8)
        if any(padded[length:]):
            raise self._fail("padding that is not zero")
        return kind, head + padded, padded[:length]

    def _libxl_records(self, until: int) -> Iterator[Piece]:
        emulator = (xs.LIBXL_EMULATOR_XENSTORE_DATA, xs.LIBXL_EMULATOR_CONTEXT)
        while True:
            piece = self._libxl_record()
            if piece.type not in (*emulator, until):
                raise self._fail(f"libxl record {rec.LIBXL[piece.type][0]} out of place")
            if piece.type in emulator and self._guest != rec.HVM:
                raise self._fail("emulator state of a PV guest")
            yield piece
            if piece.type == until:
                return

    def _libxl_record(self, only: int | None = None) -> Piece:
        found = self._record()
        if found is None:
            raise self._fail("it ends inside libxl's records")
        kind, raw, body = found
        if kind not in rec.LIBXL or kind != (kind if only is None else only):
            raise self._fail(f"libxl record of type {kind:#x}")
        name, check = rec.LIBXL[kind]
        if error := check(body):
            raise self._fail(f"{name}: {error}")
        return self._piece(Kind.LIBXL, kind, raw, body)

    def _libxc_record(self) -> Piece | None:
        found = self._record()
        if found is None:
            return None
        kind, raw, body = found
        if kind in rec.LIBXC:
            self._judge(kind, body)
        elif not kind & rec.OPTIONAL or self._epoch:
            # The restore skips an optional record it does not know in epoch 0 only.
            raise self._fail(f"libxc record of type {kind:#x}")
        return self._piece(Kind.LIBXC, kind, raw, body)

    def _judge(self, kind: int, body: bytes) -> None:
        rule = rec.LIBXC[kind]
        if self._guest not in rule.guests or self._version < rule.since_version:
            raise self._fail(f"{rule.name} in a stream of version {self._version}")
        if rule.stage < self._stage:
            raise self._fail(f"{rule.name} after a record of stage {self._stage.name}")
        if rule.stage == rec.Stage.STATIC and self._static_done:
            raise self._fail(f"{rule.name} after STATIC_DATA_END")
        if rule.stage > rec.Stage.STATIC and self._version >= 3 and not self._static_done:
            raise self._fail(f"{rule.name} before STATIC_DATA_END")
        if rule.stage == rec.Stage.MARK and (missing := rec.TAIL[self._guest] - self._tail):
            names = ", ".join(sorted(rec.LIBXC[k].name for k in missing))
            raise self._fail(f"{rule.name} without {names}")
        if error := rule.check(body):
            raise self._fail(f"{rule.name}: {error}")
        self._note(kind, rule.stage)

    def _note(self, kind: int, stage: rec.Stage) -> None:
        self._stage = stage
        self._static_done = self._static_done or kind == rec.STATIC_DATA_END
        if stage == rec.Stage.TAIL:
            self._tail.add(kind)

    def _next_epoch(self) -> None:
        self._epoch += 1
        self._stage = rec.Stage.PAGES
        self._tail.clear()

    def _nothing_left(self) -> None:
        self._start = self._offset
        if self._stream.read(1):
            raise self._fail("octets after the end record")


def libxc_only(pieces: Iterable[Piece]) -> Iterator[bytes]:
    """The libxc layer alone, all epochs, an END record appended: ``verify-stream-v2 -f libxc``."""
    for piece in pieces:
        if piece.kind is Kind.LIBXC_HEADER or (piece.kind is Kind.LIBXC and piece.type != rec.END):
            yield piece.raw
    yield xs.END


def libxl_only(pieces: Iterable[Piece], epoch: int) -> Iterator[bytes]:
    """One epoch's libxl records behind libxl's header: ``verify-stream-v2 -f libxl``."""
    yield xs.libxl_header()
    for piece in pieces:
        if (
            piece.kind is Kind.LIBXL
            and piece.epoch == epoch
            and piece.type > xs.LIBXL_LIBXC_CONTEXT
        ):
            yield piece.raw
    yield xs.END


def as_plain(pieces: Iterable[Piece], epoch: int) -> Iterator[bytes]:
    """The stream up to ``epoch`` as an ordinary save file, which ``xl restore`` takes.

    Pages of all epochs so far, the tail of the last one.
    """
    emulator: list[bytes] = []
    for piece in pieces:
        if piece.epoch > epoch:
            break
        if piece.kind is Kind.LIBXL and piece.type != xs.LIBXL_LIBXC_CONTEXT:
            if piece.epoch == epoch and piece.type not in (xs.LIBXL_END, xs.LIBXL_CHECKPOINT_END):
                emulator.append(piece.raw)
        elif not _is_tail(piece) or (piece.epoch == epoch and not _is_mark(piece)):
            yield piece.raw
    yield xs.END
    yield from emulator
    yield xs.END


def _is_mark(piece: Piece) -> bool:
    return piece.kind is Kind.LIBXC and piece.type in (rec.END, rec.CHECKPOINT)


def _is_tail(piece: Piece) -> bool:
    if piece.kind is not Kind.LIBXC or piece.type not in rec.LIBXC:
        return False
    return rec.LIBXC[piece.type].stage >= rec.Stage.TAIL
