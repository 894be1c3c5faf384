"""Guards the octets of the replication link, and that no peer can crash, fill or confuse us."""

import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remus_ha.disk.tapdisk.errors import (
    UnknownCode,
    WriteOutOfRange,
    WriteTooLarge,
    WriteUnaligned,
)
from remus_ha.disk.tapdisk.wire import (
    HEADER,
    MAX_SECTORS,
    SECTOR,
    TO_BACKUP,
    TO_PRIMARY,
    Decoder,
    Message,
    Signal,
    Write,
    encode,
    split,
)

DISK = 4096

writes = st.builds(
    Write,
    sector=st.integers(0, DISK - MAX_SECTORS),
    data=st.integers(0, MAX_SECTORS).map(lambda n: bytes(range(256)) * 2 * n),
)
messages = st.lists(writes | st.sampled_from([Signal.SUBMIT, Signal.COMMIT]), max_size=12)


def decoder() -> Decoder:
    return Decoder(TO_BACKUP, DISK)


def announced(sectors: int, sector: int) -> bytes:
    return b"wreq" + HEADER.pack(sectors, sector)


def in_pieces(octets: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(octets), *(cut % (len(octets) + 1) for cut in cuts)})
    return [octets[start:end] for start, end in pairwise(places)]


class TestOctets:
    def test_write(self) -> None:
        """u32 and u64 in host order, the second at the unaligned place 4, then the data."""
        data = bytes(range(256)) * 4
        header = (2).to_bytes(4, sys.byteorder) + (0x0102030405).to_bytes(8, sys.byteorder)
        assert encode(Write(0x0102030405, data)) == b"wreq" + header + data

    def test_signals(self) -> None:
        assert [encode(signal) for signal in Signal] == [b"sreq", b"creq", b"done"]

    def test_what_the_receiver_could_not_take_is_not_encoded(self) -> None:
        with pytest.raises(WriteTooLarge, match="9 sectors"):
            encode(Write(0, bytes(9 * SECTOR)))
        with pytest.raises(WriteUnaligned, match="513 octets at octet 1024"):
            encode(Write(2, bytes(513)))


class TestSplit:
    @given(sectors=st.integers(0, 40), sector=st.integers(0, 2**40))
    def test_pieces_are_the_write(self, sectors: int, sector: int) -> None:
        data = b"".join(n.to_bytes(4, "big") * (SECTOR // 4) for n in range(sectors))
        pieces = list(split(sector * SECTOR, data))
        assert b"".join(piece.data for piece in pieces) == data
        place = sector
        for piece in pieces:
            assert piece.sector == place
            assert piece.offset_octets == place * SECTOR
            assert 0 < len(piece.data) <= 4096
            place += len(piece.data) // SECTOR

    def test_as_few_as_there_can_be(self) -> None:
        assert [len(piece.data) for piece in split(0, bytes(20 * SECTOR))] == [4096, 4096, 2048]

    @pytest.mark.parametrize(("offset", "length"), [(1, 512), (512, 511), (0, 4097)])
    def test_only_whole_sectors(self, offset: int, length: int) -> None:
        with pytest.raises(WriteUnaligned):
            list(split(offset, bytes(length)))


class TestDecoder:
    @given(sent=messages, cuts=st.lists(st.integers(0, 2**20), max_size=30))
    def test_any_split_of_the_stream_gives_the_same_messages(
        self, sent: list[Message], cuts: list[int]
    ) -> None:
        octets = b"".join(encode(message) for message in sent)
        reader = decoder()
        got = [m for piece in in_pieces(octets, cuts) for m in reader.feed(piece)]
        assert got == sent
        assert reader.held == 0
        assert reader.error is None

    @given(octets=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=8))
    def test_any_octets_end_alike_however_they_are_cut(
        self, octets: bytes, cuts: list[int]
    ) -> None:
        octets = encode(Signal.COMMIT) + octets
        whole, cut = decoder(), decoder()
        expected = whole.feed(octets)
        assert [m for piece in in_pieces(octets, cuts) for m in cut.feed(piece)] == expected
        assert (str(cut.error), cut.held) == (str(whole.error), whole.held)

    def test_every_octet_alone(self) -> None:
        sent: list[Message] = [Write(3, bytes(1024)), Signal.COMMIT, Write(9, bytes(512))]
        reader, got = decoder(), []
        for octet in b"".join(encode(m) for m in sent):
            got += reader.feed(bytes([octet]))
        assert got == sent

    def test_unfinished_message_is_held(self) -> None:
        reader = decoder()
        assert reader.feed(encode(Write(1, bytes(512)))[:-1]) == []
        assert reader.held == 16 + 511

    def test_write_of_nothing(self) -> None:
        """The driver takes it too."""
        assert decoder().feed(announced(0, 5)) == [Write(5, b"")]

    def test_last_sectors_of_the_disk(self) -> None:
        last = Write(DISK - 8, bytes(4096))
        assert decoder().feed(encode(last)) == [last]

    @pytest.mark.parametrize("sectors", [9, 2**31, 2**32 - 1])
    def test_oversize_write_is_refused_at_its_header(self, sectors: int) -> None:
        """The driver leaves the data in the stream and takes it for messages."""
        reader = decoder()
        assert reader.feed(b"creq" + announced(sectors, 0)) == [Signal.COMMIT]
        assert isinstance(reader.error, WriteTooLarge)
        assert reader.held == 0

    @pytest.mark.parametrize(("sectors", "sector"), [(1, DISK), (8, DISK - 7), (1, 2**64 - 1)])
    def test_write_outside_the_disk_is_refused(self, sectors: int, sector: int) -> None:
        reader = decoder()
        assert reader.feed(announced(sectors, sector)) == []
        assert isinstance(reader.error, WriteOutOfRange)

    def test_other_byte_order_is_refused(self) -> None:
        other = "big" if sys.byteorder == "little" else "little"
        reader = decoder()
        reader.feed(b"wreq" + (8).to_bytes(4, other) + (0).to_bytes(8, other))
        assert isinstance(reader.error, WriteTooLarge)
        assert "byte order" in reader.error.advice

    @pytest.mark.parametrize("code", [b"rreq", b"fail", b"done", b"WREQ", b"GET ", bytes(4)])
    def test_code_that_does_not_belong_here(self, code: bytes) -> None:
        reader = decoder()
        assert reader.feed(b"sreq" + code + b"creq") == [Signal.SUBMIT]
        assert isinstance(reader.error, UnknownCode)
        assert reader.feed(b"creq") == []

    def test_primary_is_told_done_and_nothing_else(self) -> None:
        assert Decoder(TO_PRIMARY).feed(b"done") == [Signal.DONE]
        for code in (b"creq", b"sreq", b"wreq", b"fail"):
            reader = Decoder(TO_PRIMARY)
            assert reader.feed(code) == []
            assert isinstance(reader.error, UnknownCode)
