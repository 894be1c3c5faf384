"""Reads a pcap stream and finds the standard guest's records in its frames. Pure.

Format: the classic pcap file of libpcap (pcap-savefile(5)), micro- or nanoseconds, either byte
order. The guest's chatter record is described in ``guest/ledger.c``.
"""

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_HEADER_BYTES = 24
_RECORD_BYTES = 16
_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}
_VLAN = 0x8100
_CHATTER = struct.Struct(">4sBBxxQQ")


class ChatterKind(enum.IntEnum):
    """What the chatter record was wrapped in."""

    ARP = 1
    VLAN = 2
    MULTICAST = 3


@dataclass(frozen=True, slots=True)
class Chatter:
    """A numbered record out of the guest's memory."""

    kind: ChatterKind
    vif: int
    seq: int
    ticks: int


@dataclass(frozen=True, slots=True)
class Frame:
    """An Ethernet frame and when the capturing host saw it (its clock, seconds since 1970)."""

    time_s: float
    data: bytes

    @property
    def source(self) -> str:
        """The sender's MAC."""
        return self.data[6:12].hex(":")

    @property
    def ethertype(self) -> int:
        """0x8100 for a frame with a VLAN tag."""
        return int.from_bytes(self.data[12:14])

    @property
    def vlan(self) -> int | None:
        """The VLAN's number, None without a tag."""
        return int.from_bytes(self.data[14:16]) & 0xFFF if self.ethertype == _VLAN else None

    @property
    def chatter(self) -> Chatter | None:
        """The guest's record in it, None without one."""
        at = self.data.find(b"RHA1")
        if at < 0 or len(self.data) < at + _CHATTER.size:
            return None
        _, kind, vif, seq, ticks = _CHATTER.unpack_from(self.data, at)
        if kind not in set(ChatterKind):
            return None
        return Chatter(ChatterKind(kind), vif, seq, ticks)


def parse(stream: bytes) -> Iterator[Frame]:
    """The frames in order; a last one that is cut off is left out. ValueError if no pcap."""
    if len(stream) < _HEADER_BYTES:
        return
    if stream[:4] not in _MAGICS:
        raise ValueError(f"no pcap stream: it begins with {stream[:4].hex()}")
    order, fraction = _MAGICS[stream[:4]]
    record = struct.Struct(f"{order}IIII")
    at = _HEADER_BYTES
    while at + _RECORD_BYTES <= len(stream):
        seconds, part, kept, _ = record.unpack_from(stream, at)
        at += _RECORD_BYTES
        if at + kept > len(stream):
            return
        yield Frame(seconds + part * fraction, stream[at : at + kept])
        at += kept
