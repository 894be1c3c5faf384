"""What both hosts compute of a piece of a disk, to find out whether they hold the same."""

import hashlib

from remus_ha.stream.fields import DIGEST_OCTETS, MAX_DIGESTS

SECTOR = 512  # octets that are written whole or not at all
WHOLE_MAX = 16 << 20  # octets that are looked at together at most
FINE = MAX_DIGESTS * SECTOR  # octets that may be looked at sector by sector


def digests(data: bytes | memoryview, grain: int) -> tuple[bytes, ...]:
    """BLAKE2b of every ``grain`` octets, the last piece as short as it is."""
    view = memoryview(data)
    return tuple(
        hashlib.blake2b(view[at : at + grain], digest_size=DIGEST_OCTETS).digest()
        for at in range(0, len(view), grain)
    )


def can_look(length: int, grain: int) -> bool:
    """Whether a look of that size is answered: it comes from the other host."""
    return 0 < length <= WHOLE_MAX and SECTOR <= grain and -(-length // grain) <= MAX_DIGESTS
