"""What each record of a Xen memory stream may look like, as a table.

Source of the format: docs/specs/libxc-migration-stream.pandoc and libxl-migration-stream.pandoc
of Xen 4.14 to 4.22, with the order that the code writes. ``remus_ha.stream.xenwalk`` applies it.
"""

import enum
import struct
from collections.abc import Callable
from dataclasses import dataclass

PAGE_OCTETS = 4096
OPTIONAL = 1 << 31

PV, HVM = 1, 2

END = 0x00
PAGE_DATA = 0x01
TSC_INFO = 0x08
SHARED_INFO = 0x07
VCPU_BASIC = 0x04
HVM_CONTEXT = 0x09
HVM_PARAMS = 0x0A
CHECKPOINT = 0x0E
STATIC_DATA_END = 0x10

_NO_DATA = frozenset({0xD, 0xE, 0xF})
_INVALID = frozenset({0x5, 0x6, 0x7, 0x8})


class Stage(enum.IntEnum):
    """Where in an epoch a record belongs; an epoch never goes back to an earlier stage."""

    STATIC = 0  # epoch 0 only
    FRAMES = 1  # epoch 0 only: the p2m list
    PAGES = 2
    TAIL = 3
    MARK = 4  # the end of the epoch


Check = Callable[[bytes], str | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """One libxc record: its stage, the guests that have it, and what is wrong with a body."""

    name: str
    stage: Stage
    check: Check
    guests: frozenset[int] = frozenset({PV, HVM})
    since_version: int = 2


def page_data(body: bytes) -> str | None:
    """u32 count, u32 zero, count x u64 (type, zero, pfn), one page for each type with data."""
    if len(body) < 8:
        return "page data without its header"
    count, zero = struct.unpack_from("<II", body)
    if zero or count == 0 or len(body) < 8 + 8 * count:
        return "page data with a bad count"
    with_data = 0
    for (entry,) in struct.iter_unpack("<Q", body[8 : 8 + 8 * count]):
        kind = entry >> 60
        if kind in _INVALID or (entry >> 52) & 0xFF:
            return f"a page of type {kind:#x}, entry {entry:#x}"
        with_data += kind not in _NO_DATA
    if len(body) != 8 + 8 * count + PAGE_OCTETS * with_data:
        return f"{len(body)} octets of page data for {count} pages"
    return None


def pages_in(body: bytes) -> int:
    """Number of pfns of a page data record."""
    count: int = struct.unpack_from("<I", body)[0]
    return count


def _exactly(octets: int) -> Check:
    return lambda body: None if len(body) == octets else f"{len(body)} octets for {octets}"


def _items(octets: int) -> Check:
    return lambda body: None if len(body) % octets == 0 else f"{len(body)} octets of {octets} each"


def _blob(body: bytes) -> str | None:
    return None if body else "an empty body"


def _pv_info(body: bytes) -> str | None:
    if len(body) != 8 or any(body[2:]) or (body[0], body[1]) not in {(4, 3), (8, 4)}:
        return "a bad width or number of page table levels"
    return None


def _p2m(body: bytes) -> str | None:
    if len(body) <= 8 or len(body) % 8:
        return f"a p2m list of {len(body)} octets"
    start, end = struct.unpack_from("<II", body)
    return None if start <= end else "a p2m list that ends before it starts"


def _vcpu(body: bytes) -> str | None:
    if len(body) <= 8 or any(body[4:8]):
        return "a vcpu record without its header or content"
    return None


def _hvm_params(body: bytes) -> str | None:
    if len(body) < 8:
        return "parameters without their header"
    count, zero = struct.unpack_from("<II", body)
    return None if not zero and len(body) == 8 + 16 * count else "a bad count of parameters"


def _tsc(body: bytes) -> str | None:
    return None if len(body) == 24 and not any(body[20:]) else "bad TSC information"


_PV, _HVM = frozenset({PV}), frozenset({HVM})
_empty = _exactly(0)

LIBXC: dict[int, Rule] = {
    END: Rule("END", Stage.MARK, _empty),
    PAGE_DATA: Rule("PAGE_DATA", Stage.PAGES, page_data),
    0x02: Rule("X86_PV_INFO", Stage.STATIC, _pv_info, _PV),
    0x03: Rule("X86_PV_P2M_FRAMES", Stage.FRAMES, _p2m, _PV),
    VCPU_BASIC: Rule("X86_PV_VCPU_BASIC", Stage.TAIL, _vcpu, _PV),
    0x05: Rule("X86_PV_VCPU_EXTENDED", Stage.TAIL, _vcpu, _PV),
    0x06: Rule("X86_PV_VCPU_XSAVE", Stage.TAIL, _vcpu, _PV),
    SHARED_INFO: Rule("SHARED_INFO", Stage.TAIL, _exactly(PAGE_OCTETS), _PV),
    TSC_INFO: Rule("X86_TSC_INFO", Stage.TAIL, _tsc),
    HVM_CONTEXT: Rule("HVM_CONTEXT", Stage.TAIL, _blob, _HVM),
    HVM_PARAMS: Rule("HVM_PARAMS", Stage.TAIL, _hvm_params, _HVM),
    0x0C: Rule("X86_PV_VCPU_MSRS", Stage.TAIL, _vcpu, _PV),
    CHECKPOINT: Rule("CHECKPOINT", Stage.MARK, _empty),
    STATIC_DATA_END: Rule("STATIC_DATA_END", Stage.STATIC, _empty, since_version=3),
    0x11: Rule("X86_CPUID_POLICY", Stage.STATIC, _items(24), since_version=3),
    0x12: Rule("X86_MSR_POLICY", Stage.STATIC, _items(16), since_version=3),
}

#: Without these in its tail an epoch is not complete.
TAIL: dict[int, frozenset[int]] = {
    PV: frozenset({TSC_INFO, SHARED_INFO, VCPU_BASIC}),
    HVM: frozenset({TSC_INFO, HVM_CONTEXT, HVM_PARAMS}),
}


def emulator_xenstore(body: bytes) -> str | None:
    """u32 emulator, u32 index, then key NUL value NUL, ...; keys relative and not empty."""
    if error := _emulator(body):
        return error
    words = body[8:].split(b"\0")
    if words.pop() or not words or len(words) % 2:
        return "xenstore data that is not pairs ended by NUL"
    if any(not key or key.startswith(b"/") for key in words[::2]):
        return "an empty or absolute xenstore key"
    return None


def _emulator(body: bytes) -> str | None:
    if len(body) <= 8:
        return "an emulator record without content"
    emulator, index = struct.unpack_from("<II", body)
    return None if emulator <= 2 and index == 0 else f"emulator {emulator}, index {index}"


#: libxl's records: name and check. CHECKPOINT_STATE belongs to COLO and is refused.
LIBXL: dict[int, tuple[str, Check]] = {
    0: ("END", _empty),
    1: ("LIBXC_CONTEXT", _empty),
    2: ("EMULATOR_XENSTORE_DATA", emulator_xenstore),
    3: ("EMULATOR_CONTEXT", _emulator),
    4: ("CHECKPOINT_END", _empty),
}
