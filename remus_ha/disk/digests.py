"""What two images have in common, without sending either: digests of their pieces.

A store serves the digests of the image that it has found as an export of its own, ``EXPORT``: those
of blocks 0, 1, … one after the other, each made when it is read. An image that the store has just
made holds nothing, and its export is empty.

A digest may be older than what has been written to its block since, or be of a block that was
being written: comparing is sound all the same for whoever also sends every write that comes after
the beginning, in order. If the blocks were alike then, those writes make them alike again.

While a guest is protected, ``remus-ha disk verify`` asks the store for those of one epoch.
"""

import hashlib

from remus_ha.stream.fields import DIGEST_OCTETS, MAX_DIGESTS

BLOCK = 65536  # octets, of the export's digests
EXPORT = "digests"

SECTOR = 512  # octets that are written whole or not at all
WHOLE_MAX = 16 << 20  # octets that are looked at together at most
FINE = MAX_DIGESTS * SECTOR  # octets that may be looked at sector by sector


def digest(piece: bytes | bytearray | memoryview) -> bytes:
    """Whoever writes into a guest must not be able to make two pieces alike: BLAKE2b."""
    return hashlib.blake2b(piece, digest_size=DIGEST_OCTETS).digest()


def digests(data: bytes | memoryview, grain: int) -> tuple[bytes, ...]:
    """Of every ``grain`` octets, the last piece as short as it is."""
    view = memoryview(data)
    return tuple(digest(view[at : at + grain]) for at in range(0, len(view), grain))


def count(size: int) -> int:
    """Blocks of an image of ``size`` octets; the last one may be shorter."""
    return -(-size // BLOCK)


def can_look(length: int, grain: int) -> bool:
    """Whether a look of that size is answered: it comes from the other host."""
    return 0 < length <= WHOLE_MAX and SECTOR <= grain and -(-length // grain) <= MAX_DIGESTS
