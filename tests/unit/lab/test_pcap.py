import struct

import pytest

from remus_ha.lab.pcap import Chatter, ChatterKind, Frame, parse

MAC = bytes.fromhex("00163e000032")
RECORD = b"RHA1" + bytes([2, 1, 0, 0]) + struct.pack(">QQ", 7, 99)
VLAN = b"\xff" * 6 + MAC + bytes.fromhex("8100002a88b5") + RECORD


def pcap(frames: list[tuple[int, int, bytes]], order: str = "<", magic: int = 0xA1B2C3D4) -> bytes:
    head = struct.pack(f"{order}IHHIIII", magic, 2, 4, 0, 0, 256, 1)
    rows = (
        struct.pack(f"{order}IIII", s, part, len(data), len(data)) + data
        for s, part, data in frames
    )
    return head + b"".join(rows)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "part"), [(0xA1B2C3D4, 500_000), (0xA1B23C4D, 500_000_000)])
def test_times_in_both_orders_and_units(order: str, magic: int, part: int) -> None:
    frames = list(parse(pcap([(10, part, VLAN)], order, magic)))
    assert [frame.time_s for frame in frames] == [pytest.approx(10.5)]


def test_a_tagged_frame_with_a_record() -> None:
    (frame,) = parse(pcap([(1, 0, VLAN)]))
    assert frame.source == "00:16:3e:00:00:32"
    assert frame.ethertype == 0x8100
    assert frame.vlan == 42
    assert frame.chatter == Chatter(ChatterKind.VLAN, vif=1, seq=7, ticks=99)


def test_frames_without_a_record() -> None:
    plain = Frame(0.0, b"\xff" * 6 + MAC + b"\x08\x06" + b"\0" * 46)
    assert plain.chatter is None
    assert plain.vlan is None
    assert Frame(0.0, VLAN[:-1]).chatter is None
    assert Frame(0.0, VLAN.replace(b"RHA1\x02", b"RHA1\x09")).chatter is None


def test_a_stream_that_breaks_off_keeps_what_is_whole() -> None:
    """A host that loses its power ends its capture anywhere."""
    whole = pcap([(1, 0, VLAN), (2, 0, VLAN)])
    for size in range(len(whole)):
        assert len(list(parse(whole[:size]))) == int(size >= 24 + 16 + len(VLAN))
    assert len(list(parse(whole))) == 2


def test_rubbish_is_refused() -> None:
    with pytest.raises(ValueError, match="no pcap"):
        list(parse(b"tcpdump: no such interface"))
