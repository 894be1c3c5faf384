"""What a verification of the disks looks at next, and what it makes of what it finds. Pure.

A *look* compares one place of a disk on both hosts as of the end of one epoch: here while the guest
is suspended, there the epoch's end exactly. Of whatever the guest has seen completed both sides
then hold the same, with every driver: ``qemu`` completes a write when both have it, ``tapdisk``
puts it before the mark that ends the epoch. What can differ with nothing wrong is a sector that a
request *on its way* at the suspend is writing, which one side has got and the other has not. So:

* A place is compared as a whole first. If it differs it is in doubt, and is looked at sector by
  sector, at later epochs, until nothing of it is open. A sector is written whole or not at all.
* A sector that is equal in one look is in order.
* A sector is a **mismatch** when it differs in ``SAME_LOOKS`` looks one after the other, over
  ``SETTLE_S`` at least, and neither side changed between: then nobody has written to it, and no
  request is on its way for so long. (One may be where the backup's journal is full; the backup
  then answers nothing, and it is no look.)
* A sector that differs in ``LOOKS`` looks, over ``SETTLE_S`` at least, is a mismatch as well if one
  side has never changed: the other one's writes do not arrive. If both change, each look met
  another write on its way; it is **unsettled**, which is neither in order nor a mismatch, and is
  told.

So a mismatch is never what the guest is just writing, and nothing counts as in order that was not
equal at the end of an epoch. What a verification cannot see: a sector that came to differ after
it was found equal, and a difference that the guest overwrites before it is looked at.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from remus_ha.disk.digests import FINE, SECTOR

SAME_LOOKS = 5
LOOKS = 50
SETTLE_S = 10.0
DOUBTS = 64  # places in doubt at a time; no others are looked at meanwhile
HOPELESS = 16 << 20  # octets that differ: such an image is no replica, the rest is left alone


@dataclass(frozen=True, slots=True)
class Look:
    """``length`` octets of a disk from ``offset`` on, in pieces of ``grain`` octets."""

    vdev: str
    offset: int
    length: int
    grain: int


@dataclass(frozen=True, slots=True)
class Range:
    """Octets of a disk."""

    offset: int
    length: int


@dataclass(slots=True)
class Tally:
    """Octets of one disk: of how many, found equal, found to differ, and never found at rest."""

    size: int
    equal: int = 0
    unsettled: int = 0
    differing: list[Range] = field(default_factory=list)

    @property
    def mismatched(self) -> int:
        return sum(r.length for r in self.differing)

    @property
    def done(self) -> int:
        return self.equal + self.unsettled + self.mismatched


@dataclass(slots=True)
class _Sector:
    """What the looks at a sector that has never been equal were like. Times are seconds."""

    ours: bytes
    theirs: bytes
    began: float
    same_since: float
    looks: int = 1
    same: int = 1
    ours_changed: bool = False
    theirs_changed: bool = False

    def differs_again(self, ours: bytes, theirs: bytes, now: float) -> None:
        self.ours_changed |= ours != self.ours
        self.theirs_changed |= theirs != self.theirs
        if (ours, theirs) != (self.ours, self.theirs):
            self.same, self.same_since = 0, now
        self.ours, self.theirs = ours, theirs
        self.same += 1
        self.looks += 1

    def is_mismatch(self, now: float) -> bool:
        if self.same >= SAME_LOOKS and now - self.same_since >= SETTLE_S:
            return True
        one_sided = not (self.ours_changed and self.theirs_changed)
        return one_sided and self._is_long(now)

    def is_unsettled(self, now: float) -> bool:
        return self.ours_changed and self.theirs_changed and self._is_long(now)

    def _is_long(self, now: float) -> bool:
        return self.looks >= LOOKS and now - self.began >= SETTLE_S


class _Doubt:
    """A place that differs, and its sectors that have not been judged yet."""

    def __init__(self, look: Look) -> None:
        self.look = look
        pieces = -(-look.length // look.grain)
        self.open: dict[int, _Sector | None] = dict.fromkeys(range(pieces))

    def differs(self, piece: int, ours: bytes, theirs: bytes, now: float) -> _Sector:
        sector = self.open[piece]
        if sector is None:
            sector = self.open[piece] = _Sector(ours, theirs, began=now, same_since=now)
        else:
            sector.differs_again(ours, theirs, now)
        return sector

    def length_of(self, piece: int) -> int:
        return min(self.look.grain, self.look.length - piece * self.look.grain)


class Verification:
    """``sizes``: octets of each disk. ``piece``: octets that are compared together, at most."""

    def __init__(self, sizes: Mapping[str, int], piece: int) -> None:
        self.tallies = {vdev: Tally(size) for vdev, size in sizes.items()}
        self.hopeless = False
        self._unseen = _looks(sizes, piece)
        self._doubts: deque[_Doubt] = deque()
        self._doubt_is_due = False

    def next(self) -> Look | None:
        """What is looked at next; ``judge`` follows. None: everything has been judged."""
        if self.hopeless:
            return None
        full = len(self._doubts) >= DOUBTS
        look = None if full or self._doubt_is_due else next(self._unseen, None)
        if look is None and self._doubts:
            look = self._doubts[0].look
        elif look is None:
            look = next(self._unseen, None)
        self._doubt_is_due = look is not None and look.grain != SECTOR and bool(self._doubts)
        return look

    def judge(
        self, look: Look, ours: tuple[bytes, ...], theirs: tuple[bytes, ...], now: float
    ) -> tuple[Range, ...]:
        """Take in what ``next``'s look found; the mismatches that are certain now."""
        if look.grain == SECTOR:
            return self._judge_doubt(ours, theirs, now)
        if ours == theirs:
            self.tallies[look.vdev].equal += look.length
        else:
            end = look.offset + look.length
            for start in range(look.offset, end, FINE):
                self._doubts.append(_Doubt(Look(look.vdev, start, min(FINE, end - start), SECTOR)))
        return ()

    def _judge_doubt(
        self, ours: tuple[bytes, ...], theirs: tuple[bytes, ...], now: float
    ) -> tuple[Range, ...]:
        doubt = self._doubts.popleft()
        tally = self.tallies[doubt.look.vdev]
        found: list[Range] = []
        for piece in tuple(doubt.open):
            length = doubt.length_of(piece)
            if ours[piece] == theirs[piece]:
                tally.equal += length
            else:
                sector = doubt.differs(piece, ours[piece], theirs[piece], now)
                if sector.is_mismatch(now):
                    _add(found, Range(doubt.look.offset + piece * SECTOR, length))
                elif sector.is_unsettled(now):
                    tally.unsettled += length
                else:
                    continue
            del doubt.open[piece]
        if doubt.open:
            self._doubts.append(doubt)
        tally.differing += found
        self.hopeless = sum(t.mismatched for t in self.tallies.values()) >= HOPELESS
        return tuple(found)


def _looks(sizes: Mapping[str, int], piece: int) -> Iterator[Look]:
    for vdev, size in sizes.items():
        for offset in range(0, size, piece):
            yield Look(vdev, offset, min(piece, size - offset), piece)


def _add(ranges: list[Range], new: Range) -> None:
    """Neighbours are one range."""
    if ranges and ranges[-1].offset + ranges[-1].length == new.offset:
        ranges[-1] = Range(ranges[-1].offset, ranges[-1].length + new.length)
    else:
        ranges.append(new)
