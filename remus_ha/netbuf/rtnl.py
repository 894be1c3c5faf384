"""Raw rtnetlink: requests built once, sent together, every acknowledgement read.

Guarantees: a batch is one system call; ``transact`` returns only when the kernel has answered
each of its requests with success. It works them off in the order in which they were put together,
on the caller's thread. Replies to anything else, for instance to an
earlier batch that was broken off, are thrown away by their sequence number. Formats: Linux
``include/uapi/linux/netlink.h`` and ``rtnetlink.h``.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence

from remus_ha.netbuf.errors import NoAcknowledgement

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_ECHO = 0x8
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_DUMP = 0x300

NLMSG_ERROR = 2
NLMSG_DONE = 3
SOL_NETLINK = 270
NETLINK_CAP_ACK = 10

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_SEQUENCE = struct.Struct("=I")
_STATUS = struct.Struct("=i")
_SEQUENCE_AT = 8
_REPLY_OCTETS = 32768
_DUMP_OCTETS = 1 << 17
_DUMP_S = 5.0
_NESTED = 0xC000  # flags beside an attribute's number

Reply = Callable[[int, memoryview], None]
Spans = dict[int, tuple[int, int]]


class RequestRefused(OSError):
    """The kernel answered request ``index`` of a batch with ``errno``."""

    def __init__(self, code: int, index: int) -> None:
        super().__init__(code, os.strerror(code))
        self.code = code
        self.index = index


def attribute(kind: int, payload: bytes) -> bytes:
    """One routing attribute, padded to four octets."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def message(kind: int, flags: int, payload: bytes) -> bytes:
    """One request with sequence number 0; ``Channel.transact`` numbers it."""
    return _HEADER.pack(16 + len(payload), kind, flags, 0, 0) + payload


def attributes(octets: memoryview, start: int = 0, end: int | None = None) -> Spans:
    """Where each attribute's payload lies in ``octets[start:end]``; nested ones stay unread."""
    found = {}
    limit = len(octets) if end is None else end
    while start + 4 <= limit:
        size, kind = _ATTRIBUTE.unpack_from(octets, start)
        if size < 4:
            break
        found[kind & ~_NESTED] = (start + 4, start + size)
        start += size + -size % 4
    return found


def dump(kind: int, payload: bytes) -> Iterator[memoryview]:
    """The payload of each answer to a question for all there is. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as s:
        s.settimeout(_DUMP_S)
        s.send(message(kind, NLM_F_REQUEST | NLM_F_DUMP, payload))
        while True:
            octets = memoryview(s.recv(_DUMP_OCTETS))
            while len(octets) >= _HEADER.size:
                length, answer, _, _, _ = _HEADER.unpack_from(octets)
                if answer in (NLMSG_DONE, NLMSG_ERROR):
                    return
                yield octets[_HEADER.size : length]
                octets = octets[(length + 3) & ~3 :]


class Batch:
    """Requests that are always sent together, kept ready in one buffer."""

    __slots__ = ("acknowledged", "count", "octets", "sequence_at")

    def __init__(self, messages: Sequence[bytes]) -> None:
        self.octets = bytearray().join(messages)
        self.count = len(messages)
        self.acknowledged = tuple(
            bool(_HEADER.unpack_from(request)[2] & NLM_F_ACK) for request in messages
        )
        self.sequence_at = tuple(
            sum(map(len, messages[:n])) + _SEQUENCE_AT for n in range(len(messages))
        )


class Channel:
    """One rtnetlink socket. Used by one thread at a time."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._socket.bind((0, 0))
        self._sequence = 0
        self._reply = bytearray(_REPLY_OCTETS)
        self._view = memoryview(self._reply)

    def close(self) -> None:
        """Close the socket; what the kernel was told stays."""
        self._socket.close()

    def transact(self, batch: Batch, on_reply: Reply | None = None) -> None:
        """Send ``batch``; return when every request of it has been answered.

        An answer is the acknowledgement or refusal; a request sent without NLM_F_ACK, which must
        be a question, is answered by its reply. ``on_reply`` gets the index of the request and
        the payload of each reply. Never waits: the kernel's answers are there when the send
        returns. Raises RequestRefused for the first request refused, after all answers are read
        (the others have been carried out), and NoAcknowledgement when answers are missing.
        """
        if not batch.count:
            return
        first = self._number(batch)
        self._socket.send(batch.octets)
        refused: RequestRefused | None = None
        pending = batch.count
        while pending:
            size = self._receive(pending)
            at = 0
            while at < size:
                length, kind, _, sequence, _ = _HEADER.unpack_from(self._reply, at)
                index = (sequence - first) & 0xFFFFFFFF
                if index >= batch.count:
                    pass  # the answer to something that was given up
                elif kind == NLMSG_ERROR:
                    pending -= 1
                    status = _STATUS.unpack_from(self._reply, at + 16)[0]
                    if status and refused is None:
                        refused = RequestRefused(-status, index)
                else:
                    pending -= not batch.acknowledged[index]
                    if on_reply is not None:
                        on_reply(index, self._view[at + 16 : at + length])
                at += max(length + -length % 4, 16)
        if refused is not None:
            raise refused

    def _number(self, batch: Batch) -> int:
        sequence = first = (self._sequence + 1) & 0xFFFFFFFF
        octets = batch.octets
        for at in batch.sequence_at:
            _SEQUENCE.pack_into(octets, at, sequence)
            sequence = (sequence + 1) & 0xFFFFFFFF
        self._sequence = (sequence - 1) & 0xFFFFFFFF
        return first

    def _receive(self, pending: int) -> int:
        try:
            return self._socket.recv_into(self._reply, 0, socket.MSG_DONTWAIT)
        except OSError as e:
            name = errno.errorcode.get(e.errno or 0, "unknown error")
            raise NoAcknowledgement(detail=f"{pending} missing, {name}") from e
