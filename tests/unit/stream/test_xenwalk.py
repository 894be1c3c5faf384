"""Guards the strict walk through Xen's stream: what passes, and that each breach is found."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remus_ha.stream import xenstream as xs
from remus_ha.stream.errors import XenStreamInvalid
from remus_ha.stream.xenwalk import Framing, Kind, Piece, as_plain, libxc_only, libxl_only, walk

from . import streams as s


def read(raw: bytes, framing: Framing = Framing.RESTORE) -> list[Piece]:
    return list(walk(io.BytesIO(raw), framing))


def refused(raw: bytes, framing: Framing = Framing.RESTORE) -> str:
    with pytest.raises(XenStreamInvalid) as caught:
        read(raw, framing)
    return str(caught.value)


GUESTS = pytest.mark.parametrize("guest", [s.PV, s.HVM], ids=["pv", "pvh"])


class TestGoodStreams:
    """Guards that every stream that Xen writes passes."""

    @GUESTS
    @pytest.mark.parametrize("version", [2, 3])
    def test_remus(self, guest: int, version: int) -> None:
        raw = s.remus(3, guest, version)
        found = read(raw)
        assert b"".join(piece.raw for piece in found) == raw
        assert [piece.epoch for piece in found if piece.completes_epoch] == [0, 1, 2]
        assert found[0].body == s.CONFIG
        assert all(raw[p.offset : p.offset + len(p.raw)] == p.raw for p in found)

    def test_plain(self) -> None:
        assert read(s.plain())[-1].raw == xs.END

    @GUESTS
    def test_libxc_layer_alone_on_the_wire(self, guest: int) -> None:
        raw = s.wire(3, guest)
        found = read(raw, Framing.WIRE)
        assert b"".join(piece.raw for piece in found) == raw
        assert [p.epoch for p in found if p.raw == s.CHECKPOINT] == [0, 1, 2]
        assert b"".join(libxc_only(found)) == b"".join(libxc_only(read(s.remus(3, guest))))

    def test_emulator_records_before_the_end_of_a_checkpoint(self) -> None:
        found = read(s.remus(2, end=s.EMULATOR + xs.CHECKPOINT_END))
        assert [p.type for p in found if p.kind is Kind.LIBXL] == [1, 2, 3, 4, 2, 3, 4]

    def test_optional_record_in_epoch_0(self) -> None:
        raw = s.head() + xs.record(0x80000099, b"x") + s.tail() + s.CHECKPOINT
        assert 0x80000099 in [piece.type for piece in read(raw + xs.CHECKPOINT_END)]

    def test_cut_between_records_is_an_unfinished_epoch(self) -> None:
        found = read(s.remus(1) + s.pages(5))
        assert [p.epoch for p in found if p.completes_epoch] == [0]
        assert found[-1].epoch == 1


HEAD = s.head()
CONFIG_END = len(xs.xl_header(s.CONFIG))
BREACHES: dict[str, tuple[bytes, str]] = {
    "no xl header": (b"Linux saved domain".ljust(80), "no xl save header"),
    "byte order": (HEAD[:32] + b"\1\2\3\4" + HEAD[36:], "no xl save header"),
    "unknown flag": (HEAD[:36] + b"\7" + HEAD[37:], "mandatory flags 0x7"),
    "huge configuration": (HEAD[:44] + b"\xff" * 4 + HEAD[48:], "a configuration of"),
    "configuration's length": (HEAD[:48] + b"\1" + HEAD[49:], "only NUL"),
    "libxl version": (HEAD[: CONFIG_END + 11] + b"\3" + HEAD[CONFIG_END + 12 :], "libxl header"),
    "no libxc context": (xs.xl_header(b"{}") + xs.libxl_header() + xs.END, "type 0x0"),
    "libxc version": (xs.preamble(b"{}") + s.libxc_headers(version=4), "libxc version 4"),
    "guest type": (xs.preamble(b"{}") + s.libxc_headers(guest=3), "guest type 3"),
    "unknown record": (HEAD + xs.record(0x77), "type 0x77"),
    "deprecated record": (HEAD + xs.record(0x0B), "type 0xb"),
    "COLO's record": (HEAD + xs.record(0x0F), "type 0xf"),
    "too long": (HEAD + struct.pack("<II", 1, xs.MAX_RECORD + 1), "a record of 134217729"),
    "padding": (HEAD + xs.record(9, b"abc")[:-1] + b"x", "padding"),
    "cut": (HEAD + s.pages(1)[:-1], "ends inside a record"),
    "cut in a header": (HEAD + b"\1", "ends inside a record"),
    "cut before CHECKPOINT_END": (HEAD + s.tail() + s.CHECKPOINT, "inside libxl's records"),
    "no STATIC_DATA_END": (
        xs.preamble(b"{}") + s.libxc_headers() + s.pages(1), "before STATIC_DATA_END"),
    "version 3 record in 2": (
        xs.preamble(b"{}") + s.libxc_headers(version=2) + xs.record(0x10), "of version 2"),
    "PV record of a PVH guest": (HEAD + xs.record(0x07, bytes(4096)), "SHARED_INFO in a stream"),
    "pages after the tail": (HEAD + s.tail() + s.pages(1), "PAGE_DATA after"),
    "static after its end": (HEAD + xs.record(0x11, bytes(24)), "after STATIC_DATA_END"),
    "static in epoch 1": (s.remus(1) + xs.record(0x10), "STATIC_DATA_END after"),
    "optional in epoch 1": (s.remus(1) + xs.record(0x80000099), "type 0x80000099"),
    "no tail": (HEAD + s.CHECKPOINT, "without HVM_CONTEXT, HVM_PARAMS, X86_TSC_INFO"),
    "no tail in epoch 1": (s.remus(1) + s.CHECKPOINT, "without HVM_CONTEXT"),
    "no pages counted": (HEAD + xs.record(1, bytes(8)), "bad count"),
    "count beyond the body": (HEAD + xs.record(1, struct.pack("<II", 99, 0)), "bad count"),
    "page type": (HEAD + s.pages(1, kind=5), "a page of type 0x5"),
    "reserved bits": (HEAD + s.pages(1 << 52), "a page of type 0x0"),
    "page missing": (
        HEAD + xs.record(1, struct.pack("<IIQ", 1, 0, 3)), "16 octets of page data for 1"),
    "tsc": (HEAD + xs.record(8, bytes(20)), "bad TSC"),
    "empty context": (HEAD + xs.record(9), "an empty body"),
    "parameters": (HEAD + xs.record(0x0A, struct.pack("<II", 1, 0)), "count of parameters"),
    "checkpoint with a body": (HEAD + s.tail() + xs.record(0x0E, b"12345678"), "8 octets for 0"),
    "libxc record after CHECKPOINT": (
        HEAD + s.tail() + s.CHECKPOINT + s.pages(1), "LIBXC_CONTEXT: 4112 octets"),
    "COLO's state": (HEAD + s.tail() + s.CHECKPOINT + xs.record(5, bytes(4)), "type 0x5"),
    "absolute key": (
        HEAD + s.tail() + s.CHECKPOINT + xs.record(2, struct.pack("<II", 2, 0) + b"/a\0b\0"),
        "absolute xenstore key"),
    "key without value": (
        HEAD + s.tail() + s.CHECKPOINT + xs.record(2, struct.pack("<II", 2, 0) + b"a\0"), "pairs"),
    "emulator index": (
        HEAD + s.tail() + s.CHECKPOINT + xs.record(3, struct.pack("<II", 2, 1) + b"x"), "index 1"),
    "octets after the end": (s.plain() + b"x", "after the end"),
    "libxl END in a checkpoint": (HEAD + s.tail() + s.CHECKPOINT + xs.END, "out of place"),
    "emulator of a PV guest": (
        s.head(s.PV) + s.tail(s.PV) + s.CHECKPOINT + s.EMULATOR, "of a PV guest"),
}  # fmt: skip


class TestBreaches:
    """Guards that nothing malformed passes."""

    @pytest.mark.parametrize("name", BREACHES)
    def test_refused(self, name: str) -> None:
        raw, says = BREACHES[name]
        with pytest.raises(XenStreamInvalid, match=says):
            read(raw)

    def test_error_names_the_octet(self) -> None:
        assert f"at octet {len(HEAD)}:" in refused(HEAD + xs.record(0x77))

    def test_our_record_does_not_belong_on_the_wire(self) -> None:
        assert "PV_VCPU_BASIC" in refused(s.wire(1) + xs.CHECKPOINT_END, Framing.WIRE)
        assert "no libxc image header" in refused(s.remus(1), Framing.WIRE)

    def test_octets_after_the_end_on_the_wire(self) -> None:
        raw = s.libxc_headers() + s.static() + s.tail() + xs.END
        assert read(raw, Framing.WIRE)[-1].raw == xs.END
        assert "after the end" in refused(raw + b"x", Framing.WIRE)

    @given(st.data())
    def test_mutated_streams_end_in_pieces_or_the_typed_error(self, data: st.DataObject) -> None:
        raw = bytearray(s.remus(2))
        for _ in range(data.draw(st.integers(1, 5))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        try:
            found = read(bytes(raw))
        except XenStreamInvalid:
            return
        assert b"".join(piece.raw for piece in found) == raw


class TestSplit:
    """Guards the pieces that other checkers, and a real restore, are fed."""

    @GUESTS
    def test_libxc_only(self, guest: int) -> None:
        got = b"".join(libxc_only(read(s.remus(2, guest))))
        start = s.libxc_headers(guest) + s.static(guest) + s.pages(0, 1) + s.pages(9, kind=0xE)
        end = s.tail(guest) + s.CHECKPOINT
        assert got == start + end + end + xs.END

    def test_libxl_only(self) -> None:
        found = read(s.remus(2, end=s.EMULATOR + xs.CHECKPOINT_END))
        want = xs.libxl_header() + s.EMULATOR + xs.CHECKPOINT_END + xs.END
        assert b"".join(libxl_only(found, 1)) == want

    def test_as_plain_has_all_pages_and_the_last_tail(self) -> None:
        found = read(s.remus(4, end=s.EMULATOR + xs.CHECKPOINT_END))
        dirty = [s.pages(n, n + 1) + s.pages(9, kind=0xE) for n in (0, 2)]
        want = s.head() + b"".join(dirty) + s.tail() + xs.END + s.EMULATOR + xs.END
        got = b"".join(as_plain(found, 2))
        assert got == want
        assert read(got)[-1].raw == xs.END

    def test_as_plain_of_a_plain_stream_is_itself(self) -> None:
        assert b"".join(as_plain(read(s.plain()), 0)) == s.plain()
