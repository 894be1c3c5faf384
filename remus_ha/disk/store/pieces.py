"""Which octets of an epoch's writes count: the last write of each place. Pure."""

import heapq
from collections.abc import Iterator, Sequence
from typing import NamedTuple

ZEROES = -1
# Octets; one write alone may be larger. An image's progress is told by its pieces.
JOINED = 1 << 20


class Entry(NamedTuple):
    """One write: ``length`` octets at ``offset`` of the disk; ``source`` is where the log has

    them, or ``ZEROES``.
    """

    offset: int
    length: int
    source: int

    @property
    def end(self) -> int:
        return self.offset + self.length

    def part(self, start: int, end: int) -> "Entry":
        """The octets of ``start`` to ``end`` (places of the disk)."""
        skipped = start - self.offset
        source = self.source if self.source == ZEROES else self.source + skipped
        return Entry(start, end - start, source)


def winners(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Parts of ``entries`` (oldest first), disjoint, in the order of the disk: the last writes."""
    starts = sorted(range(len(entries)), key=lambda i: entries[i].offset)
    active: list[int] = []  # heap: the newest first
    place, due = 0, 0
    held: Entry | None = None
    while active or due < len(starts):
        while active and entries[-active[0]].end <= place:
            heapq.heappop(active)
        if not active and due < len(starts):
            place = max(place, entries[starts[due]].offset)
        while due < len(starts) and entries[starts[due]].offset <= place:
            heapq.heappush(active, -starts[due])
            due += 1
        if not active:
            continue
        newest = entries[-active[0]]
        if newest.end <= place:
            continue
        end = newest.end
        # Only a newer write that begins within this one cuts it short.
        look = due
        while look < len(starts) and entries[starts[look]].offset < end:
            if starts[look] > -active[0]:
                end = entries[starts[look]].offset
                break
            look += 1
        piece = newest.part(place, end)
        place = end
        joined = _join(held, piece)
        if joined is None and held is not None:
            yield held
        held = joined or piece
    if held is not None:
        yield held


def _join(before: Entry | None, after: Entry) -> Entry | None:
    """One entry for two neighbours whose octets lie side by side in the log as well."""
    if before is None or before.end != after.offset or before.length + after.length > JOINED:
        return None
    both_zero = before.source == after.source == ZEROES
    side_by_side = before.source != ZEROES and before.source + before.length == after.source
    if both_zero or (side_by_side and after.source != ZEROES):
        return Entry(before.offset, before.length + after.length, before.source)
    return None
