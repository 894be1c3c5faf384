"""A disk's writes that its store does not have yet, in the order in which the image here got them.

Guarantees, for any number of threads that write and one that sends:

* Two writes that overlap are in the backlog in the order in which they are in the image: a place is
  written by one at a time, from before a write is put here until the image has it.
* Two writes that overlap are never given out together, so a server that takes requests side by side
  keeps that order as well. What does not overlap may arrive in any order, but for the marks.
* Everything put before a mark is acknowledged before the mark is given out; nothing put after it is
  given out before ``go_on``.
* Fewer than ``limit`` octets of writes are held whenever one more is let in. What is copied has a
  room of its own, a quarter as large, so that neither ever waits for the other's. ``drop`` lets
  everything in that waits, and from then on nothing waits for room here.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from remus_ha.disk.tapdisk.ranges import Ranges, Span

_OVERHEAD = 512  # what an entry costs besides its data, roughly: zeroes are not free


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One write; no ``data``: zeroes. ``copied``: nobody's but what the image held before."""

    offset: int
    length: int
    data: bytes | None
    copied: bool = False

    @property
    def span(self) -> Span:
        return self.offset, self.offset + self.length

    @property
    def cost(self) -> int:
        return _OVERHEAD + (len(self.data) if self.data is not None else 0)


@dataclass(frozen=True, slots=True)
class Mark:
    """Epoch ``n`` ends here."""

    n: int


@dataclass(frozen=True, slots=True)
class Copied:
    """All that the image held when replication began is before this."""


Entry = Piece | Mark | Copied


class Backlog:
    """Closed at first, and after ``drop``: writes keep their order then, and are not kept."""

    def __init__(self, limit: int) -> None:
        """``limit`` is octets."""
        self._limit = limit
        self._changed = threading.Condition()
        self._queue: deque[Entry] = deque()
        self._writing = Ranges()  # in the image here
        self._flying = Ranges()  # given out, not acknowledged
        self._open = False
        self._starved = False
        self._at: int | None = None  # the mark that ``go_on`` is waited for at
        self._held = 0  # octets of writes, given out or not
        self._held_copied = 0
        self.wake: Callable[[], None] = lambda: None  # there may be something to give out again

    # --- those who write

    def begin(self, offset: int, length: int, data: bytes | memoryview | None) -> Span:
        """A write is about to go into the image; ``end`` has to follow whatever comes of it.

        Waits while there is no room, or while somebody writes to the same place.
        """
        span = offset, offset + length
        with self._changed:
            while self._writing.meets(span) or (self._open and self._held >= self._limit):
                self._changed.wait()
            self._writing.add(span)
            if self._open:
                self._put(Piece(offset, length, None if data is None else bytes(data)))
        return span

    def follow(self, offset: int, data: bytes) -> None:
        """More for a write that has begun and not ended; waits for no room."""
        with self._changed:
            if self._open:
                self._put(Piece(offset, len(data), data))

    def end(self, span: Span) -> None:
        """The image has it, or the guest was told why not.

        Who sends is woken only now: before, it would get in the way of the guest's write.
        """
        with self._changed:
            self._writing.remove(span)
            self._changed.notify_all()
            self._feed()

    def copy(self, offset: int, length: int, read: Callable[[int, int], Sequence[Piece]]) -> bool:
        """Put what ``read`` finds worth sending at a place; False once the backlog is closed."""
        span = offset, offset + length
        with self._changed:
            while self._open and (
                self._writing.meets(span) or self._held_copied >= self._limit // 4
            ):
                self._changed.wait()
            if not self._open:
                return False
            self._writing.add(span)
        try:
            pieces = read(offset, length)
            with self._changed:
                return self._open and all(self._put(piece) for piece in pieces)
        finally:
            self.end(span)

    def mark(self, n: int) -> bool:
        """What is put from now on belongs to epoch ``n + 1``; False where the backlog is closed."""
        with self._changed:
            return self._open and self._put(Mark(n)) and self._feed()

    def copied(self) -> None:
        with self._changed:
            if self._open:
                self._put(Copied())
                self._feed()

    def _put(self, entry: Entry) -> bool:
        self._queue.append(entry)
        if isinstance(entry, Piece):
            self._hold(entry, entry.cost)
        return True

    def _hold(self, piece: Piece, cost: int) -> None:
        if piece.copied:
            self._held_copied += cost
        else:
            self._held += cost

    # --- the one that sends

    def take(self) -> Entry | None:
        """The next entry, if it may be sent now. After None ``wake`` is called when there may be.

        (But not for the acknowledgements that ``acknowledged`` is told of.)
        """
        with self._changed:
            entry = self._due()
            self._starved = entry is None
            if entry is None:
                return None
            self._queue.popleft()
            if isinstance(entry, Piece):
                self._flying.add(entry.span)
            elif isinstance(entry, Mark):
                self._at = entry.n
            return entry

    def _due(self) -> Entry | None:
        if self._at is not None or not self._queue:
            return None
        entry = self._queue[0]
        if isinstance(entry, Piece):
            return None if self._flying.meets(entry.span) else entry
        return None if self._flying else entry

    def acknowledged(self, piece: Piece) -> None:
        """The store has it."""
        with self._changed:
            if self._open:
                self._flying.remove(piece.span)
                self._hold(piece, -piece.cost)
                self._changed.notify_all()

    def go_on(self, n: int) -> None:
        """Mark ``n`` is done with. Idempotent."""
        with self._changed:
            if self._at == n:
                self._at = None
                self._feed()

    def _feed(self) -> bool:
        if self._starved and self._queue:
            self._starved = False
            self.wake()
        return True

    # --- both

    def open(self) -> None:
        """From now on what is written is kept. Once only."""
        with self._changed:
            self._open = True

    def drop(self) -> None:
        """Keep nothing any more, and let everybody go. Idempotent."""
        with self._changed:
            self._open = False
            self._queue.clear()
            self._flying.clear()
            self._at = None
            self._held = self._held_copied = 0
            self._changed.notify_all()

    def figures(self) -> dict[str, int]:
        """Octets held of writes, entries waiting, and requests that are not acknowledged."""
        with self._changed:
            return {
                "held_octets": self._held,
                "waiting": len(self._queue),
                "in_flight": len(self._flying),
            }
