"""The parts of an epoch's writes that count, against the plainest way to work them out."""

from hypothesis import given
from hypothesis import strategies as st

from remus_ha.disk.store.pieces import JOINED, ZEROES, Entry, winners

DISK = 64

writes = st.lists(
    st.tuples(st.integers(0, DISK - 1), st.integers(1, 24), st.booleans()), max_size=30
)


def entries_of(rows: list[tuple[int, int, bool]]) -> list[Entry]:
    """Entries as a log would hold them: side by side, a header between two."""
    entries, place = [], 0
    for offset, wanted, zeroes in rows:
        length = min(wanted, DISK - offset)
        entries.append(Entry(offset, length, ZEROES if zeroes else place))
        place += 0 if zeroes else length + 1
    return entries


def painted(entries: list[Entry]) -> list[int | None]:
    """Per octet of the disk: where the log has it, ZEROES, or None for an untouched one."""
    disk: list[int | None] = [None] * DISK
    for entry in entries:
        for i in range(entry.length):
            disk[entry.offset + i] = ZEROES if entry.source == ZEROES else entry.source + i
    return disk


@given(writes)
def test_the_last_write_of_every_place_wins(rows: list[tuple[int, int, bool]]) -> None:
    entries = entries_of(rows)
    pieces = list(winners(entries))
    assert painted(pieces) == painted(entries)
    ends = 0
    for piece in pieces:
        assert piece.offset >= ends
        assert piece.length > 0
        ends = piece.end


def test_neighbours_become_one() -> None:
    entries = [Entry(0, 4, ZEROES), Entry(4, 4, ZEROES), Entry(8, 4, 100), Entry(12, 4, 104)]
    assert list(winners(entries)) == [Entry(0, 8, ZEROES), Entry(8, 8, 100)]


def test_neighbours_do_not_become_one_without_end() -> None:
    half = JOINED // 2
    entries = [Entry(n * half, half, n * half) for n in range(5)]
    assert [piece.length for piece in winners(entries)] == [JOINED, JOINED, half]
