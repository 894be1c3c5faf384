"""Builds synthetic Xen memory streams, record by record, from the format's tables."""

import struct

from remus_ha.stream import xenstream as xs

CONFIG = b'{"c_info": {"type": "pvh", "name": "g"}}'
PV, HVM = 1, 2


def libxc_headers(guest: int = HVM, version: int = 3) -> bytes:
    image = struct.pack(">QIIHHI", 2**64 - 1, 0x58454E46, version, 0, 0, 0)
    return image + struct.pack("<IHHII", guest, 12, 0, 4, 17)


def pages(*pfns: int, kind: int = 0) -> bytes:
    entries = b"".join(struct.pack("<Q", kind << 60 | pfn) for pfn in pfns)
    content = b"" if kind >= 0xD else b"".join(bytes([pfn & 255]) * 4096 for pfn in pfns)
    return xs.record(0x01, struct.pack("<II", len(pfns), 0) + entries + content)


def static(guest: int = HVM, version: int = 3) -> bytes:
    out = xs.record(0x02, bytes([8, 4, 0, 0, 0, 0, 0, 0])) if guest == PV else b""
    if version >= 3:
        out += xs.record(0x11, bytes(24)) + xs.record(0x12, bytes(16)) + xs.record(0x10)
    if guest == PV:
        out += xs.record(0x03, struct.pack("<IIQ", 0, 511, 7))
    return out


def tail(guest: int = HVM) -> bytes:
    tsc = xs.record(0x08, struct.pack("<IIQII", 0, 2_000_000, 1, 0, 0))
    if guest == HVM:
        params = struct.pack("<IIQQ", 1, 0, 1, 5)
        return tsc + xs.record(0x09, b"context") + xs.record(0x0A, params)
    vcpu = struct.pack("<II", 0, 0) + b"registers"
    return tsc + xs.record(0x07, bytes(4096)) + xs.record(0x04, vcpu) + xs.record(0x05, vcpu)


CHECKPOINT = xs.record(0x0E)
EMULATOR = xs.record(
    2, struct.pack("<II", 2, 0) + b"physmap/1/size\x001000\x00physmap/1/name\0vram\0"
) + xs.record(3, struct.pack("<II", 2, 0) + b"qemu state")


def head(guest: int = HVM, version: int = 3) -> bytes:
    return xs.preamble(CONFIG) + libxc_headers(guest, version) + static(guest, version)


def remus(
    epochs: int = 3, guest: int = HVM, version: int = 3, end: bytes = xs.CHECKPOINT_END
) -> bytes:
    """``epochs`` whole epochs, the second one idle; ``end`` follows each CHECKPOINT."""
    out = head(guest, version)
    for n in range(epochs):
        dirty = b"" if n == 1 else pages(n, n + 1) + pages(9, kind=0xE)
        out += dirty + tail(guest) + CHECKPOINT + end
    return out


def wire(epochs: int = 3, guest: int = HVM) -> bytes:
    """The same as the save helper writes it: libxc's layer alone."""
    return remus(epochs, guest, end=b"")[len(xs.preamble(CONFIG)) :]


def plain(guest: int = HVM) -> bytes:
    return head(guest) + pages(1, 2) + tail(guest) + xs.END + xs.END
