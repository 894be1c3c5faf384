"""The frames of the control channel. The wire format is documented in doc/source/protocol.rst.

A frame is a header of 28 octets and a body, together at most ``MAX_FRAME`` octets, all integers
little-endian::

    offset  size  field
         0     4  magic, "RmHA"
         4     1  version of the protocol
         5     1  type
         6     2  zero
         8     4  length of the body
        12    16  session

Every frame carries the session, so that nothing of an earlier session is ever taken for one of
this. The body is the frame's attributes in the order of declaration (``remus_ha.stream.fields``).
"""

import dataclasses
import enum
import struct
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from remus_ha.stream.errors import FrameTooLarge, ProtocolError, UnknownFrame, VersionMismatch
from remus_ha.stream.fields import (
    SESSION_OCTETS,
    U64,
    Choice,
    Codec,
    Cursor,
    DataKey,
    Digests,
    Features,
    LongText,
    Marks,
    Name,
    Session,
    Uuid,
    Word,
)

MAGIC = b"RmHA"
VERSION = 1
HEADER = struct.Struct("<4sBBHI16s")
MAX_FRAME = 65536
NO_SESSION = bytes(SESSION_OCTETS)
DISK_VERIFY = "disk-verify"  # in a Welcome: the backup answers HashDisk
FAIL_OVER = "fail-over"  # in a Welcome: the backup knows Promote


class Role(enum.Enum):
    """Which side speaks."""

    PRIMARY = 1
    BACKUP = 2


class Phase(enum.Enum):
    """What the sender of a heartbeat is doing."""

    SYNCING = 1  # primary: the first full copy
    RUNNING = 2  # primary: the guest runs, between two epochs
    SUSPENDING = 3  # primary: asked the guest to suspend
    COPYING = 4  # primary: suspended, dirty pages go into the pipe
    SENDING = 5  # primary: the guest runs, the epoch is on its way
    WAITING = 6  # primary: the epoch is sent, ACK is awaited
    PAUSED = 7  # primary: the operator paused the guest; no epochs are due
    RECEIVING = 16  # backup: between two commits
    COMMITTING = 17  # backup: inside commit(n)
    PROMOTING = 18  # backup: asking the witness, or restoring


class StopReason(enum.Enum):
    """Why the session ends on purpose. The register has been swapped before this is sent."""

    UNPROTECT = 1
    SHUTDOWN = 2
    REBOOT = 3
    CRASH = 4
    DESTROYED = 5
    MIGRATED = 6
    TEST_OVER = 7
    ABORTED = 8  # never became a pair, or cannot go on


PhaseField = Annotated[Phase, Choice(Phase)]
RoleField = Annotated[Role, Choice(Role)]
StopField = Annotated[StopReason, Choice(StopReason)]


@dataclass(frozen=True, slots=True)
class Frame:
    """Base of all frames: ``session`` is 16 octets, travels in the header."""

    TYPE: ClassVar[int]

    session: Session


@dataclass(frozen=True, slots=True)
class Hello(Frame):
    """Primary, first frame: who it is and which guest it is about.

    ``version`` is the product's, for people; ``features`` are words that either side may look
    up (``xen=4.17``); ``nonce`` with ``host`` is the sender's identity in the register.
    """

    TYPE = 1

    role: RoleField
    version: Word
    features: Features
    name: Name
    uuid: Uuid
    host: Name
    nonce: Word


@dataclass(frozen=True, slots=True)
class Welcome(Frame):
    """Backup, the answer to Hello. ``data_key`` opens the data connection, once."""

    TYPE = 2

    role: RoleField
    version: Word
    features: Features
    host: Name
    nonce: Word
    data_key: DataKey


@dataclass(frozen=True, slots=True)
class Epoch(Frame):
    """Primary: epoch ``n`` ends at ``offset`` octets of the data stream.

    ``marks`` say per disk identifier where the disk's epoch ends.
    """

    TYPE = 3

    n: U64
    offset: U64
    marks: Marks = ()


@dataclass(frozen=True, slots=True)
class Ack(Frame):
    """Backup: it holds all of epoch ``n``, and it is committed."""

    TYPE = 4

    n: U64


@dataclass(frozen=True, slots=True)
class Heartbeat(Frame):
    """Either side, out of its own loop: the epoch it is at, and what it is doing.

    ``sent_ns`` is the sender's monotonic clock; only the sender reads it, in the reply.
    """

    TYPE = 5

    n: U64
    phase: PhaseField
    sent_ns: U64


@dataclass(frozen=True, slots=True)
class HeartbeatReply(Frame):
    """The answer: ``sent_ns`` copied from the heartbeat, ``n`` and ``phase`` the answerer's."""

    TYPE = 6

    n: U64
    phase: PhaseField
    sent_ns: U64


@dataclass(frozen=True, slots=True)
class Stop(Frame):
    """Primary: the session is over on purpose; drop the copy as far as the register allows."""

    TYPE = 8

    reason: StopField


@dataclass(frozen=True, slots=True)
class Error(Frame):
    """Either side, before it gives up: an error's stable code and its text, for people."""

    TYPE = 10

    error_code: Word
    text: LongText


@dataclass(frozen=True, slots=True)
class Promote(Frame):
    """Primary, epoch ``n`` being the last: the guest is to go on at the backup.

    Only a backup with the feature ``fail-over`` knows this frame.
    """

    TYPE = 11

    n: U64


@dataclass(frozen=True, slots=True)
class CloseDisks(Frame):
    """Primary, the guest suspended: epoch ``n`` ends on every disk."""

    TYPE = 12

    n: U64


@dataclass(frozen=True, slots=True)
class DisksClosed(Frame):
    """Backup: what is written to a disk from now on belongs to epoch ``n`` + 1."""

    TYPE = 13

    n: U64


@dataclass(frozen=True, slots=True)
class HashDisk(Frame):
    """Primary, right behind the CloseDisks of ``n``: what does this place of a disk hold?

    ``length`` octets from ``offset`` on, as of the end of epoch ``n``, a digest for every ``grain``
    of them. Only a backup with the feature ``disk-verify`` knows this frame.
    """

    TYPE = 20

    n: U64
    vdev: Word
    offset: U64
    length: U64
    grain: U64


@dataclass(frozen=True, slots=True)
class DiskHashed(Frame):
    """Backup, the answer to HashDisk. No ``digests``: ``problem`` says why, for people."""

    TYPE = 21

    n: U64
    vdev: Word
    digests: Digests
    problem: LongText


#: Types that are refused: they once had a meaning and get no other.
RESERVED = (7, 9)

FRAMES: tuple[type[Frame], ...] = (
    Hello,
    Welcome,
    Epoch,
    Ack,
    Heartbeat,
    HeartbeatReply,
    Stop,
    Error,
    Promote,
    CloseDisks,
    DisksClosed,
    HashDisk,
    DiskHashed,
)


def layout(frame: type[Frame]) -> tuple[tuple[str, Codec], ...]:
    """The body's fields in wire order, each with its codec."""
    hints = typing.get_type_hints(frame, include_extras=True)
    names = [f.name for f in dataclasses.fields(frame) if f.name != "session"]
    return tuple((name, hints[name].__metadata__[0]) for name in names)


_LAYOUTS = {frame: layout(frame) for frame in FRAMES}
_TYPES: dict[int, type[Frame]] = {frame.TYPE: frame for frame in FRAMES}


def encode(frame: Frame) -> bytes:
    """The frame as octets. Raises ValueError when a value does not fit the format."""
    body = b"".join(codec.pack(getattr(frame, name)) for name, codec in _LAYOUTS[type(frame)])
    if len(frame.session) != SESSION_OCTETS:
        raise ValueError(f"a session of {len(frame.session)} octets")
    if HEADER.size + len(body) > MAX_FRAME:
        raise ValueError(f"a frame of {HEADER.size + len(body)} octets")
    return HEADER.pack(MAGIC, VERSION, frame.TYPE, 0, len(body), frame.session) + body


def decode(raw: bytes) -> Frame:
    """The one frame that ``raw`` is, exactly. Raises ProtocolError or a subclass."""
    if len(raw) != frame_size(raw):
        raise ProtocolError(detail="a frame's length is not what its header says")
    cls = _TYPES[raw[5]]
    cursor = Cursor(raw[HEADER.size :])
    values: dict[str, Any] = {name: codec.unpack(cursor) for name, codec in _LAYOUTS[cls]}
    cursor.finish()
    make: Callable[..., Frame] = cls
    return make(session=raw[12 : HEADER.size], **values)


def frame_size(header: bytes | bytearray) -> int:
    """Header and body in octets, after checking everything else that a header says.

    ``header`` is at least ``HEADER.size`` octets. Raises ProtocolError, FrameTooLarge,
    VersionMismatch, UnknownFrame.
    """
    if len(header) < HEADER.size:
        raise ProtocolError(detail="a frame is shorter than a header")
    magic, version, kind, zero, length, _ = HEADER.unpack_from(header)
    if magic != MAGIC:
        raise ProtocolError(detail=f"no frame starts with {magic!r}")
    if version != VERSION:
        raise VersionMismatch(theirs=version, ours=VERSION)
    if kind not in _TYPES:
        raise UnknownFrame(type=kind)
    if zero:
        raise ProtocolError(detail="a header's reserved octets are not zero")
    size: int = HEADER.size + length
    if size > MAX_FRAME:
        raise FrameTooLarge(size=size, limit=MAX_FRAME)
    return size


class FrameReader:
    """Cuts a stream of octets into frames; holds at most one unfinished frame.

    A header is judged as soon as it is complete, so no announced length makes the reader wait
    for, or set aside, more than ``MAX_FRAME`` octets.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._error: ProtocolError | None = None

    @property
    def held(self) -> int:
        """Octets of the unfinished frame."""
        return len(self._held)

    @property
    def error(self) -> ProtocolError | None:
        """Why no more frames come out, once that is so."""
        return self._error

    def feed(self, octets: bytes) -> list[Frame]:
        """The frames that ``octets`` complete.

        A breach of the protocol raises ProtocolError; frames that came whole before it are
        returned first, and the next call raises.
        """
        if self._error:
            raise self._error
        frames: list[Frame] = []
        view = memoryview(octets)
        try:
            while view:
                view = view[self._hold(view) :]
                if self._complete():
                    frames.append(decode(bytes(self._held)))
                    self._held.clear()
        except ProtocolError as e:
            self._held.clear()
            self._error = e
            if not frames:
                raise
        return frames

    def _hold(self, view: memoryview) -> int:
        """Take what the header, or else the frame, still lacks; the number of octets taken."""
        whole = HEADER.size if len(self._held) < HEADER.size else frame_size(self._held)
        piece = view[: whole - len(self._held)]
        self._held += piece
        return len(piece)

    def _complete(self) -> bool:
        return len(self._held) >= HEADER.size and len(self._held) == frame_size(self._held)
