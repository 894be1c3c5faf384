"""Guards the wire format of the control channel, and that no peer can crash or fill us."""

import re
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remus_ha.stream import frames as f
from remus_ha.stream.errors import FrameTooLarge, ProtocolError, UnknownFrame, VersionMismatch

SESSION = bytes(range(16))
UUID = "8f5f0a3e-6a55-4d57-9c0e-0d9c5d1a0001"
PROTOCOL_RST = Path(__file__).parents[3] / "doc" / "source" / "protocol.rst"


def text(octets: int) -> st.SearchStrategy[str]:
    """Text whose UTF-8 form fits, without NUL or surrogates."""
    plain = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
    return st.text(plain, max_size=octets).filter(lambda s: len(s.encode()) <= octets)


sessions = st.binary(min_size=16, max_size=16)
u64 = st.integers(0, 2**64 - 1)
features = st.lists(text(64), max_size=64).map(tuple)
marks = st.lists(st.tuples(text(64), u64), max_size=256).map(tuple)
digests = st.lists(st.binary(min_size=32, max_size=32), max_size=512).map(tuple)
phases = st.sampled_from(f.Phase)
roles = st.sampled_from(f.Role)

any_frame: st.SearchStrategy[f.Frame] = st.one_of(
    st.builds(
        f.Hello,
        session=sessions,
        role=roles,
        version=text(64),
        features=features,
        name=text(255),
        uuid=st.uuids().map(str),
        host=text(255),
        nonce=text(64),
    ),
    st.builds(
        f.Welcome,
        session=sessions,
        role=roles,
        version=text(64),
        features=features,
        host=text(255),
        nonce=text(64),
        data_key=st.binary(min_size=32, max_size=32),
    ),
    st.builds(f.Epoch, session=sessions, n=u64, offset=u64, marks=marks),
    st.builds(f.Ack, session=sessions, n=u64),
    st.builds(f.Heartbeat, session=sessions, n=u64, phase=phases, sent_ns=u64),
    st.builds(f.HeartbeatReply, session=sessions, n=u64, phase=phases, sent_ns=u64),
    st.builds(f.Stop, session=sessions, reason=st.sampled_from(f.StopReason)),
    st.builds(f.Error, session=sessions, error_code=text(64), text=text(4096)),
    st.builds(f.CloseDisks, session=sessions, n=u64),
    st.builds(f.DisksClosed, session=sessions, n=u64),
    st.builds(
        f.HashDisk, session=sessions, n=u64, vdev=text(64), offset=u64, length=u64, grain=u64
    ),
    st.builds(
        f.DiskHashed, session=sessions, n=u64, vdev=text(64), digests=digests, problem=text(4096)
    ),
)

#: One of each, with the octets that every release of version 1 must write.
GOLDEN: dict[str, f.Frame] = {
    "526d484101010000360000000001020304050607" "08090a0b0c0d0e0f"
    "010300312e3001000800" "78656e3d342e3137" "0100" "67"
    "8f5f0a3e6a554d579c0e0d9c5d1a0001" "0500" "686f737461" "0800" "6e6f6e63652d2d61": f.Hello(
        SESSION, f.Role.PRIMARY, "1.0", ("xen=4.17",), "g", UUID, "hosta", "nonce--a"
    ),
    "526d48410102000039000000000102030405060708090a0b0c0d0e0f"
    "020300312e30" "0000" "0500" "686f737462" "0800" "6e6f6e63652d2d62" + "aa" * 32: f.Welcome(
        SESSION, f.Role.BACKUP, "1.0", (), "hostb", "nonce--b", b"\xaa" * 32
    ),
    "526d48410103000020000000000102030405060708090a0b0c0d0e0f"
    "0700000000000000" "0000100000000000" "0100" "0400" "78766461" "2a00000000000000": f.Epoch(
        SESSION, 7, 1 << 20, (("xvda", 42),)
    ),
    "526d48410104000008000000000102030405060708090a0b0c0d0e0f0700000000000000": f.Ack(SESSION, 7),
    "526d48410105000011000000000102030405060708090a0b0c0d0e0f"
    "0700000000000000" "06" "e803000000000000": f.Heartbeat(SESSION, 7, f.Phase.WAITING, 1000),
    "526d48410106000011000000000102030405060708090a0b0c0d0e0f"
    "0700000000000000" "11" "e803000000000000": f.HeartbeatReply(
        SESSION, 7, f.Phase.COMMITTING, 1000
    ),
    "526d48410108000001000000000102030405060708090a0b0c0d0e0f01": f.Stop(
        SESSION, f.StopReason.UNPROTECT
    ),
    "526d4841010a000010000000000102030405060708090a0b0c0d0e0f"
    "0a00" "53545245414d2d303035" "0200" "6f68": f.Error(SESSION, "STREAM-005", "oh"),
    "526d4841010b000008000000000102030405060708090a0b0c0d0e0f0700000000000000": f.Promote(
        SESSION, 7
    ),
    "526d4841010c000008000000000102030405060708090a0b0c0d0e0f0700000000000000": f.CloseDisks(
        SESSION, 7
    ),
    "526d4841010d000008000000000102030405060708090a0b0c0d0e0f0700000000000000": f.DisksClosed(
        SESSION, 7
    ),
    "526d48410114000026000000000102030405060708090a0b0c0d0e0f"
    "0700000000000000" "0400" "78766461" "0000100000000000" "0010000000000000"
    "0002000000000000": f.HashDisk(SESSION, 7, "xvda", 1 << 20, 4096, 512),
    "526d48410115000034000000000102030405060708090a0b0c0d0e0f"
    "0700000000000000" "0400" "78766461" "0100" + "bb" * 32 + "0200" "6e6f": f.DiskHashed(
        SESSION, 7, "xvda", (b"\xbb" * 32,), "no"
    ),
}  # fmt: skip


def header(
    magic: bytes = b"RmHA", version: int = 1, kind: int = 4, zero: int = 0, length: int = 8
) -> bytes:
    return f.HEADER.pack(magic, version, kind, zero, length, SESSION)


class TestFormat:
    """Guards that releases understand each other."""

    @pytest.mark.parametrize(
        ("octets", "frame"), GOLDEN.items(), ids=[type(v).__name__ for v in GOLDEN.values()]
    )
    def test_golden_octets(self, octets: str, frame: f.Frame) -> None:
        assert f.encode(frame).hex() == octets
        assert f.decode(bytes.fromhex(octets)) == frame

    def test_every_frame_has_golden_octets(self) -> None:
        assert {type(frame) for frame in GOLDEN.values()} == set(f.FRAMES)

    def test_types_are_unique(self) -> None:
        types = {frame.TYPE for frame in f.FRAMES}
        assert len(types) == len(f.FRAMES)
        assert not types & {7, 9}
        assert f.RESERVED == (7, 9)

    def test_protocol_page_lists_every_frame_and_field(self) -> None:
        page = PROTOCOL_RST.read_text(encoding="utf-8")
        for frame in f.FRAMES:
            row = re.search(rf"\* - {frame.TYPE}\n +- {frame.__name__}\n +- (.*)\n", page)
            assert row, f"{frame.__name__} is not documented as type {frame.TYPE}"
            fields = re.findall(r"``(\w+)``", row[1])
            assert fields == [name for name, _ in f.layout(frame)], frame.__name__

    @pytest.mark.parametrize("choices", [f.Role, f.Phase, f.StopReason])
    def test_protocol_page_lists_every_choice(
        self, choices: type[f.Role | f.Phase | f.StopReason]
    ) -> None:
        page = PROTOCOL_RST.read_text(encoding="utf-8")
        for choice in choices:
            assert f"{choice.value} {choice.name.lower()}" in page, choice

    @given(any_frame)
    def test_round_trip(self, frame: f.Frame) -> None:
        octets = f.encode(frame)
        assert len(octets) <= f.MAX_FRAME
        assert f.decode(octets) == frame

    def test_largest_frame_fits(self) -> None:
        full = f.Epoch(SESSION, 0, 0, tuple((f"{i:064}", i) for i in range(256)))
        assert len(f.encode(full)) < f.MAX_FRAME
        full_answer = f.DiskHashed(SESSION, 0, "x" * 64, (bytes(32),) * 512, "x" * 4096)
        assert len(f.encode(full_answer)) < f.MAX_FRAME


class TestOwnValues:
    """Guards that a value of ours that does not fit is refused, not cut."""

    @pytest.mark.parametrize(
        "frame",
        [
            f.Ack(b"short", 1),
            f.Ack(SESSION, -1),
            f.Ack(SESSION, 2**64),
            f.Error(SESSION, "STREAM-001", "x" * 4097),
            f.Error(SESSION, "a\0b", ""),
            f.Error(SESSION, "", "\ud800"),
            f.Epoch(SESSION, 1, 1, tuple(("d", 0) for _ in range(257))),
            f.Hello(SESSION, f.Role.PRIMARY, "1", (), "g", "no uuid", "h", "n"),
            f.Welcome(SESSION, f.Role.BACKUP, "1", (), "h", "n", b"short"),
            f.DiskHashed(SESSION, 1, "xvda", (bytes(32),) * 513, ""),
            f.DiskHashed(SESSION, 1, "xvda", (b"short",), ""),
        ],
    )
    def test_refused(self, frame: f.Frame) -> None:
        with pytest.raises(ValueError, match=r"."):
            f.encode(frame)


class TestPeersOctets:
    """Guards that whatever a peer sends ends in a frame or a ProtocolError."""

    @pytest.mark.parametrize(
        ("octets", "error", "says"),
        [
            (header(magic=b"HTTP"), ProtocolError, "no frame starts with b'HTTP'"),
            (header(version=2), VersionMismatch, "version 2"),
            (header(kind=99), UnknownFrame, "type 99"),
            *((header(kind=kind), UnknownFrame, f"type {kind}") for kind in f.RESERVED),
            (header(zero=1), ProtocolError, "reserved"),
            (header(length=f.MAX_FRAME - 27), FrameTooLarge, "65537 octets"),
            (header(length=2**32 - 1), FrameTooLarge, "limit is 65536"),
            (header(length=7) + bytes(7), ProtocolError, "shorter"),
            (header(length=9) + bytes(9), ProtocolError, "longer"),
            (header(kind=8, length=1) + b"\xff", ProtocolError, "255 is no StopReason"),
            (header(kind=10, length=4) + b"\0\0\xff\xff", ProtocolError, "text of 65535"),
            (header(kind=10, length=5) + b"\1\0\xff\0\0", ProtocolError, "UTF-8"),
            (header(kind=10, length=5) + b"\1\0\0\0\0", ProtocolError, "NUL"),
            (header(kind=3, length=18) + bytes(16) + b"\xff\xff", ProtocolError, "65535 items"),
            (header(kind=21, length=12) + bytes(10) + b"\1\2", ProtocolError, "513 items"),
        ],
    )
    def test_refused(self, octets: bytes, error: type[ProtocolError], says: str) -> None:
        with pytest.raises(error, match=says) as caught:
            f.decode(octets)
        assert type(caught.value) is error
        reader = f.FrameReader()
        with pytest.raises(error, match=says):
            reader.feed(octets)

    @given(st.binary(max_size=300))
    def test_arbitrary_octets(self, octets: bytes) -> None:
        reader = f.FrameReader()
        try:
            frames = reader.feed(octets)
        except ProtocolError:
            assert reader.held == 0
        else:
            assert all(isinstance(frame, f.Frame) for frame in frames)

    @given(st.integers(0, 255), st.binary(max_size=400))
    def test_arbitrary_bodies(self, kind: int, body: bytes) -> None:
        octets = header(kind=kind, length=len(body)) + body
        try:
            frame = f.decode(octets)
        except ProtocolError:
            return
        assert f.encode(frame) == octets

    @given(any_frame, st.data())
    def test_mutated_frames(self, frame: f.Frame, data: st.DataObject) -> None:
        octets = bytearray(f.encode(frame))
        for _ in range(data.draw(st.integers(1, 4))):
            octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
        cut = bytes(octets[: data.draw(st.integers(0, len(octets)))])
        reader = f.FrameReader()
        try:
            frames = reader.feed(cut)
        except ProtocolError:
            return
        assert reader.held <= len(cut) - sum(len(f.encode(got)) for got in frames)


class TestReader:
    """Guards the cutting of a stream into frames."""

    @given(st.lists(any_frame, max_size=4), st.integers(1, 64))
    def test_any_chunks_give_the_same_frames(self, sent: list[f.Frame], chunk: int) -> None:
        octets = b"".join(map(f.encode, sent))
        reader = f.FrameReader()
        got: list[f.Frame] = []
        for at in range(0, len(octets), chunk):
            got += reader.feed(octets[at : at + chunk])
        assert got == sent
        assert reader.held == 0

    def test_frames_before_a_breach_are_delivered_first(self) -> None:
        reader = f.FrameReader()
        good = f.Ack(SESSION, 1)
        assert reader.feed(f.encode(good) + b"garbage" * 9) == [good]
        assert isinstance(reader.error, ProtocolError)
        with pytest.raises(ProtocolError, match="starts with"):
            reader.feed(b"")
        with pytest.raises(ProtocolError, match="starts with"):
            reader.feed(f.encode(good))

    def test_an_announced_length_is_not_set_aside(self) -> None:
        reader = f.FrameReader()
        tracemalloc.start()
        try:
            with pytest.raises(FrameTooLarge):
                reader.feed(header(length=2**31))
            for _ in range(4):
                f.FrameReader().feed(header(kind=10, length=f.MAX_FRAME - f.HEADER.size))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 65536

    def test_a_long_feed_holds_at_most_one_frame(self) -> None:
        reader = f.FrameReader()
        octets = f.encode(f.Error(SESSION, "STREAM-001", "x" * 4000))
        for _ in range(50):
            assert reader.feed(octets + octets[:4000]) != []
            assert reader.held == 4000
            assert len(reader.feed(octets[4000:])) == 1
