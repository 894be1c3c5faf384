"""The values that a store keeps, and nothing else that may stand there.

A register is stored as ``Register.encode`` writes it: a swap compares octets, so only that form
can be swapped out again. ``opened`` is twenty decimal digits, so that octets sort as numbers do.
"""

import re

from remus_ha.core.register import Identity, Kind, Register

_OPENED = re.compile(rb"[0-9]{20}")
_NAMED = {Kind.HOLDER: (True, False), Kind.PAIR: (True, True), Kind.NONE: (False, False)}


def decode_register(raw: bytes) -> Register:
    """Raises ValueError for anything but the canonical form of a sound register."""
    try:
        register = Register.decode(raw)
        canonical = register.encode() == raw
    except (OverflowError, RecursionError) as e:
        raise ValueError("not a register") from e
    if not (canonical and _is_sound(register)):
        raise ValueError("not a register")
    return register


def _is_sound(register: Register) -> bool:
    parties = (register.holder, register.backup)
    named = tuple(party is not None for party in parties)
    typed = all(party is None or _is_typed(party) for party in parties)
    return typed and type(register.generation) is int and named == _NAMED[register.kind]


def _is_typed(party: Identity) -> bool:
    return type(party.host) is str and type(party.nonce) is str


def encode_opened(generation: int) -> bytes:
    """Raises ValueError for what is no generation."""
    raw = b"%020d" % generation
    if not _OPENED.fullmatch(raw):
        raise ValueError(f"{generation} is not a generation")
    return raw


def decode_opened(raw: bytes) -> int:
    """The inverse. Raises ValueError for anything else."""
    if not _OPENED.fullmatch(raw):
        raise ValueError("not a generation")
    return int(raw)
